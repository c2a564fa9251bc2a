"""`pipeline status`: real run stores, the real command, pipes and a terminal."""

import contextlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.cli.main import main
from pipeline.model.jobs import ComputeJob, JobState, Outcome
from pipeline.run.store import RunStore
from pipeline.view.status import Page, Table, format_page, format_page_for_terminal

BEGAN = 1_000_000.0


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the command is given: a folder with blanks and quotes in its name, and nothing in it or in HOME."""
    path = tmp_path / "my \"data\" 'here'\nand there"
    path.mkdir()
    monkeypatch.chdir(path)
    monkeypatch.setenv("HOME", str(path))
    return path


@contextlib.contextmanager
def running(job_directory: Path, *, began: float = BEGAN, jobs: int = 4, message: str = "") -> Iterator[RunStore]:
    """
    A run whose master is alive, with one job of each kind and the rest waiting.

    Job 1 OK on node0, 2 FAILED on node1 with `message`, 3 running on node0.
    """
    job_directory.mkdir(parents=True, exist_ok=True)
    ticks = iter(range(10**6))
    store = RunStore.open(job_directory / "run.sqlite", clock=lambda: began + next(ticks))
    store.begin_run("example_parallel", job_directory.name, "t", ["example_parallel.py"], job_directory / "logs")
    store.host_changed("node0", "connected", cores=8)
    store.host_changed("node1", "connected", cores=4, verdict="slow")
    store.jobs_submitted((i + 1, ComputeJob("node0", "imaging.py"), 1) for i in range(jobs))
    for job_id, host in ((1, "node0"), (2, "node1"), (3, "node0")):
        store.dispatched(job_id, 1, host)
        store.started(job_id, 1, 100 + job_id)
    store.ended(1, 1, Outcome(JobState.OK, 0, 65.0))
    store.finished(1, JobState.OK)
    store.ended(2, 1, Outcome(JobState.FAILED, 7, 0.25, message))
    store.finished(2, JobState.FAILED, message)
    store.commit()
    try:
        yield store
    finally:
        store.close()


def ended(job_directory: Path, exit_code: int = 1, **options: object) -> None:
    with running(job_directory, **options) as store:
        store.end_run(exit_code)


def environment(**changes: str) -> dict[str, str]:
    """For the command in a process of its own, started in another folder."""
    path = [str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")]
    return os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, path))} | changes


def status(*words: str) -> subprocess.CompletedProcess:
    """Run the command in a process of its own, into pipes."""
    command = [sys.executable, "-m", "pipeline.cli.main", "status", *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, env=environment())


def test_running_run_is_shown_with_its_hosts(folder: Path, capsys: pytest.CaptureFixture):
    """While a master holds the run: one line that says it all, then a line for each host."""
    with running(folder / "runs" / "night 1"):
        assert main(["status", "night 1"]) == 0

    headline, _, *table = capsys.readouterr().out.splitlines()
    assert re.fullmatch(
        r"example_parallel, job night 1, started [-0-9]{10} [:0-9]{8}, running on \S+ \(pid \d+\) for .*: "
        r"1 of 4 done, 1 failed, 1 running, 1 waiting",
        headline,
    )
    assert [line.split() for line in table] == [
        ["HOST", "STATE", "RUNNING", "DONE", "FAILED", "CORES", "VERDICT"],
        ["node0", "connected", "1", "1", "0", "8"],
        ["node1", "connected", "0", "0", "1", "4", "slow"],
    ]


def test_run_that_ended_shows_its_exit_code(folder: Path, capsys: pytest.CaptureFixture):
    """A run that failed says with what exit code and after what time."""
    ended(folder / "runs" / "night1", exit_code=3)
    main(["status", "night1"])

    assert ", failed (exit code 3) after 17 s: " in capsys.readouterr().out


def test_run_without_a_master_is_interrupted(folder: Path, capsys: pytest.CaptureFixture):
    """A run whose master is gone is interrupted, after the time of the last thing known of it."""
    with running(folder / "runs" / "night1"):
        pass
    main(["status", "night1"])

    assert ", interrupted after 16 s: 1 of 4 done" in capsys.readouterr().out


def test_without_a_name_the_latest_run_is_shown(folder: Path, capsys: pytest.CaptureFixture):
    """Of several runs the one started last is shown, and a damaged store is passed over."""
    for name, began in (("a", 10.0), ("b", 1000.0), ("c", 100.0)):
        ended(folder / "runs" / name, began=began)
    (folder / "runs" / "d").mkdir()
    (folder / "runs" / "d" / "run.sqlite").write_text("not a database" * 100)
    main(["status"])

    assert "job b," in capsys.readouterr().out


@pytest.mark.parametrize("how", ["path", "-r", "-c"])
def test_run_is_found_by_path_and_by_configuration(folder: Path, capsys: pytest.CaptureFixture, how: str):
    """A run is found by its directory, by -r, and by the runtime directory of a configuration file."""
    directory = folder / "else where" / "night1"
    ended(directory)
    (folder / "my.cfg").write_text("[DEFAULT]\nruntime_directory = else where\n")
    words = {
        "path": [str(directory)],
        "-r": ["night1", "-r", str(directory.parent)],
        "-c": ["night1", "-c", "my.cfg"],
    }

    assert main(["status", *words[how]]) == 0
    assert "job night1," in capsys.readouterr().out


def test_jobs_are_listed(folder: Path, capsys: pytest.CaptureFixture):
    """With --jobs every job has a line with state, host, attempts, duration, exit status and message."""
    ended(folder / "runs" / "night1", message="exit status 7 after 0.2 s")
    main(["status", "night1", "--jobs"])

    table = capsys.readouterr().out.split("\n\n")[2].splitlines()
    assert [re.split(r" {2,}", line.strip()) for line in table] == [
        ["ID", "NAME", "STATE", "HOST", "ATTEMPTS", "DURATION", "EXIT", "MESSAGE"],
        ["1", "imaging", "OK", "node0", "1", "1 min 5 s", "0"],
        ["2", "imaging", "FAILED", "node1", "1", "0.2 s", "7", "exit status 7 after 0.2 s"],
        ["3", "imaging", "RUNNING", "node0", "1"],
        ["4", "imaging", "PENDING", "0"],
    ]


def test_only_failed_jobs_are_listed(folder: Path, capsys: pytest.CaptureFixture):
    """With --failed the jobs that failed are listed and no others."""
    ended(folder / "runs" / "night1")
    main(["status", "night1", "--failed", "--json"])

    assert [job["job_id"] for job in json.loads(capsys.readouterr().out)["jobs"]] == [2]


def test_json_has_its_documented_keys(folder: Path, capsys: pytest.CaptureFixture):
    """The JSON object has the keys scripts rely on."""
    ended(folder / "runs" / "night1")
    main(["status", "night1", "--json", "--jobs"])

    content = json.loads(capsys.readouterr().out)
    assert set(content) == {"run", "counts", "hosts", "last_change_at", "jobs"}
    assert " ".join(content["run"]) == (
        "run_id state recipe job_name start_time command_line log_directory "
        "master_host master_pid began_at ended_at exit_code"
    )
    assert " ".join(content["hosts"][0]) == "host state verdict cores python method running done failed"
    assert " ".join(content["jobs"][0]) == (
        "job_id step name state host attempts message command arguments "
        "submitted_at started_at finished_at duration_s returncode"
    )
    assert content["counts"] == dict.fromkeys((state.value for state in JobState), 0) | dict.fromkeys(
        ("OK", "FAILED", "RUNNING", "PENDING"), 1
    )


def test_unknown_run_is_one_line(folder: Path, capsys: pytest.CaptureFixture):
    """An unknown run is one line that says where was looked and what runs there are; exit 2."""
    ended(folder / "runs" / "night1")

    assert main(["status", "nacht1"]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("run 'nacht1': no run.sqlite in 'nacht1' or ")
    assert captured.err.endswith("; runs there: 'night1'\n")
    assert captured.err.count("\n") == 1


@pytest.mark.parametrize("name", ["x" * 300, "", "../night1", "/etc", "a\nb"])
def test_bad_run_name_is_one_line(capsys: pytest.CaptureFixture, name: str):
    """Names that are too long, empty, lead elsewhere or hold a line feed are one line, exit 2."""
    assert main(["status", name]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_no_run_at_all_is_one_line(capsys: pytest.CaptureFixture):
    """Where nothing was ever run, one line says so; exit 2."""
    assert main(["status"]) == 2
    assert re.fullmatch(r"no run found in '.*runs'; .*\n", capsys.readouterr().err)


def test_damaged_store_is_one_line(folder: Path, capsys: pytest.CaptureFixture):
    """A store that is none is one line and exit 4."""
    (folder / "run.sqlite").write_text("not a database" * 100)

    assert main(["status", str(folder)]) == 4
    assert capsys.readouterr().err.count("\n") == 1


def test_escape_sequences_of_a_job_are_harmless(folder: Path, capsys: pytest.CaptureFixture):
    """What a terminal would obey in a message is written out."""
    ended(folder / "runs" / "night1", message="\x1b]0;title\x07 \x1b[2J\nnext")
    main(["status", "night1", "--jobs"])

    out = capsys.readouterr().out
    assert "\\x1b]0;title\\x07 \\x1b[2J\\nnext" in out
    assert "\x1b" not in out


def test_reader_that_has_seen_enough_is_no_error(folder: Path):
    """With `| head -1` there is no traceback, however long the list."""
    ended(folder / "runs" / "night1", jobs=5000)
    command = [sys.executable, "-m", "pipeline.cli.main", "status", "--jobs"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment()) as shown:
        assert shown.stdout.readline().startswith(b"example_parallel, job night1")
        shown.stdout.close()
        errors = shown.stderr.read()
        shown.wait(60)

    assert (errors, shown.returncode) == (b"", 0)


def test_full_disk_below_stdout_is_one_line(folder: Path):
    """When stdout cannot be written there is one line on stderr and exit 1."""
    ended(folder / "runs" / "night1")
    command = [sys.executable, "-m", "pipeline.cli.main", "status"]
    with open("/dev/full", "w") as full:
        shown = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, timeout=60, env=environment())

    assert (shown.stderr, shown.returncode) == (b"stdout: cannot be written: No space left on device\n", 1)


def test_piped_status_does_not_load_rich(folder: Path):
    """Into a pipe the tables are plain and the terminal's library is not loaded."""
    ended(folder / "runs" / "night1")
    code = "import sys; from pipeline.cli.main import main; main(['status']); sys.exit('rich' in sys.modules)"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=60, env=environment())

    assert (b"\x1b" in shown.stdout, shown.returncode) == (False, 0)


def test_ascii_stdout_gets_escapes(folder: Path, monkeypatch: pytest.MonkeyPatch):
    """Where stdout takes ASCII only, other characters are written as escapes."""
    ended(folder / "runs" / "nacht-ü")
    monkeypatch.setenv("PYTHONIOENCODING", "ascii")

    assert "job nacht-\\xfc," in status().stdout


def test_terminal_gets_colours(folder: Path):
    """On a terminal states are coloured."""
    ended(folder / "runs" / "night1")
    command = [sys.executable, "-m", "pipeline.cli.main", "status", "--jobs"]
    terminal, slave = os.openpty()
    try:
        with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=slave, env=environment(TERM="xterm")) as shown:
            os.close(slave)
            text = b""
            with contextlib.suppress(OSError):  # EIO: the program has ended
                while data := os.read(terminal, 65536):
                    text += data
            returncode = shown.wait(60)
    finally:
        os.close(terminal)

    assert returncode == 0
    assert b"\x1b[31mFAILED" in text


def test_narrow_terminal_folds_long_cells():
    """In a narrow terminal long cells go on in the next line and nothing is lost."""
    table = Table(("ID", "MESSAGE"), (("1", "[red]" + "x" * 70),), frozenset({0}))
    text = re.sub(r"\x1b\[[0-9;]*m", "", format_page_for_terminal(Page("head", (table,)), width=40))

    assert max(map(len, text.splitlines())) <= 40
    assert text.count("x") == 70
    assert "[red]" in text


def test_page_without_hosts_is_its_headline():
    """A run that has not spoken to any host is one line."""
    assert format_page(Page("head", ())) == "head\n"
