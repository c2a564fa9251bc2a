"""Recipes from end to end: real processes, started as a user starts them, from elsewhere."""

import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from harness import with_warm

from pipeline import DataMap, load_data_map

PROJECT = Path(__file__).resolve().parents[1]
HELPERS = PROJECT / "tests/recipes/master"

Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def place(tmp_path):
    """A directory whose name has everything in it that a name can have."""
    directory = tmp_path / 'it\'s "a"\n{place}'
    directory.mkdir()
    return directory


@pytest.fixture
def run(place) -> Run:
    """Run a recipe's file with these options, its working directory at `place`."""

    home = place.parent / "home"
    home.mkdir()
    (home / ".pipeline.cfg").write_text(with_warm("[remote]\n"))

    def run_recipe(recipe: str | Path, *words: object, **options: object) -> "subprocess.CompletedProcess[str]":
        path = recipe if isinstance(recipe, Path) else PROJECT / f"recipes/master/{recipe}.py"
        command = [sys.executable, str(path), *map(str, words)]
        streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "stdin": subprocess.DEVNULL, **options}
        environment = {**os.environ, "PYTHONPATH": str(PROJECT), "HOME": str(home)}
        return subprocess.run(command, cwd=place, env=environment, text=True, timeout=100, check=False, **streams)

    return run_recipe


# -- the example


def test_example_logs_what_its_node_script_logs(run):
    """The line of the node script reaches the master's stderr, the results stdout, and all is well."""
    done = run("example_parallel", "-j", "foo", "-d")

    host = os.uname().nodename.partition(".")[0]
    assert f"INFO    node.{host}.example_parallel: Received example_argument as argument\n" in done.stderr
    assert done.stdout == "Results:\nNo results\n"
    assert done.returncode == 0


def test_example_is_quiet(run):
    """Without -v and -d nothing is said about a run in which all went well."""
    assert run("example_parallel").stderr == ""


def test_example_works_wherever_it_is(run, place):
    """Only the last `master` in the path of a recipe is taken for its folder, and blanks in it are no words' ends."""
    shutil.copytree(PROJECT / "recipes", place / "master copy/recipes")

    assert run(place / "master copy/recipes/master/example_parallel.py").returncode == 0


def test_recipe_of_the_original_works(run, place):
    """`"python %s" % self.__file__.replace("master", "nodes")` is a command."""
    plain = place.parent / "old"
    shutil.copytree(PROJECT / "recipes", plain)
    script = plain / "master/example_parallel.py"
    command = '"python %s" % self.__file__.replace("master", "nodes")'
    script.write_text(script.read_text().replace('["python", self.node_script]', command))

    assert run(script).returncode == 0
    assert command in script.read_text()


@pytest.mark.parametrize("client", ["paramiko", "openssh"])
def test_example_over_ssh(run, place, ssh_pair, client):
    """The same recipes run on other hosts with either client."""
    config = place / "pipeline.cfg"
    config.write_text(with_warm(ssh_pair.config_text()) + f"ssh_client = {client}\n")
    files = [place.parent / "one.inp", place.parent / "two.inp"]
    mapfile = place.parent / "inputs.mapfile"
    mapfile.write_text("".join(f"{host}=['{file}']\n" for host, file in zip(ssh_pair.names, files, strict=True)))

    done = run("touch_files", mapfile)

    assert done.returncode == 0, done.stderr
    assert all(file.with_suffix(".out").exists() for file in files)


# -- touch_files


def test_touch_files_makes_an_out_beside_each_inp(run, place):
    """Every file is made and stands in the mapfile that is put out."""
    folder = place.parent / "da ta"
    folder.mkdir()
    (place / "in").write_text(f"localhost=['{folder}/a b.inp', \"{folder}/it's.inp\"]\n")

    done = run("touch_files", "in")

    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in folder.iterdir()) == ["a b.out", "it's.out"]
    mapfile = place / "runs/touch_files/mapfiles/touch_files.mapfile"
    assert load_data_map(mapfile) == [("localhost", f"{folder}/a b.out"), ("localhost", f"{folder}/it's.out")]


def test_touch_files_keeps_entries_at_their_places(run, place):
    """A skipped entry gets no job, a failed one is skipped in what is put out, and none moves."""
    names = [f"{place.parent}/a.inp", "/no such/b.inp", f"{place}/c.inp"]
    DataMap(("localhost", name, name == names[0]) for name in names).save(place / "in")

    done = run("touch_files", "in")

    assert done.returncode == 1
    made = DataMap.load(place / "runs/touch_files/mapfiles/touch_files.mapfile")
    assert [(Path(one.file).name, one.skip) for one in made] == [("a.out", True), ("b.out", True), ("c.out", False)]
    assert (place / "c.out").exists()
    assert not (place.parent / "a.out").exists()


@pytest.mark.parametrize(
    ("text", "words", "line"),
    [
        ("", [], "in: expected at least one file, got an empty mapfile"),
        ("localhost=[ /no/a.inp ]", ["--output-mapfile", "no/map"],
         "no/map: cannot be written: No such file or directory"),
    ],
)  # fmt: skip
def test_touch_files_tells_mistakes_before(run, place, text, words, line):
    """No job has run then."""
    (place / "in").write_text(text)

    done = run("touch_files", "in", *words)

    assert (done.returncode, done.stderr) == (2, line + "\n")


def test_touch_files_takes_only_inp(run, place):
    """A file with another ending is told before anything is made."""
    (place / "in").write_text(f"localhost=[ {place.parent}/a.inp, /data/b.MS ]\n")

    done = run("touch_files", "in")

    assert done.stderr == "touch_files: expected files that end in .inp, got '/data/b.MS'\n"
    assert done.returncode == 2
    assert not (place.parent / "a.out").exists()


# -- options, configuration, job directory


def test_dry_run_runs_nothing(run, place):
    """-n prints which job would run where, starts none and leaves nothing behind."""
    (place / "in").write_text(f"localhost=[ {place.parent}/a.inp ]\n")

    done = run("touch_files", "-n", "in")

    assert done.returncode == 0, done.stderr
    assert "job 1 (touch_files) on localhost [its host, local (this machine)]: python" in done.stdout
    assert [path.name for path in place.iterdir()] == ["in"]
    assert not (place.parent / "a.out").exists()


def test_job_directory_is_for_its_owner_only(run, place):
    """Logs, store and results are where the contract says, directories 0700 and files 0600."""
    (place / "in").write_text("localhost=[ /etc/passwd ]\n")

    done = run("executable", "--executable", "cat", "-j", "foo", "--start-time", "2026-11-20T14:14:18", "in")

    assert done.returncode == 0, done.stderr
    top = place / "runs"
    for name in ("logs/{}/pipeline.log", "run.sqlite", "mapfiles/executable.mapfile", "results/{}/executable.jsonl"):
        assert (top / "foo" / name.format("2026-11-20T14:14:18")).is_file()
    wrong = {
        str(path): oct(path.stat().st_mode)
        for path in (top, *top.rglob("*"))
        if stat.S_IMODE(path.stat().st_mode) != (0o700 if path.is_dir() else 0o600)
    }
    assert wrong == {}


def test_directories_are_options(run, place):
    """-r says where runs are kept and -w where recipes put data."""
    done = run(HELPERS / "greet.py", "-r", "kept here", "-w", "/da ta", "-j", "night 1")

    assert "data = /da ta\n" in done.stdout
    assert (place / "kept here/night 1/run.sqlite").is_file()


@pytest.mark.parametrize("option", ["--max-per-node", "--max_per_node"])
def test_inputs_are_options_in_both_spellings(run, option):
    """The log says which limit counts and where it came from."""
    done = run("example_parallel", "-v", option, "3")

    assert "Jobs at a time on a host: 3 (max_per_node from command line)" in done.stderr


def test_config_is_an_option(run, place):
    """-c names the configuration, wherever it is."""
    config = place / "my pipeline.cfg"
    config.write_text("[DEFAULT]\nworking_directory = /elsewhere\n")

    assert "data = /elsewhere\n" in run(HELPERS / "greet.py", "-c", config).stdout


def test_parset_beside_a_recipe_gives_defaults(run, place):
    """What the command line gives wins over the parset, the parset over the recipe's default."""
    shutil.copy(HELPERS / "greet.py", place)
    (place / "greet.parset").write_text("word = 'good day'  # to all\ncount = 3\n")

    assert "text = good day good day\n" in run(place / "greet.py", "--count", "2").stdout


def test_task_gives_inputs_of_a_recipe(run, place):
    """run_task takes recipe and inputs from the task file, positionals and overrides from the call."""
    (place / "tasks.cfg").write_text("[greeting]\nrecipe = greet\nword = hi\ncount = 5\n")

    done = run(HELPERS / "caller.py", "-t", "tasks.cfg", "to all")

    assert done.stdout == "Results:\ntext = hi hi to all\n"


def test_cooked_recipe_gives_its_outputs(run):
    """cook_recipe runs a recipe without a task."""
    assert run(HELPERS / "caller.py", "--recipe", "greet", "x").stdout == "Results:\ntext = cooked x\n"


def test_missing_recipe_lists_where_it_was_looked_for(run, place):
    """One line names every file looked for."""
    done = run(HELPERS / "caller.py", "--recipe", "nosuch")

    assert done.stderr.startswith("no recipe 'nosuch'; looked for ")
    assert f"{HELPERS}/nosuch.py" in done.stderr
    assert done.returncode == 2


# -- mistakes


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["--wrod", "x"], "greet.py: unrecognized arguments: --wrod; -h shows the options"),
        (["--count", "two"], "greet: --count (command line): expected an integer, got 'two'"),
        (["-j", "../x"], "job name '../x': expected 1 to 200 printable characters, no '/' in it"),
        (["-j", "x" * 300], f"job name '{'x' * 40}': expected 1 to 200 printable characters, no '/' in it"),
        (["-j", "a\nb"], "job name 'a\\nb': expected 1 to 200 printable characters, no '/' in it"),
        (["-j", ""], "job name '': expected 1 to 200 printable characters, no '/' in it"),
        (["-c", "none.cfg"], "expected an existing file, got 'none.cfg'"),
        (["--start-time", "../../x"], "--start-time '../../x': expected YYYY-MM-DDThh:mm:ss"),
    ],
)
def test_mistake_on_the_command_line_is_one_line(run, place, words, line):
    """It says what was found and what was expected; nothing is left behind."""
    done = run(HELPERS / "greet.py", *words)

    assert line in done.stderr
    assert done.stderr.count("\n") == 1
    assert (done.returncode, done.stdout) == (2, "")
    assert list(place.iterdir()) == []


def test_all_mistakes_of_a_configuration_are_told(run, place):
    """Each is a line with file and line number."""
    (place / "pipeline.cfg").write_text("[remote]\nmax_per_node = eight\nmethod = rsh\n[remoet]\n")

    done = run(HELPERS / "greet.py")

    assert done.returncode == 2
    assert [line.partition("pipeline.cfg:")[2][:2] for line in sorted(done.stderr.splitlines())] == ["2:", "3:", "4:"]


def test_recipe_that_raises_is_one_line(run):
    """The error of a recipe's own code is told without its traceback."""
    done = run(HELPERS / "broken.py")

    assert "ERROR   broken: recipe broken: ValueError: no data" in done.stderr
    assert "Traceback" not in done.stderr
    assert done.returncode == 1


def test_debug_shows_the_traceback(run):
    """With -d the line in the recipe can be found."""
    done = run(HELPERS / "broken.py", "-d")

    assert 'raise ValueError("no data\\nat all")' in done.stderr
    assert done.returncode == 1


def test_recipe_that_exits_gives_its_status(run):
    """sys.exit() in a recipe ends the run like a returned status."""
    assert run(HELPERS / "broken.py", "--how", "exit").returncode == 7


# -- standard streams


def test_results_to_a_full_disk_are_a_warning(run):
    """The run went well: only a line says that its results were not printed."""
    with open("/dev/full", "w") as full:
        done = run(HELPERS / "greet.py", stdout=full)

    assert "greet: stdout: cannot be written: No space left on device" in done.stderr
    assert "Traceback" not in done.stderr
    assert done.returncode == 0


def test_results_nobody_reads_are_no_error(run):
    """`| head -0` ends the recipe as well as any other."""
    reader, writer = os.pipe()
    os.close(reader)

    done = run(HELPERS / "greet.py", stdout=writer)
    os.close(writer)

    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("recipe", ["greet.py", "greet.py -n"])
def test_closed_streams_are_no_error(place, recipe):
    """`>&- 2>&-` ends the recipe as well as any other."""
    shell = f'exec "{sys.executable}" "{HELPERS}"/{recipe} >&- 2>&-'
    environment = {**os.environ, "PYTHONPATH": str(PROJECT)}

    done = subprocess.run(["/bin/sh", "-c", shell], cwd=place, env=environment, timeout=100, check=False)

    assert done.returncode == 0
