"""pipeline.cfg: where it is found, how it is read, and the frozen `Config` it becomes."""

import dataclasses
import logging
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline.errors import ConfigError, ParsetError
from pipeline.formats.interpolation import close_match
from pipeline.formats.sections import ParsedSections, parse_sections
from pipeline.formats.values import parse_bool, parse_float, parse_int
from pipeline.model.hosts import Login
from pipeline.model.parameters import Parameters
from pipeline.recipe.config_file import MAX_CONFIG_BYTES, check_config
from pipeline.recipe.config_keys import ClusterKeys, DefaultKeys, DeployKeys, LayoutKeys, LoggingKeys, RemoteKeys
from pipeline.recipe.inputs import Setting
from pipeline.run.reach import Reach
from pipeline.run.textfiles import one_line, read_text

__all__ = ["Config", "find_config", "read_config"]

log = logging.getLogger(__name__)

_FILE_NAME = "pipeline.cfg"

_UNSET: Any = object()


@dataclass(frozen=True)
class Config:
    """
    All settings of a run; `config.remote.max_per_node` is typed, `config.get("remote", "max_per_node")` is text.

    Attributes:
        path: The file it was read from; None if there is none and the defaults count.
        default: Section DEFAULT; paths everywhere are absolute.
        remote: Section remote without the times and limits.
        parameters: The times and limits of section remote.
        scope: What `%(name)s` stands for in a task file: keys of DEFAULT, job_name, start_time, cwd.
        settings: (section, key) -> its text after interpolation and where it came from.
    """

    path: Path | None
    default: DefaultKeys
    layout: LayoutKeys
    cluster: ClusterKeys
    deploy: DeployKeys
    logging: LoggingKeys
    remote: RemoteKeys
    parameters: Parameters
    scope: Mapping[str, str] = field(repr=False)
    settings: Mapping[tuple[str, str], Setting] = field(repr=False)

    @property
    def login(self) -> Login:
        """How to log in to hosts."""
        return Login(**{name.name: getattr(self.remote, name.name) for name in dataclasses.fields(Login)})

    def reach(self) -> Reach:
        """How hosts are reached."""
        paths = {name: getattr(self.deploy, name) for name in ("initscript", "engine_ppath", "engine_lpath")}
        return Reach(
            method=self.remote.method,
            ssh_client=self.remote.ssh_client,
            login=self.login,
            parameters=self.parameters,
            python=self.deploy.python,
            environment={name: path for name, path in paths.items() if path},
            warm=self.remote.warm,
        )

    def get(self, section: str, option: str, raw: bool = False, vars: object = None, *, fallback: Any = _UNSET) -> Any:
        """
        Return the text of a key of `section` or DEFAULT, paths absolute; signature as in ConfigParser.

        Args:
            raw: Has no effect: `format` and `datefmt` are never interpolated, all others always are.
            vars: Has no effect.
            fallback: Returned for an unknown key.

        Raises:
            ConfigError: For an unknown key, without a fallback.
        """
        setting = self._setting(section, option)
        if setting is not None:
            return setting.value
        if fallback is not _UNSET:
            return fallback
        known = {key for where, key in self.settings if where in (section, "DEFAULT")}
        raise ConfigError(f"{self.name}: [{section}] {option}: expected a known key{close_match(option, known)}")

    def getint(self, section: str, option: str) -> int:
        """Return a key as an integer; ConfigError if it is none."""
        return int(self._parsed(section, option, parse_int))

    def getfloat(self, section: str, option: str) -> float:
        """Return a key as a number; ConfigError if it is none."""
        return float(self._parsed(section, option, parse_float))

    def getboolean(self, section: str, option: str) -> bool:
        """Return a key as a boolean; ConfigError if it is none."""
        return bool(self._parsed(section, option, parse_bool))

    def has_option(self, section: str, option: str) -> bool:
        """Whether `get` returns something."""
        return self._setting(section, option) is not None

    def source(self, section: str, key: str) -> str:
        """Return where a value came from: `pipeline.cfg:14`, `command line` or `default`."""
        setting = self._setting(section, key)
        return setting.source if setting is not None else "default"

    @property
    def name(self) -> str:
        """The file for messages."""
        return "configuration" if self.path is None else one_line(self.path)

    def _setting(self, section: str, option: str) -> Setting | None:
        return self.settings.get((section, option)) or self.settings.get(("DEFAULT", option))

    def _parsed(self, section: str, option: str, parse: Any) -> Any:
        try:
            return parse(self.get(section, option))
        except ParsetError as error:
            raise ConfigError(f"{self.source(section, option)}: [{section}] {option}: {error}") from None


def find_config(
    explicit: str | os.PathLike[str] | None = None,
    recipe_dir: str | os.PathLike[str] | None = None,
    *,
    cwd: str | os.PathLike[str] = ".",
) -> Path | None:
    """
    Return the configuration file to read; None if there is none, and the defaults count.

    Looks for `explicit`, then ./pipeline.cfg, then in the recipe's folder and those above it, then ~/.pipeline.cfg.
    """
    if explicit is not None:
        return Path(explicit)  # reading it says so if it is not there
    folders = [Path(cwd)]
    if recipe_dir is not None:
        recipe_folder = Path(os.path.abspath(recipe_dir))
        folders += [recipe_folder, *recipe_folder.parents]
    candidates = [folder / _FILE_NAME for folder in folders]
    candidates.append(Path(os.path.expanduser(f"~/.{_FILE_NAME}")))
    return next((path for path in candidates if os.path.exists(path) and _is_trusted(path)), None)


def _is_trusted(path: Path) -> bool:
    """
    Whether a file that nobody named may be obeyed: it says what runs on the hosts.

    Anybody can put a file into /tmp; one of another user is passed over where everybody may write.
    """
    owner, everybody_writes = path.stat().st_uid, path.parent.stat().st_mode & stat.S_IWOTH
    if owner in (os.getuid(), 0) or not everybody_writes:
        return True
    log.warning(
        "%s: passed over: it is another user's, in a folder where all may write; name it with -c", one_line(path)
    )
    return False


def read_config(
    path: str | os.PathLike[str] | None,
    *,
    job_name: str,
    start_time: str,
    cwd: str | os.PathLike[str],
    overrides: Mapping[str, str] | None = None,
) -> Config:
    """
    Read a configuration.

    Args:
        path: None for the defaults alone.
        job_name, start_time, cwd: The values of %(job_name)s, %(start_time)s and %(cwd)s; relative paths start
            at `cwd`.
        overrides: Keys of DEFAULT from the command line, e.g. runtime_directory; taken as they are.

    Raises:
        ConfigError: With all problems of the file, each `path:line: [section] key: expected ..., got ...`.
    """
    parsed = ParsedSections({}, {}, [])
    name = "configuration" if path is None else one_line(path)
    if path is not None:
        parsed = parse_sections(read_text(path, error=ConfigError, max_bytes=MAX_CONFIG_BYTES), name)
    literals = {"job_name": job_name, "start_time": start_time, "cwd": os.path.abspath(cwd)}
    checked = check_config(parsed, name, literals, overrides or {})
    if checked.old:
        log.warning("%s: no longer of any meaning, ignored: %s", name, ", ".join(checked.old))
    times = {time.name for time in dataclasses.fields(Parameters)}
    remote = checked.values["remote"]
    return Config(
        path=None if path is None else Path(path),
        default=DefaultKeys(**checked.values["DEFAULT"]),
        layout=LayoutKeys(**checked.values["layout"]),
        cluster=ClusterKeys(**checked.values["cluster"]),
        deploy=DeployKeys(**checked.values["deploy"]),
        logging=LoggingKeys(**checked.values["logging"]),
        remote=RemoteKeys(**{key: value for key, value in remote.items() if key not in times}),
        parameters=Parameters(**{key: value for key, value in remote.items() if key in times}),
        scope=checked.scope,
        settings=checked.settings,
    )
