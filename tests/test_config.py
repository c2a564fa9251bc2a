"""pipeline.cfg, task files and recipe defaults: what they mean and how mistakes in them are told."""

import argparse
import dataclasses
import json
import logging
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import pipeline
from pipeline.cli.config import add_parser
from pipeline.errors import ConfigError, ParsetError
from pipeline.formats.sections import parse_sections
from pipeline.model.hosts import Login
from pipeline.model.parameters import Parameters
from pipeline.recipe.config import Config, find_config, read_config
from pipeline.recipe.config_keys import all_keys, format_example
from pipeline.recipe.inputs import Setting
from pipeline.recipe.tasks import read_input_defaults, read_tasks

EXAMPLE = Path(__file__).parent.parent / "pipeline.cfg.example"
CWD = '/it\'s, a ["place"] 100%'
Write = Callable[..., Path]

OLD_CONFIG = """\
[DEFAULT]
lofarroot = /opt/lofar
casaroot = /opt/casa
pythonpath = %(lofarroot)s/lib/python
runtime_directory = %(lofarroot)s/var/run
recipe_directories = [%(pythonpath)s/recipes, /home/a b/recipes]
task_files = [%(lofarroot)s/tasks.cfg]
default_working_directory = /data/scratch

; the original's comment
[layout]
job_directory = %(runtime_directory)s/jobs/%(job_name)s
log_directory = %(job_directory)s/logs/%(start_time)s
vds_directory = %(job_directory)s/vds

[cluster]
clusterdesc: %(runtime_directory)s/sub3.clusterdesc
task_furl = %(runtime_directory)s/task.furl

[deploy]
script_path = /opt/bin
engine_ppath = %(pythonpath)s:/opt/x
engine_lpath = %(lofarroot)s/lib:
    %(casaroot)s/lib

[logging]
log_file = %(log_directory)s/pipeline.log
format = %(asctime)s %(levelname)-7s %(name)s: %(message)s
datefmt = %Y-%m-%d %H:%M:%S
xml_stat_file = %(log_directory)s/statistics.xml

[remote]
method = paramiko
max_per_node = 8

[feedback]
method = none
"""


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write text to a file in a folder whose name needs care."""
    folder = tmp_path / 'a "b"\nc%d, it\'s'
    folder.mkdir()

    def write(text: str, name: str = "pipeline.cfg") -> Path:
        path = folder / name
        path.write_text(text)
        return path

    return write


def read(path: Path | None, cwd: str | Path = CWD, **overrides: str) -> Config:
    return read_config(path, job_name="foo", start_time="2026-11-20T14:14:18", cwd=cwd, overrides=overrides)


def problems(path: Path) -> list[str]:
    """Return the problems of a file without its folder."""
    with pytest.raises(ConfigError) as caught:
        read(path)
    assert all("\n" not in problem for problem in caught.value.problems)
    return [problem[problem.index("pipeline.cfg") :] for problem in caught.value.problems]


# --- defaults and search --------------------------------------------------------------------------------------


def test_defaults_work_without_a_file():
    """With no configuration, runs are kept under ./runs and nothing is set for SSH, wherever that is."""
    config = read(None)

    assert config.default.runtime_directory == f"{CWD}/runs"
    assert config.layout.job_directory == f"{CWD}/runs/foo"
    assert config.logging.log_file == f"{CWD}/runs/foo/logs/2026-11-20T14:14:18/pipeline.log"
    assert config.default.recipe_directories == (CWD,)
    assert (config.remote.method, config.remote.max_per_node) == ("auto", None)
    assert (config.parameters, config.login) == (Parameters(), Login())


def test_levels_are_logging_levels():
    """Captured lines are DEBUG and INFO, the terminal shows WARNING, unless configured otherwise."""
    keys = read(None).logging

    assert (keys.job_stdout_level, keys.job_stderr_level, keys.stderr_level) == (10, 20, 30)


def test_example_is_what_the_table_says():
    """The example in the project is printed from the table of keys."""
    assert EXAMPLE.read_text() == format_example()


def test_example_uncommented_gives_the_defaults(write):
    """Every key of the example, with its default, reads as the defaults."""
    path = write(re.sub(r"(?m)^#(?=\w+ =)", "", format_example()))

    config = read(path)

    default = read(None)
    assert set(config.settings) == {(section, key) for section, keys in all_keys().items() for key in keys}
    for part in dataclasses.fields(Config)[1:8]:
        assert getattr(config, part.name) == getattr(default, part.name)
    assert "default" not in {config.source(section, key) for section, key in config.settings}


def test_every_key_is_explained():
    """No key, and no parameter that is added later, goes without help and unit."""
    keys = all_keys()

    assert {f.name for f in dataclasses.fields(Parameters)} <= set(keys["remote"])
    assert all(key.help and key.unit for section in keys.values() for key in section.values())


def test_search_goes_from_explicit_to_home(tmp_path, monkeypatch):
    """-c, the current folder, the recipe's folder and those above it, the home."""
    home, here, recipes = (tmp_path / name for name in ("home", "here", "x"))
    (recipes / "a b" / "master").mkdir(parents=True)
    home.mkdir()
    here.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.chdir(here)
    found = [find_config(None, recipes / "a b/master")]
    for path in (
        home / ".pipeline.cfg",
        recipes / "pipeline.cfg",
        recipes / "a b/master/pipeline.cfg",
        here / "pipeline.cfg",
    ):
        path.write_text("")
        found.append(find_config(None, recipes / "a b/master"))
    found.append(find_config("other.cfg", recipes))

    assert [str(path and path.relative_to(tmp_path)) for path in found[:4]] == [
        "None",
        "home/.pipeline.cfg",
        "x/pipeline.cfg",
        "x/a b/master/pipeline.cfg",
    ]
    assert found[4:] == [Path("pipeline.cfg"), Path("other.cfg")]


def test_explicit_file_that_is_missing_is_an_error(tmp_path):
    """-c with a slip of the pen does not fall back to something else."""
    with pytest.raises(ConfigError, match=r"/other\.cfg: expected a configuration file, found nothing there$"):
        read(find_config(tmp_path / "other.cfg", None))


# --- values ---------------------------------------------------------------------------------------------------


def test_values_have_their_types(write):
    """Each section's keys are attributes of the right type."""
    config = read(
        write(
            "[DEFAULT]\ntask_files = a.cfg, 'b, c.cfg'\n"
            "[remote]\nmax_per_node = 4 # cores\nuser = observer\nport = 2222\n"
            "job_timeout = 1.5\nconnect_timeout = 3\nconnect_retries = 0\nhost_keys = accept-new\nknown_hosts = k\n"
        )
    )

    assert config.default.task_files == (f"{CWD}/a.cfg", f"{CWD}/b, c.cfg")
    assert (config.remote.max_per_node, config.remote.job_timeout) == (4, 1.5)
    assert (config.parameters.connect_timeout, config.parameters.connect_retries) == (3.0, 0)
    assert config.login == Login(user="observer", port=2222, known_hosts=f"{CWD}/k", host_keys="accept-new")


def test_reach_is_made_from_the_configuration(write):
    """What starts agents is told method, client, login, times and environment."""
    reach = read(write("[remote]\nmethod = ssh\nssh_client = openssh\nuser = x\n[deploy]\nengine_ppath = /p\n")).reach()

    assert (reach.method, reach.ssh_client, reach.login.user) == ("ssh", "openssh", "x")
    assert reach.environment == {"engine_ppath": "/p"}


@pytest.mark.parametrize("warm", ["auto", "off", "at once"])
def test_agents_are_told_when_to_fork(write, warm):
    """What `warm` says is said to agents."""
    assert read(write(f"[remote]\nwarm = {warm}\n")).reach().setup("lce001", "token")["warm"] == warm


def test_home_is_expanded_in_paths(write, monkeypatch):
    """~ is the home directory."""
    monkeypatch.setenv("HOME", "/home/o b")

    config = read(write("[DEFAULT]\nruntime_directory = ~/runs\ntask_files = [~/t.cfg]\n"))

    assert (config.layout.job_directory, config.default.task_files) == ("/home/o b/runs/foo", ("/home/o b/t.cfg",))


def test_list_may_go_on_over_lines(write):
    """Indented lines without a key continue the value, as in the original."""
    config = read(write("[DEFAULT]\nrecipe_directories = [/a,\n    /b,\n\n    /c]\ntask_files = []\n"))

    assert config.default.recipe_directories == ("/a", "/b", "/c")


def test_interpolation_knows_section_default_and_run(write):
    """%(name)s is looked up in the section, in DEFAULT, then among the run's names; %% is a percent."""
    config = read(
        write(
            "[DEFAULT]\nroot = /r%%\nruntime_directory = %(root)s/runs\n"
            "[deploy]\nroot = /d\nengine_ppath = %(root)s:%(runtime_directory)s:%(job_name)s:%(start_time)s:50%\n"
        )
    )

    assert config.default.runtime_directory == "/r%/runs"
    assert config.deploy.engine_ppath == "/d:/d/runs:foo:2026-11-20T14:14:18:50%"


def test_log_file_follows_the_job_directory(write):
    """Moving the job directory moves the log with it."""
    config = read(write("[layout]\njob_directory = /jobs/%(job_name)s\n"))

    assert config.logging.log_file == "/jobs/foo/logs/2026-11-20T14:14:18/pipeline.log"


def test_override_comes_before_interpolation(write):
    """-r moves everything that refers to the runtime directory, and is taken as it is."""
    path = write("[DEFAULT]\nruntime_directory = /r\n[deploy]\nengine_ppath = %(runtime_directory)s\n")

    config = read(path, runtime_directory="100% (new)s")

    assert config.default.runtime_directory == f"{CWD}/100% (new)s"
    assert config.layout.job_directory == f"{CWD}/100% (new)s/foo"
    assert config.deploy.engine_ppath == f"{CWD}/100% (new)s"
    assert config.source("DEFAULT", "runtime_directory") == "command line"


def test_get_is_like_config_parser(write):
    """Recipes of the original ask for text, with DEFAULT behind every section."""
    path = write(
        "[DEFAULT]\nmy_root = /m\nmy_flag = yes\ntask_files = %(my_root)s/t%(my_flag)s\n"
        "[remote]\nmax_per_node = 3\nretries = 0x2\n"
    )

    config = read(path)

    assert config.get("layout", "job_directory") == f"{CWD}/runs/foo"
    assert config.get("remote", "my_root") == "/m"
    assert config.get("DEFAULT", "task_files") == "[/m/tyes]"
    assert config.get("logging", "format", raw=True).startswith("%(asctime)s")
    assert config.get("logging", "nothing", fallback=None) is None
    assert (config.getint("remote", "retries"), config.getfloat("remote", "lease")) == (2, 60.0)
    assert config.getboolean("layout", "my_flag") is True
    assert (config.has_option("remote", "retries"), config.has_option("remote", "x")) == (True, False)
    with pytest.raises(
        ConfigError, match=r"\[layout\] job_directry: expected a known key; did you mean 'job_directory'"
    ):
        config.get("layout", "job_directry")


def test_source_is_file_and_line(write):
    """Where a value came from can be told to the line."""
    path = write("# note\n[remote]\n\nmax_per_node = 3\n")

    config = read(path)

    assert config.source("remote", "max_per_node").endswith("pipeline.cfg:4")
    assert config.source("remote", "retries") == "default"


def test_byte_order_mark_and_crlf_are_accepted(write):
    """A file from another system's editor reads the same."""
    path = write("")
    path.write_bytes(b"\xef\xbb\xbf[remote]\r\nretries = 2\r\n")

    assert read(path).remote.retries == 2


def test_old_configuration_loads_with_one_warning(write, caplog):
    """A file of the original means what it meant; what has no meaning any more is named once."""
    path = write(OLD_CONFIG)

    with caplog.at_level(logging.WARNING):
        config = read(path)

    assert config.layout.job_directory == "/opt/lofar/var/run/jobs/foo"
    assert config.cluster.clusterdesc == "/opt/lofar/var/run/sub3.clusterdesc"
    assert config.default.recipe_directories == ("/opt/lofar/lib/python/recipes", "/home/a b/recipes")
    assert config.default.working_directory == "/data/scratch"
    assert config.deploy.engine_lpath == "/opt/lofar/lib: /opt/casa/lib"
    assert (config.remote.method, config.remote.ssh_client) == ("ssh", "paramiko")
    assert len(caplog.records) == 1
    ignored = caplog.records[0].getMessage().partition("ignored: ")[2]
    assert ignored == (
        "[layout] vds_directory, [cluster] task_furl, [deploy] script_path, [logging] xml_stat_file, [feedback]"
    )


def test_variable_that_only_a_task_file_uses_is_known(write):
    """Names for task files may be defined in DEFAULT."""
    tasks = write("[t]\nrecipe = r\nx = %(my_data)s/x\n", "tasks.cfg")
    config = read(write("[DEFAULT]\nmy_data = /m\ntask_files = [tasks.cfg]\n"), cwd=tasks.parent)

    assert read_tasks(config.default.task_files, config.scope)["t"].inputs["x"].value == "/m/x"


# --- mistakes -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("[remote]\nmax_per_node = eight", "2: [remote] max_per_node: expected an integer >= 0, got 'eight'"),
        ("[remote]\nmax_per_node = -1", "2: [remote] max_per_node: expected an integer >= 0, got '-1'"),
        ("[remote]\nport = 70000", "2: [remote] port: expected an integer from 1 to 65535, got '70000'"),
        ("[remote]\nlease = 0", "2: [remote] lease: expected a number of seconds > 0, got '0'"),
        ("[remote]\nlease = nan", "2: [remote] lease: expected a number of seconds > 0, got 'nan'"),
        ("[remote]\nlease = 4", "2: [remote] lease: expected more than beat_interval (5 s), got 4"),
        ("[remote]\nbeat_interval = 30", "2: [remote] dead_after: expected more than beat_interval (30 s), got 30"),
        ("[remote]\nmethod = rsh", "2: [remote] method: expected auto, local, ssh or paramiko, got 'rsh'"),
        (
            "[remote]\nssh_client = openssh\nmethod = paramiko",
            "3: [remote] method: expected 'ssh' together with ssh_client = openssh, got 'paramiko'",
        ),
        (
            "[remote]\nuser = -oProxyCommand=x",
            "2: [remote] user: expected a user name (letters, digits, '.', '_', '-'), got '-oProxyCommand=x'",
        ),
        ("[DEFAULT]\nruntime_directory =", "2: [DEFAULT] runtime_directory: expected a path, got nothing"),
        ("[DEFAULT]\ntask_files = [a", "2: [DEFAULT] task_files: expected ']' at the end of the list, got '[a'"),
        (
            "[logging]\nstderr_level = loud",
            "2: [logging] stderr_level: expected DEBUG, INFO, WARNING, ERROR or CRITICAL, got 'LOUD'",
        ),
        (
            "[remote]\nmax_per_nod = 3",
            "2: [remote] max_per_nod: expected a known key, or one that %(max_per_nod)s refers to, "
            "got 'max_per_nod'; did you mean 'max_per_node'?",
        ),
        (
            "[DEFAULT]\nmax_per_node = 3",
            "2: [DEFAULT] max_per_node: expected a known key, or one that %(max_per_node)s refers to, "
            "got 'max_per_node'; it belongs to [remote]",
        ),
        (
            "\n[remotes]\nretries = 3",
            "2: expected one of [DEFAULT], [layout], [cluster], [deploy], [logging], [remote], got [remotes]; "
            "did you mean 'remote'?",
        ),
        ("[remote]\nretries = 1\nretries = 2", "3: [remote] retries: expected once, got it again (first in line 2)"),
        ("[remote]\n[layout]\n[remote]", "3: expected each section once, got [remote] again (first in line 1)"),
        ("retries = 1", "1: retries: expected a [section] before the first key, e.g. [DEFAULT]"),
        ("[remote]\nretries", "2: expected 'key = value' or [section], got 'retries'"),
        ("[remote", "1: expected [section], got '[remote'"),
        ("[[remote]]", "1: expected [section], got '[[remote]]'"),
        ("[remote]\nuser = 'x", '2: expected a value in quotes as a whole, or without quotes, got "user = \'x"'),
        ("[remote]\nuser = '''x'''", "2: [remote] user: expected quotes once, got three in a row"),
        (
            "[deploy]\npython = %(pythn)s",
            "2: [deploy] python: expected the name of a key of this section or [DEFAULT], got %(pythn)s; "
            "did you mean 'python'?",
        ),
        ("[deploy]\npython = %(cwd)", "2: [deploy] python: expected %(name)s, got '%(cwd)'"),
        (
            "[deploy]\npython = %(a)s\na = %(b)s\nb = %(a)s",
            "2: [deploy] python: expected values that do not refer to each other in a circle, got a -> b -> a",
        ),
        ("[DEFAULT]\njob_name = x\n[deploy]\npython = %(job_name)s", "2: [DEFAULT] job_name: expected a known key"),
    ],
)
def test_mistake_is_one_line_with_its_place(write, text, problem):
    """File, line, section, key, what was expected, what was found."""
    found = problems(write(text))

    assert found[0].startswith(f"pipeline.cfg:{problem}")


@pytest.mark.parametrize("text", ["%(nothing)s", "%(asctime)99999s", "%", "no field", "%(asctime)d"])
def test_log_format_that_cannot_work_is_refused(write, text):
    """A slip in the format is found before the first log line, not at each."""
    assert (
        "2: [logging] format: expected a format as in Python's logging"
        in problems(write(f"[logging]\nformat = {text}"))[0]
    )


def test_all_mistakes_are_reported_at_once(write):
    """Syntax, names and types together, in one go."""
    found = problems(
        write("[remote]\nretries = x\nport = 0\nbad line\nwarn = auto\n[lay]\n[DEFAULT]\ntask_files = [a\n")
    )

    assert sorted(int(problem.split(":")[1]) for problem in found) == [2, 3, 4, 5, 6, 8]


def test_broken_value_is_reported_where_it_stands_only(write):
    """Defaults that refer to it add nothing."""
    assert len(problems(write("[DEFAULT]\nruntime_directory = %(nothing)s\n"))) == 1


@pytest.mark.parametrize(
    "text",
    [
        "[" * 1_000_000,
        "\n".join("[" * n + "a" + "]" * n for n in range(1, 1000)),
        "[a" + " ]" * 300_000 + " x",
        "[remote]\nuser = x" + " " * 900_000 + "y",
        "[remote]\n" + " " * 900_000 + "user",
        "[remote]\nuser" + " " * 900_000 + "x = y",
        "[remote]\nuser = " + "'\"" * 400_000,
        "[DEFAULT]\ntask_files = " + "[" * 900_000,
        "[DEFAULT]\nruntime_directory = x\n" + " y\n" * 300_000,
        "[DEFAULT]\n"
        + "\n".join(f"k{n} = %(k{n + 1})s%(k{n + 1})s" for n in range(40))
        + "\nk40 = x\ntask_files = %(k0)s",
        "[DEFAULT]\n" + "\n".join(f"k{n} = %(k{n + 1})s" for n in range(20_000)) + "\nk20000 = x\ntask_files = %(k0)s",
        "[deploy]\na = " + "x" * 60_000 + "\npython = " + "%(a)s" * 100_000,
        "[DEFAULT]\na = "
        + "x" * 60_000
        + "\n"
        + "\n".join(f"k{n} = %(a)s" for n in range(40_000))
        + "\n[remote]\nx = ",
        "[DEFAULT]\n" + "\n".join(f"k{n} = %(q{n})s" for n in range(30_000)),
        "[DEFAULT]\n" + "\n".join(f"k{n} = 1" for n in range(40_000)) + "\n".join(f"\n[s{n}]" for n in range(20_000)),
        "%(" * 500_000,
        "x = 1\n" * 150_000,
        "é" * 500_000,
        "[remote]\nretries = " + "9" * 900_000,
    ],
    ids=range(19),
)
def test_hostile_file_is_refused_quickly(write, text):
    """Bombs and deep nesting are an error in about a second, whatever they aim at."""
    path = write(text)
    start = time.process_time()

    with pytest.raises(ConfigError) as caught:
        read(path)

    assert time.process_time() - start < 2.5
    assert max(map(len, caught.value.problems)) < 1000


def test_huge_file_is_refused_unread(write):
    """100 MB are no configuration."""
    path = write("")
    os.truncate(path, 100 << 20)

    assert problems(path) == ["pipeline.cfg: expected at most 1048576 bytes, found 104857600 or more"]


@pytest.mark.parametrize(("make", "found"), [(os.mkfifo, "a FIFO"), (os.mkdir, "a directory")])
def test_what_is_no_file_is_refused(tmp_path, make, found):
    """A FIFO or a directory is named, and nobody waits."""
    make(tmp_path / "pipeline.cfg")

    assert problems(tmp_path / "pipeline.cfg") == [f"pipeline.cfg: expected a regular file, found {found}"]


def test_nul_is_refused(write):
    """A NUL byte is named by its place."""
    assert problems(write("[remote]\nuser = a\0b")) == ["pipeline.cfg:2:9: expected text, found a NUL byte"]


@settings(deadline=None)
@given(st.text("[]=ab%()s'\"#; \n:", max_size=60) | st.text(max_size=60))
def test_any_text_is_parsed_or_reported(text):
    """The parser itself never fails, and every entry has its own line."""
    parsed = parse_sections(text, "x")

    lines = text.split("\n")
    for entries in parsed.sections.values():
        assert all(key in lines[entry.line - 1] for key, entry in entries.items())


# --- task files and defaults of inputs ------------------------------------------------------------------------


def test_tasks_have_recipe_inputs_and_sources(write):
    """A task is a recipe and texts, each with its line; later files win key by key."""
    first = write("[DEFAULT]\ndata = /d\n[ndppp]\nrecipe = dppp\nfile = %(data)s/%(name)s\nname = a\n", "1.cfg")
    second = write("[ndppp]\nname = %(job_name)s\n[other]\nrecipe = o\n", "2.cfg")

    tasks = read_tasks([first, second], {"job_name": "50%(x)s"})

    assert (tasks["ndppp"].recipe, tasks["other"].recipe) == ("dppp", "o")
    assert {name: setting.value for name, setting in tasks["ndppp"].inputs.items()} == {
        "file": "/d/a",
        "name": "50%(x)s",
    }
    assert tasks["ndppp"].inputs["file"].source.endswith("1.cfg:5")
    assert tasks["ndppp"].inputs["name"].source.endswith("2.cfg:2")


def test_mistakes_in_all_task_files_are_reported(write):
    """One bad file does not hide the next."""
    first = write("[a]\nx = 1\n[b]\nrecipe = r\ny = %(nothing)s\n", "1.cfg")
    second = write("junk\n", "2.cfg")

    with pytest.raises(ConfigError) as caught:
        read_tasks([first, second, first.parent / "3.cfg"], {})

    shown = [re.sub(r"^.*/", "", problem) for problem in caught.value.problems]
    assert shown == [
        "1.cfg:5: [b] y: expected the name of a key of this section or [DEFAULT], got %(nothing)s",
        "2.cfg:1: expected 'key = value' or [section], got 'junk'",
        "3.cfg: expected a task file, found nothing there",
        "1.cfg:1: [a] recipe: expected the name of a recipe, got nothing",
    ]


@pytest.mark.parametrize(
    "text",
    [
        "[DEFAULT]\na = " + "x" * 60_000 + "\n" + "\n".join(f"[s{n}]\nx = %(a)s" for n in range(20_000)),
        "[DEFAULT]\n"
        + "\n".join(f"k{n} = 1" for n in range(20_000))
        + "\n".join(f"\n[s{n}]\nx=%(y)s" for n in range(9000)),
        "[t]\n" + "\n".join(f"k{n} = %(q{n})s" for n in range(30_000)),
    ],
    ids=["memory", "sections", "names"],
)
def test_hostile_task_file_is_refused_quickly(write, text):
    """Neither many sections nor many mistakes take long."""
    path = write(text, "tasks.cfg")
    start = time.process_time()

    with pytest.raises(ConfigError) as caught:
        read_tasks([path], {})

    assert time.process_time() - start < 5
    assert len(caught.value.problems) <= 100


def test_input_defaults_are_texts_with_their_lines(write):
    """Comments go, quotes go, lists keep theirs."""
    text = "# note\na = 1 # one\nb = 'x # y'\nc = ['p,q', r]\nd=\n'e' = \"it's\"\nf = 'it'\"'\"'s' s\n"
    path = write(text, "recipe.parset")

    settings = read_input_defaults(path)

    assert {name: setting.value for name, setting in settings.items()} == {
        "a": "1",
        "b": "x # y",
        "c": "['p,q', r]",
        "d": "",
        "e": "it's",
        "f": "it's s",
    }
    assert settings["c"] == Setting("['p,q', r]", settings["a"].source[:-1] + "4")


def test_mistakes_in_input_defaults_are_reported(write):
    """Each line that is none is named."""
    with pytest.raises(ParsetError) as caught:
        read_input_defaults(write("b = 1\n= 2\nc = 'd\n", "recipe.parset"))

    assert [problem.split(".parset:")[1] for problem in caught.value.problems] == [
        "2:1: expected a key before '='",
        "3:5: expected a closing ' on this line, got none",
    ]


def test_odd_input_defaults_load_with_a_warning(write, caplog):
    """A parset of the original's has the meaning it had."""
    settings = read_input_defaults(write("a = b = 1\n", "recipe.parset"))

    assert {name: setting.value for name, setting in settings.items()} == {"a": "", " b": "1"}
    assert [record.getMessage().split(".parset:")[1] for record in caplog.records] == [
        "1:7: expected one '=' outside quotes, got another; put the value in quotes"
    ]


# --- the command ----------------------------------------------------------------------------------------------


def run(*words: str) -> int:
    parser = argparse.ArgumentParser()
    add_parser(parser.add_subparsers())
    options = parser.parse_args(["config", *words])
    status: int = options.run(options)
    return status


def test_show_prints_value_and_source(write, capsys):
    """Every key of every section, and where it came from, on a line each."""
    path = write("[remote]\nmax_per_node = 4\n")

    assert run("show", "-c", str(path)) == 0

    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "[DEFAULT]"
    assert any(re.fullmatch(r"max_per_node = 4  # .*/pipeline\.cfg:2", line) for line in lines)
    assert "retries = 0  # default" in lines


def test_show_json_is_the_same(write, capsys):
    """Programs get section, key, value and source."""
    run("show", "--json", "-c", str(write("[remote]\nmax_per_node = 4\n")))

    rows = json.loads(capsys.readouterr().out)
    (row,) = (row for row in rows if row["key"] == "max_per_node")
    assert (row["section"], row["value"]) == ("remote", "4")
    assert row["source"].endswith(":2")


def test_check_says_ok(write, capsys):
    """A good file is a line and exit status 0."""
    assert run("check", "-c", str(write(""))) == 0

    assert capsys.readouterr().out.endswith("pipeline.cfg: ok\n")


def test_check_without_a_file_says_so(tmp_path, monkeypatch, capsys):
    """No file at all is fine."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)

    assert run("check") == 0
    assert "no pipeline.cfg" in capsys.readouterr().out


@pytest.mark.parametrize("text", ["[remote]\nx = 1\n", "[DEFAULT]\ntask_files = [missing.cfg]\n"])
def test_check_raises_all_problems(write, text):
    """Problems of the file, or of its task files, end in exit status 2."""
    with pytest.raises(ConfigError) as caught:
        run("check", "-c", str(write(text)))

    assert caught.value.exit_code == 2


def test_zero_configuration_needs_no_configobj(tmp_path):
    """Starting without a file stays fast: the parser of files is not imported."""
    code = (
        "import sys; from pipeline.recipe.config import read_config;"
        "read_config(None, job_name='a', start_time='b', cwd='/');"
        "print([m for m in ('configobj', 'paramiko', 'zmq', 'rich', 'ClusterShell') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(Path(pipeline.__file__).parent.parent)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )

    assert done.stdout == "[]\n"
