"""The recipe `executable`: any program over every file of a mapfile, with real programs and files."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from harness import with_warm

from pipeline import DataMap

PROJECT = Path(__file__).resolve().parents[1]
NAMES = ["a b.dat", "it's.dat", 'say "x".dat', "{file} }{.dat", "[1..3], #1.dat", "\u00e9\udce9.dat", "$(x); y.dat"]


class Executable:
    """Runs the recipe on files below `data`, hosts in turn."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.data = directory / "it's data"
        self.data.mkdir()
        (directory / "pipeline.cfg").write_text(with_warm("[remote]\nmethod = local\n"))

    def files(self, *names: str) -> list[str]:
        """Make files that hold their own names."""
        for name in names:
            (self.data / name).write_text(name, errors="surrogateescape")
        return [str(self.data / name) for name in names]

    def run(
        self, files: list[str], *words: str, skip: tuple[int, ...] = (), mapfile: str = "in"
    ) -> "subprocess.CompletedProcess[str]":
        """Run the recipe over `files`, those at the indices `skip` marked as skipped, or over `mapfile`."""
        products = [(f"lce{i % 2}", file, i in skip) for i, file in enumerate(files)]
        DataMap(products).save(self.directory / "in")
        command = [sys.executable, str(PROJECT / "recipes/master/executable.py"), mapfile, *words]
        environment = {**os.environ, "PYTHONPATH": str(PROJECT), "HOME": str(self.directory)}
        return subprocess.run(
            command, cwd=self.directory, env=environment, text=True, timeout=100, check=False,
            stdin=subprocess.DEVNULL, capture_output=True,
        )  # fmt: skip

    def entries(self) -> list[dict[str, object]]:
        """Return the lines of the results file."""
        (path,) = self.directory.glob("runs/executable/results/*/executable.jsonl")
        return [json.loads(line) for line in path.read_text().splitlines()]

    def mapfile(self) -> DataMap:
        """Return the mapfile that was put out."""
        return DataMap.load(self.directory / "runs/executable/mapfiles/executable.mapfile")

    def output(self) -> list[str]:
        """Return the files in it that are not skipped."""
        return [product.file for product in self.mapfile().not_skipped()]


@pytest.fixture
def executable(tmp_path):
    """The recipe, with a directory of its own."""
    return Executable(tmp_path)


def test_program_runs_over_files_of_any_name(executable):
    """Each file is given to the program as it is, and the results come in the order of the mapfile."""
    files = executable.files(*NAMES)

    done = executable.run(files, "--executable", "cat")

    assert done.returncode == 0, done.stderr
    assert [entry["file"] for entry in executable.entries()] == files
    assert [entry["stdout"] for entry in executable.entries()] == NAMES
    assert executable.output() == files


def test_standard_output_becomes_a_file(executable):
    """With stdout, what the program prints is in the file named by the template."""
    files = executable.files(*NAMES)
    made = ["--output={dir}/{host}-{stem}.{{out}}", "--stdout={dir}/{host}-{stem}.{{out}}"]

    done = executable.run(files, "--executable", "cat", *made)

    assert done.returncode == 0, done.stderr
    for path, name in zip(executable.output(), NAMES, strict=True):
        assert path.endswith(f"-{name.removesuffix('.dat')}.{{out}}")
        assert Path(path).read_text(errors="surrogateescape") == name


def test_failed_entries_are_skipped_in_the_output(executable):
    """The mapfile that is put out keeps their places, a warning counts them, and the recipe succeeds."""
    (good,) = executable.files("good")

    done = executable.run([good, "/no such", good], "--executable", "cat")

    assert done.returncode == 0
    assert "WARNING executable: 1 of 3 failed and are skipped in the mapfile put out" in done.stderr
    assert executable.mapfile().tuples() == [("lce0", good, False), ("lce1", "/no such", True), ("lce0", good, False)]
    bad = executable.entries()[1]
    assert (bad["status"], bad["returncode"], bad["host"], bad["stdout"]) == ("FAILED", 1, "lce1", "")
    assert "/no such" in str(bad["message"])


def test_skipped_entries_get_no_job(executable):
    """They stay skipped, at their places: no other file moves to another entry's output."""
    files = executable.files("a", "b", "c", "d")

    done = executable.run(files, "--executable", "cat", "--output={file}.out", "--stdout={file}.out", skip=(0, 2))

    assert done.returncode == 0, done.stderr
    made = [("lce0", True), ("lce1", False), ("lce0", True), ("lce1", False)]
    assert [(product.host, product.skip) for product in executable.mapfile()] == made
    assert [product.file for product in executable.mapfile()] == [f"{file}.out" for file in files]
    assert sorted(os.listdir(executable.data)) == ["a", "b", "b.out", "c", "d", "d.out"]
    assert [entry["status"] for entry in executable.entries()] == ["SKIPPED", "OK", "SKIPPED", "OK"]
    assert (executable.data / "d.out").read_text() == "d"


def test_skipped_entries_do_not_count_as_done(executable):
    """All that ran failed: status 1, whatever was skipped."""
    done = executable.run(["/a", "/b"], "--executable", "cat", skip=(0,))

    assert done.returncode == 1
    assert "1 of 1 failed" in done.stderr


def test_mapfile_of_skipped_entries_is_an_error(executable):
    """There is nothing to do."""
    done = executable.run(["/a"], "--executable", "cat", skip=(0,))

    assert (done.returncode, done.stderr) == (2, "in: expected at least one file, got only skipped ones\n")


def test_mapfile_of_lists_is_an_error(executable):
    """A job is for one file."""
    (executable.directory / "lists").write_text("[('a', ['/x', '/y'])]")

    done = executable.run([], "--executable", "cat", mapfile="lists")

    assert (done.returncode, done.stderr) == (2, "lists: expected one file per entry, got a list of files\n")


@pytest.mark.parametrize("skip", [(), (1,)])
def test_output_is_in_the_simplest_form(executable, skip):
    """Lines of hosts, as the original wrote them, if that says all; with a skipped entry a list."""
    files = executable.files("a", "b")

    executable.run(files, "--executable", "cat", skip=skip)

    text = (executable.directory / "runs/executable/mapfiles/executable.mapfile").read_text()
    assert text.startswith("[" if skip else "lce0=[ ")


def test_recipe_fails_if_all_failed(executable):
    """Nothing succeeded: status 1, and the results say why."""
    done = executable.run(["/a", "/b"], "--executable", "/no such/program")

    assert done.returncode == 1
    assert ["/no such/program: No such file" in str(entry["message"]) for entry in executable.entries()] == [True, True]


def test_output_must_exist(executable):
    """A program that ends well without its output has failed."""
    done = executable.run(executable.files("a"), "--executable", "true", "--output", "{file}.out")

    assert done.returncode == 1
    assert 'a.out" is not there' in done.stderr


def test_failed_program_leaves_no_file(executable):
    """What it printed before it failed is not taken for its output."""
    words = ["--executable", "sh", "--arguments", "[-c, 'echo half; exit 3']", "--stdout", "{dir}/whole"]

    executable.run(executable.files("a"), *words)

    assert executable.entries()[0]["returncode"] == 3
    assert os.listdir(executable.data) == ["a"]


def test_program_that_runs_out_of_time_leaves_no_file(executable):
    """It counts as TIMEOUT, and what it printed is gone."""
    words = ["--executable", "sh", "--arguments", "[-c, 'echo half; exec sleep 60']", "--stdout", "{dir}/whole"]

    executable.run(executable.files("a"), *words, "--timeout-s", "1.5")

    assert executable.entries()[0]["status"] == "TIMEOUT"
    assert os.listdir(executable.data) == ["a"]


def test_signal_that_killed_the_program_is_told(executable):
    """The return code is the negative number of the signal, as if there were no script in between."""
    executable.run(executable.files("a"), "--executable", "sh", "--arguments", "[-c, 'kill -SEGV $$']")

    assert executable.entries()[0]["returncode"] == -11


def test_environment_and_directory_are_the_programs(executable):
    """It runs in the directory named by the template, with what is added to its environment."""
    words = ["--executable", "sh", "--arguments", "[-c, 'echo $GREETING; pwd']"]

    done = executable.run(executable.files("a"), *words, "--environment", "{GREETING: 'a b'}", "--cwd", "{dir}")

    assert done.returncode == 0, done.stderr
    assert executable.entries()[0]["stdout"] == f"a b\n{executable.data}\n"


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["--output", "{dir}/{fle}"], "executable: --output (command line): expected one of {file}, {stem}, {dir}, "
         "{name}, {host}, got '{fle}' in '{dir}/{fle}'"),
        (["--stdout", "a}"], "executable: --stdout (command line): expected }} for a brace, got a single } at "
         "character 2 of 'a}'"),
        (["--arguments", "[{x}]"], "executable: --arguments (command line): expected one of {file}, {stem}, {dir}, "
         "{name}, {host}, got '{x}' in '{x}'"),
        (["more"], "executable: expected one argument, a mapfile, got 2"),
    ],
)  # fmt: skip
def test_mistake_is_one_line(executable, words, line):
    """Nothing runs; the status is 2."""
    done = executable.run(["/a"], "--executable", "cat", *words)

    assert (done.returncode, done.stderr) == (2, line + "\n")


@pytest.mark.parametrize("name", ["output", "stdout"])
def test_results_have_places_of_their_own(executable, name):
    """Two entries of one host with one output would lose a result; on two hosts they are two files."""
    files = executable.files("a.x", "b", "a.y")

    done = executable.run(files, "--executable", "cat", f"--{name}", "{dir}/{stem}.out")

    what = f"got {str(executable.data / 'a.out')!a} for {files[0]!a} and {files[2]!a}"
    assert (done.returncode, done.stderr) == (2, f"in: lce0: expected results apart, {what}\n")
    assert sorted(os.listdir(executable.data)) == ["a.x", "a.y", "b"]


def test_the_directory_tells_results_apart(executable):
    """Relative ones are below cwd."""
    for name in ("d", "e", "f"):
        (executable.data / name).mkdir()
        (executable.data / name / "in").write_text(name)
    files = [str(executable.data / name / "in") for name in ("d", "e", "f")]

    done = executable.run(files, "--executable", "cat", "--cwd", "{dir}", "--stdout", "out")

    assert done.returncode == 0, done.stderr
    assert [(executable.data / name / "out").read_text() for name in ("d", "e", "f")] == ["d", "e", "f"]


def test_map_that_cannot_be_written_is_told_before(executable):
    """Nothing has run then."""
    words = ["--executable", "touch", "--arguments", "[{file}.out]", "--output-mapfile", "."]

    done = executable.run(executable.files("a"), *words)

    assert (done.returncode, done.stderr) == (2, ".: expected a regular file, found a directory\n")
    assert os.listdir(executable.data) == ["a"]


def test_empty_mapfile_is_an_error(executable):
    """A recipe with nothing to do was given the wrong file."""
    done = executable.run([], "--executable", "cat")

    assert (done.returncode, done.stderr) == (2, "in: expected at least one file, got an empty mapfile\n")
