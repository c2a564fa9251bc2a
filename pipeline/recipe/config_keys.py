"""
The table of all keys of pipeline.cfg: section, key, type, default, unit and help.

`Config` is read by it and `pipeline.cfg.example` is printed from it.
"""

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from pipeline.model.parameters import Parameters
from pipeline.recipe.config_types import (
    Convert,
    date_format,
    integer,
    level,
    log_format,
    one_of,
    optional,
    optional_path,
    optional_text,
    optional_user,
    path,
    plain,
    seconds,
)

__all__ = [
    "ClusterKeys",
    "DefaultKeys",
    "DeployKeys",
    "Key",
    "LayoutKeys",
    "LoggingKeys",
    "RemoteKeys",
    "all_keys",
    "format_example",
]


@dataclass(frozen=True, slots=True)
class Key:
    """
    One key.

    Attributes:
        default: As it would stand in the file; empty where nothing is chosen.
        unit: Of the value, or what it may be.
        is_raw: `%` has a meaning of its own in it; there is no interpolation.
        is_list: The value is a tuple; `convert` is for each element.
    """

    default: str
    convert: Convert
    unit: str
    help: str
    is_raw: bool = False
    is_list: bool = False


def _key(default: str, convert: Convert, unit: str, help: str, *, is_raw: bool = False, is_list: bool = False) -> Any:
    return dataclasses.field(metadata={"key": Key(default, convert, unit, help, is_raw, is_list)})


_LEVELS = "DEBUG, INFO, WARNING, ERROR or CRITICAL"


@dataclass(frozen=True, slots=True)
class DefaultKeys:
    """Section DEFAULT; its keys can be used as %(name)s in every section."""

    runtime_directory: str = _key("%(cwd)s/runs", path, "path", "Runs are kept here, a folder for each job name.")
    working_directory: str = _key("%(cwd)s", path, "path", "Recipes put data here, on the hosts.")
    recipe_directories: tuple[str, ...] = _key(
        "[.]", path, "list of paths", "Recipes are looked up in master/ of each.", is_list=True
    )
    task_files: tuple[str, ...] = _key(
        "[]", path, "list of paths", "Files of [task] sections; later files win.", is_list=True
    )


@dataclass(frozen=True, slots=True)
class LayoutKeys:
    """Section layout."""

    job_directory: str = _key(
        "%(runtime_directory)s/%(job_name)s", path, "path", "All that a run keeps: logs, results, state."
    )


@dataclass(frozen=True, slots=True)
class ClusterKeys:
    """Section cluster."""

    clusterdesc: str | None = _key("", optional_path, "path, empty: none", "Cluster description.")


@dataclass(frozen=True, slots=True)
class DeployKeys:
    """Section deploy: what jobs find on the hosts."""

    engine_ppath: str = _key("", plain, "paths joined by ':'", "Put before PYTHONPATH of jobs.")
    engine_lpath: str = _key("", plain, "paths joined by ':'", "Put before LD_LIBRARY_PATH of jobs.")
    python: str | None = _key(
        "",
        optional_text,
        "program on the hosts, empty: the one the agent runs on",
        "What 'python' in front of a node script stands for.",
    )
    initscript: str | None = _key(
        "", optional_path, "path on the hosts, empty: none", "Shell script that sets the environment of jobs."
    )


@dataclass(frozen=True, slots=True)
class LoggingKeys:
    """Section logging."""

    log_file: str = _key(
        "%(job_directory)s/logs/%(start_time)s/pipeline.log", path, "path", "Every log line of the run."
    )
    format: str = _key(
        "%(asctime)s %(levelname)-7s %(name)s: %(message)s",
        log_format,
        "as in Python's logging; no interpolation",
        "One log line.",
        is_raw=True,
    )
    datefmt: str = _key(
        "%Y-%m-%d %H:%M:%S", date_format, "as in strftime; no interpolation", "%(asctime)s in it.", is_raw=True
    )
    stderr_level: int = _key("WARNING", level, _LEVELS, "Least level of lines on standard error, without -v and -d.")
    job_stdout_level: int = _key("DEBUG", level, _LEVELS, "Level of what jobs write to standard output.")
    job_stderr_level: int = _key("INFO", level, _LEVELS, "Level of what jobs write to standard error.")


@dataclass(frozen=True, slots=True)
class RemoteKeys:
    """Section remote: hosts and jobs. Times and limits are in `Config.parameters`."""

    method: str = _key(
        "auto",
        one_of("auto", "local", "ssh", "paramiko"),
        "auto, local or ssh",
        "auto: jobs for this machine run here, others over SSH; local: all here; ssh: all over SSH.",
    )
    ssh_client: str = _key("paramiko", one_of("paramiko", "openssh"), "paramiko or openssh", "What speaks SSH.")
    ssh_config: str | None = _key(
        "", optional_path, "path, empty: ~/.ssh/config and the system's", "Aliases, ports, keys and jump hosts."
    )
    user: str | None = _key("", optional_user, "user name, empty: as ssh_config says", "Whom to log in as.")
    port: int | None = _key(
        "", optional(integer(1, 65535)), "1 to 65535, empty: as ssh_config says", "Port of every host's sshd."
    )
    key_filename: str | None = _key("", optional_path, "path, empty: as ssh_config says", "Private key to log in with.")
    known_hosts: str | None = _key("", optional_path, "path, empty: the user's", "Keys of the hosts.")
    host_keys: str = _key(
        "reject",
        one_of("reject", "accept-new"),
        "reject or accept-new",
        "What to do with a host whose key is unknown.",
    )
    max_per_node: int | None = _key(
        "",
        optional(integer(0)),
        "jobs, 0: no limit, empty: the host's cores",
        "Jobs that run on one host at a time, over the whole run.",
    )
    log_server: str = _key(
        "channel",
        one_of("channel", "tcp"),
        "channel or tcp",
        "tcp: also open a port for node scripts that no agent started.",
    )
    warm: str = _key(
        "auto",
        one_of("auto", "off", "at once"),
        "auto, off or at once",
        "Fork node scripts from processes that have their imports done; off: start a Python for each job; at once: the "
        "first job of a script waits for its process.",
    )
    retries: int = _key("0", integer(0), "count", "Further attempts of a job that failed.")
    job_timeout: float | None = _key("", optional(seconds), "s, empty: no limit", "A job is ended after so long.")
    failure_policy: str = _key(
        "continue", one_of("continue", "stop"), "continue or stop", "What the other jobs do when one has failed."
    )
    on_master_lost: str = _key(
        "kill", one_of("kill", "finish"), "kill or finish", "What jobs do when the master has gone; only kill so far."
    )


_PARAMETER_HELP = {
    "connect_timeout": "TCP connection to a host.",
    "banner_timeout": "SSH banner after that.",
    "login_timeout": "Keys and authentication after that.",
    "hello_timeout": "From the start of the agent to its first words.",
    "verdict_timeout": "All attempts to reach a host together.",
    "connects_at_once": "Connections being made at one time, to all hosts.",
    "connects_per_sshd": "The same, to one address and port.",
    "connect_retries": "Further attempts to reach a host; none after a refused login.",
    "retry_wait": "Wait before the first of them; doubles each time, +- 50 %.",
    "retry_wait_max": "Longest wait between attempts.",
    "tcp_user_timeout": "Data not acknowledged for so long closes the connection.",
    "beat_interval": "Between two signs of life, both ways.",
    "dead_after": "A host without a sign of life for so long is lost.",
    "lease": "Without a sign of life from the master for so long, an agent ends its jobs and itself.",
    "kill_grace": "Between TERM and KILL.",
    "batch_bytes": "An agent sends its output when it has so much,",
    "batch_interval": "or after so long.",
    "host_queue_bytes": "What one host may send before the master has read it; for ssh_client = paramiko.",
}


def all_keys() -> dict[str, dict[str, Key]]:
    """Return section -> name -> key, in the order of the example."""
    sections = {
        "DEFAULT": DefaultKeys,
        "layout": LayoutKeys,
        "cluster": ClusterKeys,
        "deploy": DeployKeys,
        "logging": LoggingKeys,
        "remote": RemoteKeys,
    }
    table = {
        section: {field.name: field.metadata["key"] for field in dataclasses.fields(keys)}
        for section, keys in sections.items()
    }
    table["remote"].update(_parameter_keys())
    return table


def format_example() -> str:
    """Return the text of `pipeline.cfg.example`; each line `#key = value` is the default."""
    return "\n".join(_example_lines()) + "\n"


def _example_lines() -> Iterator[str]:
    yield "# Every key with its default: remove the '#' in front of a key to change it."
    yield "# %(name)s is the value of a key of the same section, of [DEFAULT] or of [layout], or one of job_name,"
    yield "# start_time and cwd; %% is a percent. Relative paths start where the recipe is started, ~ is the home."
    for section, keys in all_keys().items():
        yield ""
        yield f"[{section}]"
        for name, key in keys.items():
            yield f"# {key.help} ({key.unit})"
            yield f"#{name} = {key.default}".rstrip()


def _parameter_keys() -> dict[str, Key]:
    return {
        field.name: _parameter_key(_PARAMETER_HELP.get(field.name, ""), field.name, field.default)
        for field in dataclasses.fields(Parameters)
    }


def _parameter_key(help: str, name: str, default: Any) -> Key:
    if isinstance(default, float):
        return Key(f"{default:g}", seconds, "s", help)
    return Key(str(default), integer(0 if "retries" in name else 1), "bytes" if "bytes" in name else "count", help)
