"""A host that speaks wrong is condemned, alone and with one clear line; jobs on other hosts end well."""

import logging
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from harness import WAIT_S, Dispatch

from pipeline.cli.main import main
from pipeline.model.jobs import CommandJob
from pipeline.model.parameters import Parameters
from pipeline.run.books import Books
from pipeline.run.log_writer import LogWriter
from pipeline.run.reach import Reach
from pipeline.run.store import RunStore

SHORT = Parameters(hello_timeout=1.0, dead_after=1.0, beat_interval=0.2, retry_wait=0.05, connect_retries=1)

# An interpreter for agents: on any host but `bad` it starts the real one, on `bad` it does what a test wants.
AGENT = """\
#!{python}
import json, struct, sys, time
sys.path.insert(0, {root!r})
from pipeline.formats.frames import FrameReader, encode_frame

stdin, stdout = sys.stdin.buffer, sys.stdout.buffer
print("\\nPIPELINE-READY", flush=True)
start = json.loads(stdin.readline())
if start["setup"]["host"] != "bad":
    names = {{}}
    exec(compile(stdin.read(start["boot"]), "boot.py", "exec"), names)
    sys.exit(names["boot"](stdin, start))
stdin.read(start["boot"] + start["size"])
token = start["setup"]["token"]
reader = FrameReader()

def send(header, payload=b""):
    write(encode_frame(header, payload))

def write(data):
    stdout.write(data)
    stdout.flush()

def hello(**changes):
    write(b"\\n" + token.encode() + b"\\n")
    whole = {{"k": "hello", "token": token, "cores": 4, "python": "3.11.2", "time": 0.0, **changes}}
    send({{key: value for key, value in whole.items() if value is not None}})

runs = []

def receive_run():
    while not runs:
        headers = [header for header, _ in reader.feed(stdin.raw.read(65536))]
        runs.extend({{"job": h["job"], "attempt": h["attempt"]}} for h in headers if h["k"] == "run")
    return runs.pop(0)

def result(run, seq, **changes):
    whole = {{"k": "result", "seq": seq, **run, "state": "OK", "returncode": 0, "duration_s": 0.1, "max_rss_bytes": 1,
             "user_s": 0.0, "system_s": 0.0, "missing": [], "left_behind": 0, "survivors": [], **changes}}
    return {{key: value for key, value in whole.items() if value is not None}}

TOLD = json.dumps({{"outputs": "{{}}", "error": "", "stdout_tail": "", "stderr_tail": ""}}).encode()

def rest():
    while stdin.raw.read(65536):
        pass

{behaviour}
rest()
"""
GREETINGS = {
    "no token": ("write(b'\\nsomething else\\n')", "waited 1 s for the agent's hello"),
    "wrong token": ("hello(token='0' * 32)", "broken protocol: expected the agent's hello, got "),
    "no cores": ("hello(cores=None)", "broken protocol: expected the agent's hello, got "),
    "cores as text": ("hello(cores='8')", "broken protocol: expected the agent's hello, got "),
    "no cores at all": ("hello(cores=0)", "broken protocol: expected the agent's hello, got "),
    "another message": ("hello(k='result')", "broken protocol: expected the agent's hello, got "),
    "no frame": (
        "write(b'\\n' + token.encode() + b'\\n' + b'\\xff' * 99)",
        "broken protocol: frame length 4294967295 ",
    ),
    "no JSON": (
        "write(b'\\n' + token.encode() + b'\\n' + struct.pack('>IH', 5, 3) + b'{{{')",
        "broken protocol: frame header",
    ),
    "more cores than there can be": ("hello(cores=10**400)", "broken protocol: expected the agent's hello, got "),
    "a time that is none": ("hello(time=float('nan'))", "broken protocol: expected the agent's hello, got "),
    "a time beyond all numbers": ("hello(time=10**400)", "broken protocol: expected the agent's hello, got "),
    "an end": ("sys.exit(3)", "the session ended before the agent's hello"),
    "an end with a reason": (
        "sys.exit('out of memory')",
        "the session ended before the agent's hello; the host says: ",
    ),
}
REPORTS = {
    "junk": "write(b'Segmentation fault\\n')",
    "a frame too long": "write(struct.pack('>IH', 2 << 20, 10))",
    "a header too deep": "write(struct.pack('>IH', 60002, 60000) + b'[' * 60000)",
    "an unknown message": "send({'k': 'reboot'})",
    "a gap": "send({'k': 'start', 'seq': 7, 'pid': 1, **run})",
    "a repetition": "send({'k': 'start', 'seq': 1, 'pid': 1, **run}); send({'k': 'start', 'seq': 1, 'pid': 1, **run})",
    "no number": "send({'k': 'start', 'pid': 1, **run})",
    "an unknown job": "send({'k': 'start', 'seq': 1, 'pid': 1, 'job': 99, 'attempt': 1})",
    "another host's job": "send(result({'job': 3, 'attempt': 1}, 1), TOLD)",
    "a future attempt": "send(result({**run, 'attempt': 2}, 1), TOLD)",
    "a job that is a list": "send({'k': 'start', 'seq': 1, 'pid': 1, 'job': [1], 'attempt': 1})",
    "no job": "send({'k': 'result', 'seq': 1})",
    "a pid that is text": "send({'k': 'start', 'seq': 1, 'pid': 'init', **run})",
    "a result without fields": "send({'k': 'result', 'seq': 1, 'state': 'OK', **run}, TOLD)",
    "a result without an end": "send(result(run, 1, state='RUNNING'), TOLD)",
    "an unknown state": "send(result(run, 1, state='GREAT'), TOLD)",
    "a result without payload": "send(result(run, 1))",
    "infinite memory": "send(result(run, 1, max_rss_bytes=float('inf')), TOLD)",
    "infinite time": "send(result(run, 1, duration_s=float('inf')), TOLD)",
    "no time at all": "send(result(run, 1, user_s=float('nan')), TOLD)",
    "negative time": "send(result(run, 1, system_s=-1.0), TOLD)",
    "times that are text": "send(result(run, 1, duration_s='long', state='FAILED'), TOLD)",
    "survivors that are none": "send(result(run, 1, survivors=5), TOLD)",
    "missing that is a mapping": "send(result(run, 1, missing={'a': 1}, state='FAILED'), TOLD)",
    "a payload too deep": "send(result(run, 1), b'[' * 200000)",
    "outputs that are a list": "send(result(run, 1), TOLD.replace(b'{}', b'[1]'))",
    "output without pieces": "send({'k': 'output', 'seq': 1}, b'x')",
    "pieces that do not fit": "send({'k': 'output', 'seq': 1, 'p': [[run['job'], 1, 'out', 5]]}, b'x')",
    "negative pieces": "send({'k': 'output', 'seq': 1, 'p': [[1, 1, 'out', 3], [1, 1, 'out', -2]]}, b'x')",
    "pieces of no kind": "send({'k': 'output', 'seq': 1, 'p': [[run['job'], 1, 'tty', 1]]}, b'x')",
    "another host's output": "send({'k': 'output', 'seq': 1, 'p': [[3, 1, 'out', 1]]}, b'x')",
    "pieces that are infinite": "send({'k': 'output', 'seq': 1, 'p': [[1, 1, 'out', float('inf')]]}, b'x')",
    "an answer nobody asked for": "send({'k': 'stat', 'id': 1}, b'[]')",
}


# What `bad` answers to a question about its files.
ANSWERS = {
    "too few": ("send({'k': 'stat', 'id': 1}, b'[]')", "broken protocol: an answer about 0 files where "),
    "no pairs": ("send({'k': 'stat', 'id': 1}, b'[1, 2, 3]')", "broken protocol: message 'stat': TypeError: "),
    "sizes that are none": (
        "send({'k': 'stat', 'id': 1}, b'[[1, NaN]]')",
        "broken protocol: message 'stat': ValueError: ",
    ),
    "an end": ("sys.exit('out of memory')", "connection closed; the host says: out of memory"),
}


def write_agent(tmp_path: Path, behaviour: str) -> str:
    """Write an interpreter that on host `bad` does what a piece of Python says; return its path."""
    agent = tmp_path / "it's an agent"
    root = str(Path(__file__).parents[1])
    agent.write_text(AGENT.format(python=sys.executable, root=root, behaviour=behaviour))
    agent.chmod(0o755)
    return str(agent)


@contextmanager
def dispatch_with(tmp_path: Path, behaviour: str, parameters: Parameters = SHORT) -> Iterator[Dispatch]:
    """Start a dispatcher whose host `bad` does what a piece of Python says."""
    with Dispatch(
        tmp_path, Reach(method="local", parameters=parameters, python=write_agent(tmp_path, behaviour))
    ) as dispatch:
        yield dispatch


def jobs_for_both() -> list[CommandJob]:
    """Return two jobs for the bad host and two for a good one: jobs 1 to 4."""
    return [
        CommandJob("bad", "true"),
        CommandJob("bad", "true"),
        CommandJob("good", "true"),
        CommandJob("good", "true"),
    ]


def error_lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return what was logged as an error."""
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR]


@pytest.mark.parametrize("name", GREETINGS)
def test_a_wrong_greeting_condemns_the_host_alone(name: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A host that does not greet as it should loses its jobs, a line each with the reason, and is not tried again."""
    behaviour, reason = GREETINGS[name]
    with dispatch_with(tmp_path, behaviour) as dispatch:
        results = dispatch.run(jobs_for_both())
        reader = dispatch.read_store()
        [bad] = [host for host in reader.summary().hosts if host.host == "bad"]
        reader.close()

    assert [result["status"] for result in results] == ["LOST", "LOST", "OK", "OK"]
    assert results[0]["message"].startswith(reason), results[0]["message"]
    assert (bad.state, bad.verdict) == ("DOWN", results[0]["message"])
    lines = error_lines(caplog)
    assert len(lines) == 2
    assert all("\n" not in line and f"on bad: {reason}" in line for line in lines)


@pytest.mark.parametrize("name", REPORTS)
def test_a_wrong_report_condemns_the_host_alone(name: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A host that sends what it should not loses its jobs, a line each with what was wrong, and is not tried again."""
    behaviour = f"hello()\nrun = receive_run()\n{REPORTS[name]}"
    with dispatch_with(tmp_path, behaviour) as dispatch:
        results = dispatch.run(jobs_for_both(), 1)
        assert dispatch.run([CommandJob("good", "true")])[0]["status"] == "OK"

    assert [result["status"] for result in results] == ["LOST", "LOST", "OK", "OK"]
    assert results[0]["message"].startswith("broken protocol: "), results[0]["message"]
    assert results[1]["message"] == results[0]["message"]
    assert len(results[0]["message"]) < 250
    lines = error_lines(caplog)
    assert len(lines) == 2
    assert all("\n" not in line and "on bad: broken protocol: " in line for line in lines)


def test_junk_right_behind_the_greeting_condemns_the_host(tmp_path: Path) -> None:
    """Junk that comes in with the greeting is found, whether or not a job was given to the host already."""
    with dispatch_with(tmp_path, "hello(); write(b'junk' * 9)") as dispatch:
        results = dispatch.run(jobs_for_both())

    assert [result["status"] for result in results] == ["LOST", "LOST", "OK", "OK"]
    assert all(result["message"].startswith("broken protocol: frame length ") for result in results[:2])


def test_a_fault_of_ours_costs_the_host_not_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the reading of a host raises, its jobs are told as LOST and nobody waits for ever."""
    write = LogWriter.write

    def failing(writer: LogWriter, host: str, *args: Any) -> None:
        if host == "bad":
            raise RuntimeError("a bug")
        write(writer, host, *args)

    monkeypatch.setattr(LogWriter, "write", failing)
    with Dispatch(tmp_path, Reach(method="local", parameters=SHORT)) as dispatch:
        results = dispatch.run(jobs_for_both())

    assert [result["status"] for result in results] == ["LOST", "LOST", "OK", "OK"]
    assert results[0]["message"] == "reading from it failed: RuntimeError: a bug"


def test_a_second_result_changes_nothing(tmp_path: Path) -> None:
    """The first result of an attempt counts; a second one condemns the host and loses only what still runs there."""
    behaviour = """
hello()
first, second = receive_run(), receive_run()
send(result(first, 1), TOLD)
send(result(first, 2, state="FAILED", returncode=1), TOLD)
"""
    with dispatch_with(tmp_path, behaviour) as dispatch:
        results = dispatch.run(jobs_for_both())

    assert [result["status"] for result in results] == ["OK", "LOST", "OK", "OK"]
    assert results[1]["message"] == "broken protocol: report on job 1 attempt 1, which was not given to this host"


def test_an_unfinished_line_of_a_lost_job_is_written(tmp_path: Path) -> None:
    """What a job wrote without a newline is in the packed log once its host is lost, while the run goes on."""
    behaviour = """
hello()
run = receive_run()
send({"k": "output", "seq": 1, "p": [[run["job"], run["attempt"], "out", 11]]}, b"half a line")
sys.exit()
"""
    with dispatch_with(tmp_path, behaviour) as dispatch:
        [results] = dispatch.run([CommandJob("bad", "true")])
        packed = dispatch.packed_log("bad")

    assert results["status"] == "LOST"
    assert packed.endswith(b" 1.1 out+| half a line\n")


def test_a_silent_host_is_lost_after_dead_after(tmp_path: Path) -> None:
    """A host that says hello and then nothing is lost when `dead_after` has passed; the other host is not held up."""
    with dispatch_with(tmp_path, "hello()") as dispatch:
        started_s = time.monotonic()
        silent = dispatch.submit([CommandJob("bad", "true")])
        dispatch.run([CommandJob("good", "true")])
        good_s = time.monotonic() - started_s
        [lost] = silent.wait(WAIT_S).values()
        bad_s = time.monotonic() - started_s

    assert (lost.results["status"], lost.results["message"]) == ("LOST", "no sign of life for 1 s")
    assert good_s < bad_s
    assert 1.0 <= bad_s < 10.0


def test_a_host_that_beats_is_not_lost(tmp_path: Path) -> None:
    """A job may take much longer than `dead_after` without a word, as long as its agent gives signs of life."""
    with dispatch_with(tmp_path, "") as dispatch:
        [results] = dispatch.run([CommandJob("good", ["sleep", "2.5"])])

    assert results["status"] == "OK"


def test_a_host_that_takes_no_data_is_lost(tmp_path: Path) -> None:
    """A host that gives signs of life but does not read what it is sent is lost when `dead_after` has passed."""
    behaviour = "hello()\nfor _ in range(200):\n    time.sleep(0.1)\n    send({'k': 'beat'})"
    with dispatch_with(tmp_path, behaviour) as dispatch:
        results = dispatch.run([CommandJob("bad", "true", arguments=["x" * (4 << 20)]), CommandJob("good", "true")])

    assert [result["status"] for result in results] == ["LOST", "OK"]
    assert results[0]["message"] == "takes no data for 1 s"


def test_what_a_host_says_of_a_job_is_one_line(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Newlines and terminal escapes in a host's reason or a job's last words do not reach the user's terminal."""
    behaviour = """
hello()
evil = "no\\x1b[2J\\x07such\\nprogram \\x9b31m" + "x" * 5000
send({"k": "result", "seq": 1, **receive_run(), "state": "REFUSED", "message": evil})
told = json.dumps({"outputs": "{}", "error": evil, "stdout_tail": "", "stderr_tail": ""}).encode()
send(result(receive_run(), 2, state="FAILED", returncode=1), told)
"""
    with dispatch_with(tmp_path, behaviour) as dispatch:
        results = dispatch.run(jobs_for_both())

    assert [result["status"] for result in results] == ["REFUSED", "FAILED", "OK", "OK"]
    assert len(error_lines(caplog)) == 2
    assert all(line.isprintable() and len(line) < 2000 for line in error_lines(caplog))


def test_terminal_escapes_in_output_are_shown_as_text(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Control characters that a job prints are escaped in log lines, and kept as they are in the packed log."""
    caplog.set_level(logging.DEBUG)
    with dispatch_with(tmp_path, "") as dispatch:
        dispatch.run([CommandJob("good", ["printf", r"a\033[2Jb\ac\rd\n"])])

    [line] = [record.getMessage() for record in caplog.records if record.name == "node.good.printf"]
    assert line == r"a\x1b[2Jb\x07c\x0dd"
    assert dispatch.packed_log("good").endswith(b" 1.1 out| a\x1b[2Jb\x07c\rd\n")


def test_records_that_are_none_are_kept_as_text(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Log records with impossible times, levels or depth harm nobody: they are kept in the packed log."""
    caplog.set_level(logging.DEBUG)
    behaviour = """
hello()
run = receive_run()
records = [
    b'{"t": 1e300, "l": 20, "n": "node.bad.x", "m": "late"}',
    b'{"t": NaN, "l": 20, "n": "node.bad.x", "m": "never"}',
    b'{"t": 0, "l": Infinity, "n": "node.bad.x", "m": "loud"}',
    b'{"t": 0, "l": 20, "n": "\\\\u001b[2J", "m": ["\\\\u001b[2J"], "x": {"a": 1}}',
    b'{"t": 0, "l": 20}',
    b'[' * 60000,
    b'\\xff\\x00\\n',
]
pieces = [[run["job"], run["attempt"], "log", len(record)] for record in records]
send({"k": "output", "seq": 1, "p": pieces}, b"".join(records))
send(result(run, 2), TOLD)
"""
    with dispatch_with(tmp_path, behaviour) as dispatch:
        [results, _] = dispatch.run([CommandJob("bad", "true"), CommandJob("good", "true")])

    assert results["status"] == "OK"
    lines = [record.getMessage() for record in caplog.records if record.name.startswith("node.bad")]
    assert lines == ["late", "never"]
    assert dispatch.packed_log("bad").count(b" 1.1 log| ") == 7
    assert dispatch.packed_log("bad").count(b"not a log record: ") == 4


@pytest.mark.parametrize("case", ANSWERS)
def test_a_host_that_lies_about_its_files_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], case: str
) -> None:
    """`pipeline hosts check` tells of a host with a wrong answer, or without one, in one line, and of the others."""
    behaviour, reason = ANSWERS[case]
    ask = 'while not any(h["k"] == "stat" for h, _ in reader.feed(stdin.raw.read(65536))):\n    pass'
    agent = write_agent(tmp_path, f"hello()\n{ask}\n{behaviour}")
    config = tmp_path / "it's a.cfg"
    folder = tmp_path / "recipes"
    folder.mkdir()
    config.write_text(
        f"[DEFAULT]\nrecipe_directories = {folder}\n[remote]\nmethod = local\n[deploy]\npython = {agent}\n"
    )

    status = main(["hosts", "check", "-c", str(config), "bad", "good"])

    bad, good = capsys.readouterr().out.splitlines()
    assert status == 3
    assert bad.startswith(f"bad: {reason}")
    assert good.startswith("good: ok: ")


@pytest.mark.parametrize(
    ("retry_in_s", "line"),
    [
        (
            1.5,
            "bad: cut; trying again in 1.5 s; 3 of its slots stay taken for up to 70 s, as what was lost may still run",
        ),
        (None, "bad: cut; 3 of its slots stay taken for up to 70 s, as what was lost may still run"),
    ],
)
def test_slots_that_stay_taken_are_told_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, retry_in_s: float | None, line: str
) -> None:
    """A host that is lost with jobs is one warning: why, and how many slots it keeps how long."""
    store = RunStore.open(tmp_path / "run.db")
    store.begin_run("recipe", "job", "now", [], tmp_path)
    books = Books(store, Reach(), tmp_path, lambda event: None)

    books.host_is_out("bad", "cut", retry_in_s, 3, 70.0)

    assert [(record.levelname, record.getMessage()) for record in caplog.records] == [("WARNING", line)]
    store.close()


def test_config_problems_come_in_the_order_of_the_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`pipeline config check` lists problems of all kinds as they stand in the file."""
    config = tmp_path / "it's a.cfg"
    config.write_text("[remote]\nmethd = x\nport = many\n[foo]\na = 1\n[logging]\nnonsense\n[DEFAULT]\nbaz = 1\n")

    assert main(["config", "check", "-c", str(config)]) == 2

    lines = capsys.readouterr().err.splitlines()
    assert [line.removeprefix(f"{config}:").partition(":")[0] for line in lines] == ["2", "3", "4", "7", "9"]
