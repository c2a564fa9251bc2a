"""What jobs write: all of it arrives, once and in order, in bounded memory, and through no port by default."""

import io
import json
import logging
import os
import re
import socket
import stat
import subprocess
import sys
import tempfile
import threading
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import zmq
from harness import LEVELS, WAIT_S, Dispatch, Recipe, eventually
from hypothesis import given, settings
from hypothesis import strategies as st
from zmq.utils.monitor import recv_monitor_message

from pipeline.errors import PipelineError
from pipeline.model.jobs import CommandJob, ComputeJob
from pipeline.recipe.log_setup import LogSetup
from pipeline.run.log_gate import LogGate
from pipeline.run.log_writer import LogWriter
from pipeline.run.reach import Reach

ROOT = str(Path(__file__).parents[1])
PACKED = re.compile(rb"\d\d:\d\d:\d\d\.\d{3} (\d+)\.(\d+) (out|err|log)(\+?)\| (.*)", re.DOTALL)
CHATTER = """
import os, sys
from pipeline import Node

class chatter(Node):
    def run(self, out, err, log):
        for i in range(max(out, err, log)):
            if i < out:
                print("out", i)
            if i < err:
                print("err", i, file=sys.stderr)
            if i < log:
                self.logger.info("log %d", i)

sys.exit(chatter.main())
"""
RAISER = """
import sys
from pipeline import Node

class raiser(Node):
    def run(self):
        print("printed\\nto stdout", flush=True)
        print("printed to stderr", file=sys.stderr, flush=True)
        raise LookupError("no\\nsuch field")

sys.exit(raiser.main())
"""
# Not started by an agent as a node script: finds the log server by its environment.
FOREIGN = """
import os, sys
from pipeline import Node

class foreign(Node):
    def run(self):
        self.logger.warning("from %s", "far away")

sys.exit(foreign(*os.environ["PIPELINE_LOG_SERVER"].rsplit(":", 1)).run_with_logging())
"""

BOTH = """
import sys
from pipeline import Node

class both(Node):
    def run(self):
        self.logger.error("logged")
        print("written")

sys.exit(both.main())
"""


class Records(logging.Handler):
    """Keeps (logger, level, message) of all records of jobs."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[str, str, str]] = []

    def emit(self, record: logging.LogRecord) -> None:
        if record.name.startswith("node."):
            self.seen.append((record.name, record.levelname, record.getMessage()))


@pytest.fixture
def records() -> Iterator[list[tuple[str, str, str]]]:
    """All records of jobs, from DEBUG on, as they come."""
    handler, root = Records(), logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    yield handler.seen
    root.removeHandler(handler)
    root.setLevel(level)


@pytest.fixture
def gate(tmp_path: Path) -> Iterator[LogGate]:
    """The log server's TCP gate."""
    gate = LogGate(tmp_path, "127.0.0.1")
    yield gate
    gate.close()


def write_script(directory: Path, name: str, text: str) -> str:
    """Write a script into a folder with an awkward name and return its path."""
    folder = directory / 'it\'s a "folder"'
    folder.mkdir(exist_ok=True)
    (folder / f"{name}.py").write_text(text)
    return str(folder / f"{name}.py")


def unpack(packed: bytes) -> dict[tuple[int, str], bytes]:
    """Return what each job wrote, by job id and kind, from a packed log file."""
    assert not packed or packed.endswith(b"\n")
    written: defaultdict[tuple[int, str], bytes] = defaultdict(bytes)
    for line in packed.split(b"\n")[:-1]:
        match = PACKED.fullmatch(line)
        assert match, line
        written[int(match[1]), match[3].decode()] += match[5] + (b"" if match[4] else b"\n")
    return dict(written)


# -- once and in order


def test_a_hundred_thousand_lines_arrive_once_and_in_order(tmp_path: Path, records: list[tuple[str, str, str]]) -> None:
    """Four jobs on two hosts print and log 10^5 lines: each arrives once and in its order, in `logging` and on disk."""
    script = write_script(tmp_path, "chatter", CHATTER)
    jobs = [
        ComputeJob(host, ["python", script], arguments=[10_000, 10_000, 5_000], name=f"chatter{i}")
        for i in range(2)
        for host in ("node1", "node2")
    ]
    with Dispatch(tmp_path, Reach(method="local")) as dispatch:
        results = dispatch.run(jobs)
        seen = list(records)  # all of it is there when the jobs are done, not only at the end of the run

    assert {result["status"] for result in results} == {"OK"}
    expected = {
        kind: [f"{kind} {i}" for i in range(n)] for kind, n in (("out", 10_000), ("err", 10_000), ("log", 5_000))
    }
    for job_id, job in enumerate(jobs, 1):
        packed = unpack(dispatch.packed_log(str(job.host)))
        for kind in ("out", "err"):
            assert packed[job_id, kind].decode().splitlines() == expected[kind]
            assert [m for n, _, m in seen if n == f"node.{job.host}.{job.name}" and m[:3] == kind] == expected[kind]
        lines = [line.rpartition(": ")[2] for line in packed[job_id, "log"].decode().splitlines()]
        assert lines == expected["log"]
    for host in ("node1", "node2"):
        both = [message for name, _, message in seen if name == f"node.{host}.chatter"]
        assert sorted(both) == sorted(expected["log"] * 2)


def test_log_and_output_are_in_the_log_when_the_jobs_are_done(
    tmp_path: Path, records: list[tuple[str, str, str]]
) -> None:
    """A recipe that goes on after its jobs finds every line of theirs written, 30 times in a row."""
    with Dispatch(tmp_path, Reach(method="local")) as dispatch:
        for i in range(30):
            dispatch.run([CommandJob("node1", ["echo", f"line {i}"])])
            assert records[-1] == ("node.node1.echo", "DEBUG", f"line {i}")


# -- the packed file


def pack(directory: Path, pieces: list[tuple[int, str, bytes]]) -> bytes:
    """Write pieces of output of jobs, each a batch of its own, and return the packed file."""
    writer = LogWriter(directory, {}, LEVELS)
    for job_id, kind, data in pieces:
        writer.write("node1", [(job_id, 1, kind, len(data))], data, 1.5)
    writer.write("node1", [], b"", 1.5, {(job_id, 1) for job_id, _, _ in pieces})
    writer.close()
    path = directory / "node1.log"
    return path.read_bytes() if path.exists() else b""


LINES = st.lists(st.sampled_from([b"\n", b"\r", b"\0", b"+|", b" out| ", b"\xff\xfe", b"a", b"\x1b[m"]), max_size=30)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.sampled_from([1, 2]), st.sampled_from(["out", "err"]), LINES.map(b"".join)), max_size=12))
def test_packed_logs_give_every_byte_back(pieces: list[tuple[int, str, bytes]]) -> None:
    """Any bytes, cut anywhere, of two jobs in turn, can be had back from the packed file."""
    written: defaultdict[tuple[int, str], bytes] = defaultdict(bytes)
    for job_id, kind, data in pieces:
        written[job_id, kind] += data
    with tempfile.TemporaryDirectory() as directory:
        assert unpack(pack(Path(directory), pieces)) == {key: data for key, data in written.items() if data}


@pytest.mark.parametrize(
    "data",
    [b"no end", b"\n", b"\n\n\n", b"a\0b\n", b"\xff\xfe\x80\n", b"x" * 1_000_000 + b"\n", b"y" * 200_000, b"\r\n\r"],
    ids=["no newline", "newline", "newlines", "NUL", "not UTF-8", "1 MB line", "200 KB and no newline", "CR"],
)
def test_a_job_that_writes_odd_bytes_has_them_in_the_packed_log(data: bytes, tmp_path: Path) -> None:
    """What a program writes is in its host's packed log, byte for byte."""
    path = tmp_path / "data"
    path.write_bytes(data)
    with Dispatch(tmp_path, Reach(method="local")) as dispatch:
        [results] = dispatch.run([CommandJob("node1", ["cat"], arguments=[str(path)])])

    assert results["status"] == "OK"
    assert unpack(dispatch.packed_log("node1")) == {(1, "out"): data}
    assert results["stdout_tail"].encode("utf-8", "surrogateescape") == data[-4096:]


def test_a_record_of_several_lines_is_one_line_of_the_packed_log(tmp_path: Path) -> None:
    """Newlines and tracebacks of a record are escaped, so that a line of the file is a record."""
    with Dispatch(tmp_path, Reach(method="local")) as dispatch:
        dispatch.run([ComputeJob("node1", ["python", write_script(tmp_path, "raiser", RAISER)])])

    packed = unpack(dispatch.packed_log("node1"))
    [line] = packed[1, "log"].splitlines()
    assert line.startswith(
        rb"ERROR node.node1.raiser: LookupError: no\nsuch field\nTraceback (most recent call last):\n"
    )


def test_a_full_disk_under_the_log_stops_nobody(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """When a packed log cannot be written the jobs go on, other hosts' logs too, and one line tells of it."""
    if not os.path.exists("/dev/full"):
        pytest.skip("this machine has no /dev/full")
    with Dispatch(tmp_path, Reach(method="local")) as dispatch:
        (dispatch.logs / "node1.log").symlink_to("/dev/full")
        jobs = [CommandJob(host, ["seq", "50000"]) for host in ("node1", "node2", "node1")]
        results = dispatch.run(jobs)

    assert [result["status"] for result in results] == ["OK"] * 3
    assert unpack(dispatch.packed_log("node2"))[2, "out"].splitlines()[-1] == b"50000"
    [line] = [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]
    assert line.endswith("node1.log: No space left on device; output of jobs is missing there")


@pytest.fixture
def hasty_threads() -> Iterator[None]:
    """Threads that take turns all the time, so that they meet where they must not."""
    interval_s = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(interval_s)


@pytest.mark.usefixtures("hasty_threads")
def test_threads_may_write_at_the_same_time(tmp_path: Path) -> None:
    """Lines of four threads on the same hosts, more than files stay open, are whole and complete in their files."""
    writer = LogWriter(tmp_path, {}, LEVELS)
    n_hosts, n_threads, n_lines = 70, 4, 100
    texts = {i: [b"%d %d\n" % (i, n) for n in range(n_lines)] for i in range(n_hosts * n_threads)}

    def write(job_ids: range) -> None:
        for number in range(n_lines):
            for job_id in job_ids:
                line = texts[job_id][number]
                for piece in (line[:2], line[2:]):  # a line in two batches
                    writer.write(f"node{job_id % n_hosts}", [(job_id, 1, "out", len(piece))], piece, 1.5)

    with ThreadPoolExecutor(n_threads) as pool:
        list(pool.map(write, [range(i * n_hosts, (i + 1) * n_hosts) for i in range(n_threads)]))
    writer.close()

    files = b"".join(path.read_bytes() for path in tmp_path.glob("node*.log"))
    assert unpack(files) == {(job_id, "out"): b"".join(lines) for job_id, lines in texts.items()}


def test_a_line_is_in_the_file_when_its_job_is_final(tmp_path: Path) -> None:
    """Whoever gets a job as it completes finds all that it wrote in the packed file, while others still run."""
    with Dispatch(tmp_path, Reach(method="local")) as dispatch:
        batch = dispatch.submit([CommandJob("node1", ["printf", "%s", f"line {i}"]) for i in range(50)])
        for job in batch:
            packed = unpack(dispatch.packed_log("node1"))
            job_id = job.results["job_id"]
            assert packed[job_id, "out"] == f"line {job_id - 1}".encode()


def test_a_closed_log_takes_nothing_more(tmp_path: Path) -> None:
    """A host that answers when the run is over gets one of our errors, and writes no file."""
    writer = LogWriter(tmp_path, {}, LEVELS)
    writer.close()

    with pytest.raises(PipelineError, match="the log is closed"):
        writer.write("node1", [(1, 1, "out", 2)], b"a\n", 1.5)
    assert not list(tmp_path.iterdir())


class Broken(logging.Handler):
    """As a user writes it: `logging` lets what it raises pass."""

    def emit(self, record: logging.LogRecord) -> None:
        raise ValueError(record.getMessage())


def test_a_handler_that_raises_ends_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It is told of once; the jobs end well, and the packed log has what they logged and wrote."""
    script = write_script(tmp_path, "both", BOTH)
    handler, root = Broken(), logging.getLogger("node")
    root.addHandler(handler)
    try:
        with Dispatch(tmp_path, Reach(method="local")) as dispatch:
            results = dispatch.run([ComputeJob("node1", ["python", script]) for _ in range(2)])
    finally:
        root.removeHandler(handler)

    assert [result["status"] for result in results] == ["OK"] * 2
    packed = unpack(dispatch.packed_log("node1"))
    assert sorted(packed) == [(1, "log"), (1, "out"), (2, "log"), (2, "out")]
    assert (packed[1, "log"][-8:], packed[1, "out"]) == (b" logged\n", b"written\n")
    told = [line for line in capsys.readouterr().err.splitlines() if "handler" in line]
    assert told == ["a handler or filter of log records failed, of node.node1.both: ValueError: logged"]


# -- memory


def test_a_flood_of_output_does_not_fill_the_master(
    tmp_path: Path, record_property: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    """Eight jobs of 50 MB each, half of them in one line, leave the master below 150 MB."""
    short_lines = ["sh", "-c", "yes 'a line of output, as jobs write them, about a hundred bytes' | head -c 50000000"]
    programs = [short_lines, ["head", "-c", "50000000", "/dev/zero"]]
    jobs = [{"kind": "command", "host": "localhost", "command": programs[i % 2]} for i in range(8)]

    recipe = Recipe(tmp_path / "recipe", "[remote]\nmax_per_node = 8\n")
    done = recipe.run(jobs, timeout_s=100.0)

    with capsys.disabled():
        print(f"\nflood of 400 MB: master at most {done.peak_bytes / 1e6:.0f} MB, {done.seconds:.1f} s")
    record_property("peak_bytes", done.peak_bytes)
    assert [result["status"] for result in done.results] == ["OK"] * 8
    assert done.peak_bytes < 150_000_000
    [packed] = (recipe.directory / "runs" / "run_jobs" / "logs").glob("*/localhost.log")
    assert packed.stat().st_size > 400_000_000
    packed.unlink()


# -- what is shown


def run_raiser(tmp_path: Path, config: str, *options: str) -> tuple[str, str]:
    """Run a job that prints and raises; return what a recipe shows of it and its log file."""
    recipe = Recipe(tmp_path / "a recipe's directory", config)
    script = {"kind": "script", "host": "localhost", "command": ["python", write_script(tmp_path, "raiser", RAISER)]}
    done = recipe.run([script], *options)
    assert done.returncode == 1
    return done.stderr, recipe.log_text


def test_a_traceback_is_in_the_log_file_only(tmp_path: Path) -> None:
    """A node script that raises is lines without a traceback on the terminal, and with one in the log file."""
    shown, kept = run_raiser(tmp_path, "")

    assert "Traceback" not in shown
    assert "LookupError: no" in shown
    assert "Traceback (most recent call last):" in kept


def test_a_traceback_is_shown_with_d(tmp_path: Path) -> None:
    """With -d the terminal shows the traceback of a node script that raised."""
    shown, _ = run_raiser(tmp_path, "", "-d")

    assert "Traceback (most recent call last):" in shown


@pytest.mark.parametrize(
    ("config", "options", "out", "err"),
    [
        ("", ["-d"], "DEBUG", "INFO"),
        ("", ["-v"], None, "INFO"),
        ("", [], None, None),
        ("[logging]\njob_stdout_level = ERROR\njob_stderr_level = WARNING\n", [], "ERROR", "WARNING"),
    ],
)
def test_levels_of_captured_lines(
    tmp_path: Path, config: str, options: list[str], out: str | None, err: str | None
) -> None:
    """Standard output is shown at DEBUG and standard error at INFO, or as configured, under the job's name."""
    shown, _ = run_raiser(tmp_path, config, *options)

    lines = re.findall(r"(\w+) +node\.\S+\.raiser: (to stdout|printed to stderr)$", shown, re.M)
    expected = {(out, "to stdout"), (err, "printed to stderr")}
    assert {(level, text) for level, text in lines} == {(level, text) for level, text in expected if level}


def test_each_line_of_the_log_file_has_its_own_second(tmp_path: Path) -> None:
    """A record shows the second at which it was made, also if that is another one than the line before has."""
    minute_s = 1_800_000_000
    with LogSetup(logging.INFO, "%(asctime)s %(message)s", "%S", io.StringIO()) as setup:
        setup.open_file(tmp_path / "pipeline.log")
        for second in (7.2, 7.9, 8.0, 7.9, 9.1):  # hosts' clocks may differ: back, too
            fields = {"created": minute_s + second, "msg": second, "levelno": logging.INFO}
            logging.getLogger().handle(logging.makeLogRecord(fields))

    assert (tmp_path / "pipeline.log").read_text() == "07 7.2\n07 7.9\n08 8.0\n07 7.9\n09 9.1\n"


# -- over TCP


def listening_ports(pid: int) -> list[str]:
    """Return the local addresses of TCP sockets a process listens on."""
    try:
        inodes = {
            os.readlink(entry).removeprefix("socket:[").rstrip("]") for entry in Path(f"/proc/{pid}/fd").iterdir()
        }
        tables = [Path(f"/proc/{pid}/net/{name}").read_text() for name in ("tcp", "tcp6")]
    except FileNotFoundError:  # it ended, or closed a file, while we looked
        return []
    rows = [line.split() for table in tables for line in table.splitlines()[1:]]
    return [row[1] for row in rows if row[3] == "0A" and row[9] in inodes]


def family(pid: int) -> list[int]:
    """Return a process and all below it."""
    listing = subprocess.run(["ps", "-eo", "pid=,ppid="], capture_output=True, text=True, timeout=WAIT_S, check=True)
    pairs = [(int(pid), int(ppid)) for pid, ppid in (line.split() for line in listing.stdout.splitlines())]
    found = [pid]
    for parent in found:
        found += [child for child, ppid in pairs if ppid == parent]
    return found


GATED = {
    "kind": "command",
    "host": "localhost",
    "command": ["sh", "-c", "touch up; until [ -e gate ]; do sleep 0.02; done"],
}


@pytest.mark.parametrize(("config", "n_ports"), [("", 0), ("[remote]\nlog_server = tcp\n", 1)])
def test_ports_are_listened_on_only_if_asked_for(tmp_path: Path, config: str, n_ports: int) -> None:
    """Neither the master nor any process on the host listens on TCP, but for the log server if it is set to tcp."""
    recipe = Recipe(tmp_path / "recipe", config)
    process = recipe.start([GATED | {"cwd": str(tmp_path)}])
    eventually((tmp_path / "up").exists)

    ports = [port for pid in family(process.pid) for port in listening_ports(pid)]
    (tmp_path / "gate").touch()

    assert recipe.finish(process).returncode == 0
    assert len(ports) == n_ports


def test_the_key_file_is_private_and_goes_with_the_run(tmp_path: Path) -> None:
    """The keys of the TCP log server are readable by their owner only, and removed at the end."""
    recipe = Recipe(tmp_path / "recipe", "[remote]\nlog_server = tcp\n")
    process = recipe.start([GATED | {"cwd": str(tmp_path)}])
    eventually((tmp_path / "up").exists)

    [path] = (recipe.directory / "runs").glob("*/logs/*/log_server.key")
    mode = stat.S_IMODE(path.stat().st_mode)
    (tmp_path / "gate").touch()
    recipe.finish(process)

    assert mode == 0o600
    assert not path.exists()


def run_foreign(tmp_path: Path, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Run a script that no agent starts, with the log server in its environment."""
    words = [sys.executable, write_script(tmp_path, "foreign", FOREIGN)]
    environment = {**os.environ, "PYTHONPATH": ROOT, **environment}
    return subprocess.run(words, env=environment, capture_output=True, text=True, timeout=WAIT_S, check=False)


def test_a_script_that_no_agent_started_logs_over_tcp(
    tmp_path: Path, gate: LogGate, records: list[tuple[str, str, str]]
) -> None:
    """A script with PIPELINE_LOG_SERVER and PIPELINE_LOG_KEY logs into the master's log and its packed file."""
    done = run_foreign(tmp_path, gate.environment)

    assert (done.returncode, done.stderr) == (0, "")
    eventually(lambda: records)
    gate.close()
    [(name, level, message)] = records
    assert (name.startswith("node."), name.endswith(".foreign"), level) == (True, True, "WARNING")
    assert message == "from far away"
    assert (tmp_path / "tcp.log").read_text().endswith(".foreign: from far away\n")


def test_jobs_are_told_where_the_log_server_is(tmp_path: Path) -> None:
    """With log_server = tcp a plain program finds the server in its environment and logs through it."""
    try:
        socket.getaddrinfo(socket.gethostname(), 1)
    except OSError:
        pytest.skip("the name of this machine does not resolve")
    words = [sys.executable, write_script(tmp_path, "foreign", FOREIGN)]
    job = {"kind": "command", "host": "localhost", "command": words, "environment": {"PYTHONPATH": ROOT}}
    recipe = Recipe(tmp_path / "recipe", "[remote]\nlog_server = tcp\n")

    done = recipe.run([job])

    assert done.returncode == 0, done.stderr
    assert re.search(r"WARNING node\.\S+\.foreign: from far away$", done.stderr, re.M)


def test_a_gate_that_cannot_listen_leaves_nothing(tmp_path: Path) -> None:
    """An address that is not this machine's is one of our errors; no key and no thread stay behind."""
    threads = threading.active_count()

    with pytest.raises(PipelineError, match=r"log_server = tcp: cannot listen on 203\.0\.113\.1"):
        LogGate(tmp_path, "203.0.113.1")

    assert not list(tmp_path.iterdir())
    assert threading.active_count() == threads


def test_a_script_without_the_key_is_told_so(tmp_path: Path, gate: LogGate) -> None:
    """Without the key file a script ends with one line that names the variable."""
    environment = gate.environment | {"PIPELINE_LOG_KEY": str(tmp_path / "nowhere")}

    done = run_foreign(tmp_path, environment)

    assert done.returncode != 0
    assert f"{tmp_path}/nowhere: expected the run's log server keys" in done.stderr


@pytest.fixture
def stranger(gate: LogGate) -> Iterator[zmq.Socket[bytes]]:
    """A ZeroMQ socket that can be connected to the gate."""
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    socket = context.socket(zmq.PUSH)
    yield socket
    context.destroy(linger=0)


def turned_away(stranger: "zmq.Socket[bytes]", gate: LogGate) -> None:
    """Connect, send a record, and return when the gate has refused us."""
    monitor = stranger.get_monitor_socket()
    stranger.connect("tcp://{}:{}".format(*gate.address))
    stranger.send(json.dumps({"t": 1.0, "l": 50, "n": "node.evil.x", "m": "let me in"}).encode())
    ends = (zmq.EVENT_DISCONNECTED, zmq.EVENT_HANDSHAKE_FAILED_AUTH, zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL)
    while True:
        assert monitor.poll(WAIT_S * 1000), "neither refused nor let in"
        event = recv_monitor_message(monitor)["event"]
        assert event != zmq.EVENT_HANDSHAKE_SUCCEEDED
        if event in ends:
            break
    stranger.disable_monitor()
    monitor.close()


def test_a_peer_with_a_key_of_its_own_is_refused(
    tmp_path: Path,
    gate: LogGate,
    stranger: "zmq.Socket[bytes]",
    records: list[tuple[str, str, str]],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """CURVE with made-up keys is not enough, not even with the server's public key: refused, with one warning."""
    stranger.curve_serverkey = json.loads(gate.key_path.read_text())["server"].encode()
    stranger.curve_publickey, stranger.curve_secretkey = zmq.curve_keypair()

    turned_away(stranger, gate)
    assert run_foreign(tmp_path, gate.environment).returncode == 0
    eventually(lambda: records)

    assert [message for _, _, message in records] == ["from far away"]
    warnings = [record.getMessage() for record in caplog.records if record.name == "pipeline.run.log_gate"]
    assert warnings == ["log server: a peer with an unknown key tried to connect; refused"]


def test_a_peer_without_encryption_is_refused(
    tmp_path: Path,
    gate: LogGate,
    stranger: "zmq.Socket[bytes]",
    records: list[tuple[str, str, str]],
) -> None:
    """Plain ZeroMQ without CURVE does not get in."""
    turned_away(stranger, gate)
    assert run_foreign(tmp_path, gate.environment).returncode == 0
    eventually(lambda: records)

    assert [message for _, _, message in records] == ["from far away"]


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"\xff",
        b"[" * 90_000,
        b"[]",
        b'{"t": "x", "l": 1, "n": "", "m": ""}',
        b'{"t": 1, "l": Infinity, "n": "", "m": ""}',
    ],
)
def test_what_is_no_record_is_dropped(
    message: bytes,
    tmp_path: Path,
    gate: LogGate,
    stranger: "zmq.Socket[bytes]",
    records: list[tuple[str, str, str]],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Even from a peer with the right key, a message that is no log record is dropped with a warning."""
    keys = json.loads(gate.key_path.read_text())
    stranger.curve_serverkey = keys["server"].encode()
    stranger.curve_publickey, stranger.curve_secretkey = keys["public"].encode(), keys["secret"].encode()
    stranger.connect("tcp://{}:{}".format(*gate.address))

    stranger.send(message)
    stranger.send(json.dumps({"t": 1.0, "l": 20, "n": "node.far.x", "m": "fine"}).encode())
    eventually(lambda: records)

    assert records == [("node.far.x", "INFO", "fine")]
    assert [r.getMessage() for r in caplog.records if r.name == "pipeline.run.log_gate"] == [
        "log server: a message over TCP is not a log record; dropped"
    ]
