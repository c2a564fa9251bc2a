"""Jobs on a real agent, on every Python of this machine: what a job is given, and what is told of it."""

import hashlib
import json
import os
import resource
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from agent_driver import AgentDriver, is_alive, running_agent, write_script
from pythons import find_pythons

import pipeline
from pipeline.formats.frames import encode_message
from pipeline.node.attempt import Attempt
from pipeline.run.outcomes import read_outcome

# Hard on anything that goes through a shell, a text file or a terminal.
WORDS = ["", " ", "a b", "it's", '"', "\n", "a\nb\n", "$HOME", "`id`", "a;b", "*", "-x", "--", "\\", "\u00e9\U0001f52d"]
ANY_BYTES = bytes(range(1, 256)).decode("utf-8", "surrogateescape")
ECHO = "import sys, os; sys.stdout.buffer.write(b'\\0'.join(map(os.fsencode, sys.argv[1:])))"
SEND = "import os, sys; os.write(int(sys.argv[2]), {!r}); print('went on')"

# Forks twice and calls setsid, as daemons do, and says who it is.
DAEMON = """
import os, sys, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        os.write(1, b"pids %d\\n" % os.getpid())
        for descriptor in (0, 1, 2):
            os.close(descriptor)
        time.sleep(300)
    os._exit(0)
os.wait()
"""

CLEARED = DAEMON.replace("time.sleep(300)", "os.execve('/bin/sh', ['sh', '-c', 'exec sleep 300'], {})")


# Every Python, started for each job; the oldest and the newest also forked from warm processes.
WAYS = [(version, "off") for version in find_pythons()]
WAYS += [(version, "at once") for version in dict.fromkeys((next(iter(find_pythons())), list(find_pythons())[-1]))]


@pytest.fixture(scope="module", params=WAYS, ids=lambda way: way[0] if way[1] == "off" else f"{way[0]} warm")
def agent(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[AgentDriver]:
    """Run one agent for all tests on one Python, with its files below a path that is hard on scripts."""
    version, warm = request.param
    directory = tmp_path_factory.mktemp("agent") / 'it\'s "t m p"\n'
    directory.mkdir()
    with running_agent(find_pythons()[version], directory, warm=warm) as running:
        yield running


def encoded(words: list[str]) -> bytes:
    """Return what `ECHO` prints for these words."""
    return b"\0".join(os.fsencode(word) for word in words)


def test_the_agent_says_who_it_is(agent: AgentDriver) -> None:
    """Its hello tells the Python, the cores and whether it can end whatever its jobs start."""
    hello = agent.hello

    assert find_pythons()[hello["python"].rpartition(".")[0]] == hello["executable"]
    assert hello["cores"] >= 1
    assert hello["kills_all"] is sys.platform.startswith("linux")
    assert hello["time"] > 1_700_000_000


# -- arguments


def test_a_program_gets_its_arguments_exactly(agent: AgentDriver) -> None:
    """Empty words, quotes, newlines and any byte but NUL arrive as they are, and nothing is added."""
    words = [*WORDS, ANY_BYTES]

    assert agent.run([sys.executable, "-c", ECHO], *words).out == encoded(words)


def test_a_script_gets_its_arguments_exactly(agent: AgentDriver, tmp_path: Path) -> None:
    """The same words reach `run` of a node script."""
    script = write_script(tmp_path, "sys.stdout.buffer.write(b'\\0'.join(map(os.fsencode, args)))")

    assert agent.run_script(script, *WORDS, ANY_BYTES).out == encoded([*WORDS, ANY_BYTES])


@pytest.mark.parametrize(
    ("arguments", "case"),
    [
        (["x" * 1_000_000], "one megabyte"),
        ([str(n) * 20 for n in range(10_000)], "ten thousand"),
        (["a\0b", "", "c"], "a NUL"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_script_gets_what_argv_cannot_carry(
    agent: AgentDriver, tmp_path: Path, arguments: list[str], case: str
) -> None:
    """Arguments over the system's limits arrive as well, and leave no file behind."""
    script = write_script(tmp_path, "import hashlib\nself.outputs['got'] = [len(args), hashlib.sha256(\n"
    "    '|'.join(args).encode()).hexdigest()]")  # fmt: skip

    result = agent.run_script(script, *arguments)

    assert result.outputs["got"] == [len(arguments), hashlib.sha256("|".join(arguments).encode()).hexdigest()], case
    assert not list(agent.private_directories()[0].glob("arguments-*"))


def test_typed_arguments_keep_their_type_with_main(agent: AgentDriver, tmp_path: Path) -> None:
    """A script that ends with `main()` gets JSON values as the master gave them."""
    values = [1, 2.5, True, None, "text", ["a", 1], {"k": {"x": None}}]
    script = write_script(tmp_path, "self.outputs['got'] = list(args)", main=True)

    assert agent.run_script(script, *values).outputs["got"] == values


def test_typed_arguments_are_text_in_argv(agent: AgentDriver, tmp_path: Path) -> None:
    """A script that reads `sys.argv` gets their text."""
    script = write_script(tmp_path, "self.outputs['got'] = list(args)")

    assert agent.run_script(script, 1, None, ["a"], "b").outputs["got"] == ["1", "None", "['a']", "b"]


def test_main_finds_the_arguments_behind_the_words_of_the_command(agent: AgentDriver, tmp_path: Path) -> None:
    """Words that stand in the command before the log host, even one like it, do not shift the arguments."""
    script = write_script(tmp_path, "self.outputs['got'] = [list(args), sys.argv[1:3]]", main=True)

    result = agent.run(["python", script, "--over", "channel"], "a", script=True)

    assert result.outputs["got"] == [["a"], ["--over", "channel"]]


# -- surroundings


def test_a_job_has_its_environment(agent: AgentDriver, tmp_path: Path) -> None:
    """What the job was given is added to the host's, and it is told its host and its number."""
    names = ["A B", "PIPELINE_HOST", "PIPELINE_JOB_ID", "PATH"]
    script = write_script(tmp_path, "self.outputs['got'] = {name: os.environ.get(name) for name in args}")

    got = agent.run_script(script, *names, environment={"A B": "it's\n\u00e9"}).outputs["got"]

    assert got["A B"] == "it's\n\u00e9"
    assert got["PIPELINE_HOST"] == "lce001"
    assert got["PIPELINE_JOB_ID"].isdigit()
    assert got["PATH"] == os.environ["PATH"]


def test_a_job_runs_in_its_working_directory(agent: AgentDriver, tmp_path: Path) -> None:
    """`cwd` may hold blanks, quotes and newlines, and a relative script is looked for in it."""
    directory = tmp_path / 'it\'s "d i r"\n'
    directory.mkdir()
    write_script(directory, "self.outputs['got'] = os.getcwd()", name="s.py")

    assert agent.run_script("s.py", cwd=str(directory)).outputs["got"] == str(directory)


def test_a_program_is_found_by_its_own_path(agent: AgentDriver, tmp_path: Path) -> None:
    """It is looked for in the job's PATH, not in the agent's; what cannot be run is passed over."""
    for name, text, mode in (("a", "#!/bin/sh\necho a", 0o600), ("b", "#!/bin/sh\necho b", 0o700)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "hello").write_text(text)
        (tmp_path / name / "hello").chmod(mode)

    result = agent.run(["hello"], environment={"PATH": f"{tmp_path}/none:{tmp_path}/a:{tmp_path}/b"})

    assert (result.state, result.out) == ("OK", b"b\n")
    assert agent.run(["hello"], cwd=str(tmp_path / "b")).state == "REFUSED"


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
@pytest.mark.parametrize("is_script", [False, True])
def test_a_job_inherits_only_what_it_is_given(tmp_path: Path, is_script: bool) -> None:
    """Not what the agent was started with, wherever it runs: the standard streams and its channel."""
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\nexec 7</dev/null\nexec "{sys.executable}" "$@"\n')
    python.chmod(0o700)
    show = """
import os, sys
links = {int(name): os.path.join("/proc/self/fd", name) for name in os.listdir("/proc/self/fd")}
print(os.getpid() == os.getsid(0) == os.getpgid(0))
print(sorted(fd for fd in links if os.path.exists(links[fd])) == [0, 1, 2, *map(int, sys.argv[2:])])
"""
    script = tmp_path / "show.py"
    script.write_text(show)
    words = ["python", str(script)] if is_script else [sys.executable, "-E", "-s", "-S", str(script)]

    with running_agent(str(python), tmp_path) as agent:
        results = [agent.run(words, script=is_script, cwd=cwd) for cwd in (None, str(tmp_path))]

    assert [r.out for r in results] == [b"True\nTrue\n"] * 2


@pytest.mark.parametrize("has_directory", [False, True])
def test_a_program_starts_with_the_signals_of_a_shell(agent: AgentDriver, tmp_path: Path, has_directory: bool) -> None:
    """It does not ignore those two that a Python ignores."""
    result = agent.run(["grep", "SigIgn", "/proc/self/status"], cwd=str(tmp_path) if has_directory else None)

    ignored = int(result.out.split()[1], 16)
    assert [number for number in (signal.SIGPIPE, signal.SIGXFSZ) if ignored & 1 << (number - 1)] == []


def test_a_job_reads_nothing(agent: AgentDriver) -> None:
    """Standard input is empty: a job that reads it does not wait, nor read the master's frames."""
    assert agent.run(["cat"]).state == "OK"


def test_a_script_can_import_what_lies_beside_it(agent: AgentDriver, tmp_path: Path) -> None:
    """`sys.path[0]` is the script's directory, also when its arguments travel in a file."""
    (tmp_path / "beside.py").write_text("answer = 42\n")
    script = write_script(tmp_path, "import beside\nself.outputs['got'] = beside.answer")

    got = [agent.run_script(script, argument).outputs["got"] for argument in ("a", "x" * 200_000)]

    assert got == [42, 42]


# -- how it ended


@pytest.mark.parametrize(("code", "state"), [(0, "OK"), (1, "FAILED"), (255, "FAILED")])
def test_the_exit_status_is_the_jobs(agent: AgentDriver, code: int, state: str) -> None:
    """Zero is OK, anything else FAILED, with the real number."""
    result = agent.run(["sh", "-c", f"exit {code}"])

    assert (result.state, result.returncode) == (state, code)


@pytest.mark.parametrize(("returned", "code"), [("None", 0), ("0", 0), ("3", 3), ("True", 1), ("sys.exit(4)", 4)])
def test_what_run_returns_is_the_exit_status(agent: AgentDriver, tmp_path: Path, returned: str, code: int) -> None:
    """`run` ends a script with a number, with nothing, or with sys.exit; its outputs arrive in any case."""
    script = write_script(tmp_path, f"self.outputs['x'] = [1]\nreturn {returned}")

    result = agent.run_script(script)

    assert (result.returncode, result.outputs) == (code, {"x": [1]})


def test_a_signal_that_is_not_ours_is_told(agent: AgentDriver) -> None:
    """A job that is killed by somebody else is SIGNALED, with the signal's number."""
    result = agent.run(["sh", "-c", "kill -KILL $$"])

    assert (result.state, result.returncode) == ("SIGNALED", -9)


def test_resources_are_those_of_the_job(agent: AgentDriver) -> None:
    """Time and memory are measured for each job by itself."""
    hungry = agent.run([sys.executable, "-c", "x = b'x' * 80_000_000\nfor i in range(10**6): pass"]).header
    modest = agent.run(["true"]).header

    assert hungry["max_rss_bytes"] > 80_000_000 > modest["max_rss_bytes"] > 100_000
    assert hungry["user_s"] + hungry["system_s"] > modest["user_s"] + modest["system_s"]
    assert 0 < modest["duration_s"] < 30


def test_an_uncaught_exception_is_logged_and_fails_the_job(agent: AgentDriver, tmp_path: Path) -> None:
    """The master gets the traceback as a log record, and the exception's line as the reason."""
    script = write_script(tmp_path, "self.outputs['x'] = 1\nraise ValueError('no such \u00e9')")

    result = agent.run_script(script)

    assert (result.state, result.returncode, result.outputs) == ("FAILED", 1, {"x": 1})
    assert result.body["error"] == "ValueError: no such \u00e9"
    (record,) = result.records
    assert (record["l"], record["n"], record["m"]) == (40, "node.lce001.script", "ValueError: no such \u00e9")
    assert record["x"].startswith("Traceback (most recent call last):\n")


def test_outputs_that_are_no_json_fail_the_job(agent: AgentDriver, tmp_path: Path) -> None:
    """A value that cannot travel is an error in the log, not a job that silently lost its outputs."""
    script = write_script(tmp_path, "self.outputs['x'] = {1, 2}")

    result = agent.run_script(script)

    assert (result.returncode, result.outputs) == (1, {})
    assert [record["m"] for record in result.records] == [
        "outputs: Object of type set is not JSON serializable; expected JSON values"
    ]


def test_declared_outputs_must_exist(agent: AgentDriver, tmp_path: Path) -> None:
    """A job that ends well without a file it promised has FAILED, and the file is named."""
    (tmp_path / "it's there\n").touch()

    both = agent.run(["true"], cwd=str(tmp_path), outputs=["it's there\n", str(tmp_path / "not there")])
    one = agent.run(["true"], cwd=str(tmp_path), outputs=["it's there\n"])

    assert (both.state, both.returncode, both.header["missing"]) == ("FAILED", 0, [str(tmp_path / "not there")])
    assert (one.state, one.header["missing"]) == ("OK", [])


def test_many_missing_outputs_do_not_break_the_report(agent: AgentDriver) -> None:
    """Thousands of long names that are not there fail the job, not the agent."""
    name = "/nowhere/" + "\u00e9" * 5000

    result = agent.run(["true"], outputs=[f"{name}/{n}" for n in range(300)])

    assert result.state == "FAILED"
    assert result.header["missing"][0].startswith("/nowhere/")


# -- what cannot be started


@pytest.mark.parametrize(
    ("words", "is_script", "options", "message"),
    [
        (["python", "/nowhere/it's\n.py"], True, {}, 'no node script "/nowhere/it\'s\\n.py" there; is its directory'),
        (["/nowhere/prog"], False, {}, "no program '/nowhere/prog' there"),
        (["prog-not-on-path"], True, {"environment": {"PATH": "/usr/bin:/bin"}}, "no program 'prog-not-on-path' there"),
        (["true"], False, {"cwd": "/nowhere/x"}, "no working directory '/nowhere/x' there"),
        (["/"], False, {}, "no permission to run '/' there"),
        (["/dev/null"], False, {}, "no permission to run '/dev/null' there"),
        (
            ["/bin/true"],
            False,
            {"arguments": ["x" * 200_000]},
            "arguments of '/bin/true' are longer than the host takes",
        ),
        (["true"], False, {"arguments": ["a\0b"]}, "cannot start 'true': embedded null byte; only node scripts"),
        (["true"], False, {"environment": {"A": 5}}, "cannot start 'true': "),
        (["true"], False, {"arguments": ["\ud800"]}, "cannot start 'true': "),
    ],
    ids=["script", "program", "on PATH", "cwd", "directory", "no permission", "too long", "NUL", "number", "surrogate"],
)
def test_what_cannot_be_started_is_refused(
    agent: AgentDriver, words: list[str], is_script: bool, options: dict[str, object], message: str
) -> None:
    """REFUSED says on one line what was not there; nothing ran."""
    job_id = agent.start(words, script=is_script, **options)

    result = agent.result(job_id)

    assert result.state == "REFUSED"
    assert message in result.header["message"]
    assert len(result.header["message"].splitlines()) == 1
    assert agent.kinds[job_id] == ["result"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_an_unreadable_script_is_refused(agent: AgentDriver, tmp_path: Path) -> None:
    """A script without permission to read it is told from one that is not there."""
    script = write_script(tmp_path, "pass")
    Path(script).chmod(stat.S_IWUSR)

    assert "is not readable there" in agent.run_script(script).header["message"]


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs prlimit(2)")
def test_a_job_for_which_no_descriptor_is_left_is_refused(agent: AgentDriver, tmp_path: Path) -> None:
    """The agent tells so and goes on; the next job runs."""
    path = write_script(tmp_path, "return 0", main=True)
    assert agent.run_script(path).state == "OK"

    limits = resource.prlimit(agent.hello["pid"], resource.RLIMIT_NOFILE)
    resource.prlimit(agent.hello["pid"], resource.RLIMIT_NOFILE, (4, limits[1]))
    refused = [agent.run_script(path), agent.run(["true"])]
    resource.prlimit(agent.hello["pid"], resource.RLIMIT_NOFILE, limits)

    assert [(r.state, "Too many open files" in r.header["message"]) for r in refused] == [("REFUSED", True)] * 2
    assert [agent.run_script(path).state, agent.run(["true"]).state] == ["OK", "OK"]


def test_names_of_any_length_are_refused_in_few_words(agent: AgentDriver) -> None:
    """A name that no header could hold is refused like any other."""
    result = agent.run(["python", "/" + "\u00e9" * 100_000], script=True)

    assert result.state == "REFUSED"
    assert len(result.header["message"]) <= 2000


# -- ended by us


def test_a_job_over_its_time_is_ended(agent: AgentDriver) -> None:
    """TERM first: a job that listens to it has time to tidy up."""
    code = "import signal, sys, time\nsignal.signal(signal.SIGTERM, lambda *_: sys.exit('tidied up'))\ntime.sleep(300)"

    result = agent.run([sys.executable, "-c", code], timeout_s=1.0)

    assert (result.state, result.err) == ("TIMEOUT", b"tidied up\n")
    assert 1.0 <= result.header["duration_s"] < 10


def test_a_cancelled_job_is_ended(agent: AgentDriver) -> None:
    """Cancelling a running attempt ends it with TERM, and says so."""
    job_id = agent.start(["sh", "-c", "echo ready; exec sleep 300"])
    agent.wait_for_output(job_id, b"ready")

    agent.send({"k": "cancel", "job": job_id, "attempt": 1})

    result = agent.result(job_id)
    assert (result.state, result.returncode) == ("CANCELLED", -15)


def test_a_stopped_job_is_ended(agent: AgentDriver) -> None:
    """A job that has been stopped gets its TERM too."""
    job_id = agent.start(["sh", "-c", "echo ready; kill -STOP $$"])
    agent.wait_for_output(job_id, b"ready")

    agent.send({"k": "cancel", "job": job_id, "attempt": 1})

    assert agent.result(job_id).returncode == -15


def test_cancelling_another_attempt_changes_nothing(agent: AgentDriver) -> None:
    """Only the attempt that was meant is ended."""
    job_id = agent.start(["sh", "-c", "sleep 0.2; echo done"])
    for other in ((job_id, 2), (job_id + 1000, 1)):
        agent.send({"k": "cancel", "job": other[0], "attempt": other[1]})

    result = agent.result(job_id)

    assert (result.state, result.out) == ("OK", b"done\n")


def test_an_attempt_is_started_once(agent: AgentDriver, tmp_path: Path) -> None:
    """A run message that comes twice while the attempt runs starts it once."""
    job_id = agent.start(["sh", "-c", "echo ready; read x < fifo"], cwd=str(tmp_path), attempt=2)
    os.mkfifo(tmp_path / "fifo")
    agent.send(
        {"k": "run", "job": job_id, "attempt": 2, "script": False},
        {"words": ["false"], "arguments": [], "cwd": None, "environment": {}, "outputs": []},
    )
    agent.send({"k": "cancel", "job": job_id, "attempt": 2})

    agent.result(job_id)

    assert agent.kinds[job_id].count("start") == agent.kinds[job_id].count("result") == 1


# -- output


def test_a_job_is_told_in_order(agent: AgentDriver, tmp_path: Path) -> None:
    """First its start, then all that it logs and writes, then its result."""
    script = write_script(
        tmp_path,
        "for i in range(100):\n    self.logger.info('record %d', i)\nprint('out')\nprint('err', file=sys.stderr)",
    )
    job_id = agent.start(["python", script], script=True)

    result = agent.result(job_id)

    kinds = agent.kinds[job_id]
    assert (kinds[0], kinds[-1]) == ("start", "result")
    assert set(kinds[1:-1]) == {"log", "out", "err"}
    assert [record["m"] for record in result.records] == [f"record {i}" for i in range(100)]


def test_output_arrives_byte_by_byte_as_it_was_written(agent: AgentDriver) -> None:
    """NUL, invalid UTF-8, carriage returns and a missing newline at the end survive."""
    code = "import sys; sys.stdout.buffer.write(bytes(range(256)) * 1000); sys.stderr.buffer.write(b'\\xff\\r\\n\\0x')"

    result = agent.run([sys.executable, "-c", code])

    assert (result.out, result.err) == (bytes(range(256)) * 1000, b"\xff\r\n\0x")


def test_the_tails_are_the_end_of_the_output(agent: AgentDriver) -> None:
    """The last 4 KiB of each stream come with the result, whatever bytes they hold."""
    code = "import sys; sys.stdout.buffer.write(b'a' * 9000 + b'\\xff end'); sys.stderr.write('short')"

    body = agent.run([sys.executable, "-c", code]).body

    assert body["stdout_tail"] == "a" * 4091 + "\udcff end"
    assert body["stderr_tail"] == "short"


def test_lines_arrive_while_the_job_runs(agent: AgentDriver, tmp_path: Path) -> None:
    """What a node script prints is not kept until its end."""
    script = write_script(tmp_path, "print('ready')\ntime.sleep(300)")
    job_id = agent.start(["python", script], script=True)

    agent.wait_for_output(job_id, b"ready\n")

    agent.send({"k": "cancel", "job": job_id, "attempt": 1})
    agent.result(job_id)


def test_log_records_carry_time_level_and_name(agent: AgentDriver, tmp_path: Path) -> None:
    """Each level arrives as itself, under `node.<host>.<class>`."""
    script = write_script(tmp_path, "for level in (10, 20, 30, 40, 50):\n    self.logger.log(level, 'at %d\\n', level)")

    records = agent.run_script(script).records

    assert [(r["l"], r["m"]) for r in records] == [(level, f"at {level}\n") for level in (10, 20, 30, 40, 50)]
    assert {r["n"] for r in records} == {"node.lce001.script"}
    assert all(r["t"] > 1_700_000_000 for r in records)


@pytest.mark.parametrize(
    "junk",
    [
        b"Segmentation fault\n",
        b"\x00\x00\x00\x0a\x00\x08not JSON",
        encode_message({"k": "outputs"}, b"[1]"),
        encode_message({"k": "outputs"}, b"{"),
        encode_message({"k": "outputs"}, b"[" * 100_000),
        b"\xff" * 100,
    ],
    ids=["text", "no JSON", "outputs no object", "outputs no JSON", "outputs deep", "ones"],
)
def test_junk_on_the_log_channel_fails_the_job(agent: AgentDriver, tmp_path: Path, junk: bytes) -> None:
    """A job that does not speak our protocol goes on to its end, but what it meant to tell is lost: it FAILED."""
    (tmp_path / "junk.py").write_text(SEND.format(junk))

    result = agent.run_script(str(tmp_path / "junk.py"))

    assert (result.state, result.returncode, result.out, result.outputs) == ("FAILED", 0, b"went on\n", {})
    assert result.err.startswith(b"agent: log channel closed, it carried something else than log records: ")
    message = read_outcome(result.header, json.dumps(result.body).encode()).message
    assert ", but its log channel broke: " in message
    assert len(message.splitlines()) == 1


def test_half_a_frame_on_the_log_channel_fails_the_job(agent: AgentDriver, tmp_path: Path) -> None:
    """A job whose channel ends in the midst of a frame FAILED too."""
    (tmp_path / "half.py").write_text(SEND.format(encode_message({"k": "log"}, b"{}")[:-1]))

    result = agent.run_script(str(tmp_path / "half.py"))

    assert (result.state, result.header["channel_error"]) == ("FAILED", "it ended within a frame")


def test_a_record_without_measure_is_cut(agent: AgentDriver, tmp_path: Path) -> None:
    """A message of many megabytes arrives in part and says how much was cut; the outputs arrive whole."""
    script = write_script(tmp_path, "self.logger.info('\u00e9' * 20_000_000)\nself.outputs['x'] = 'y' * 2_000_000")

    result = agent.run_script(script)

    kept, _, note = result.records[0]["m"].partition("... ")
    assert kept == "\u00e9" * len(kept)
    assert 80_000 < len(kept) < 90_000
    assert note == f"[{20_000_000 - len(kept)} characters cut]"
    assert (result.state, len(result.outputs["x"])) == ("OK", 2_000_000)


def test_a_script_that_lost_its_channel_says_so_once(agent: AgentDriver, tmp_path: Path) -> None:
    """Records and outputs that cannot be sent are one line on stderr and exit status 1."""
    body = "os.close(int(self.logport))\nfor i in range(9):\n    self.logger.info(i)\nself.outputs['x'] = 1"

    result = agent.run_script(write_script(tmp_path, body))

    assert (result.state, result.returncode) == ("FAILED", 1)
    assert result.err == b"the log channel is broken: Bad file descriptor; log records and outputs are lost\n"


def test_processes_that_a_script_forks_log_at_the_same_time(agent: AgentDriver, tmp_path: Path) -> None:
    """Records of any size from several processes neither mix nor get lost."""
    body = """
workers = []
for worker in range(4):
    pid = os.fork()
    if not pid:
        for i in range(200):
            self.logger.info('%d %d %s', worker, i, str(worker) * (60_000 if i % 4 else 10))
        os._exit(0)
    workers.append(pid)
for pid in workers:
    os.waitpid(pid, 0)
self.outputs['x'] = 'y' * 200_000
"""

    result = agent.run_script(write_script(tmp_path, body))

    got = [record["m"].split() for record in result.records]
    assert (result.state, len(result.outputs["x"])) == ("OK", 200_000)
    for worker in "0123":
        texts = [(int(i), text) for name, i, text in got if name == worker]
        assert texts == [(i, worker * (60_000 if i % 4 else 10)) for i in range(200)]


def test_what_a_killed_process_began_to_log_is_dropped(agent: AgentDriver, tmp_path: Path) -> None:
    """A piece without its rest is in no record, also when another process of that pid logs later."""
    piece = {"k": "piece", "pid": 7, "is_first": True}
    rest = {"k": "log", "pid": 7, "is_first": False}
    frames: list[tuple[dict[str, Any], bytes]]
    frames = [(piece, b"lost"), (piece, b'{"m":'), (rest, b"1}"), ({"k": "log"}, b"{}")]
    (tmp_path / "killed.py").write_text(SEND.format(b"".join(encode_message(*frame) for frame in frames)))

    result = agent.run_script(str(tmp_path / "killed.py"))

    assert (result.state, result.records) == ("OK", [{"m": 1}, {}])


def test_records_of_unknown_kind_are_left_out(agent: AgentDriver, tmp_path: Path) -> None:
    """A frame of a kind that the agent does not know is ignored: a later version may send it."""
    (tmp_path / "new.py").write_text(SEND.format(encode_message({"k": "new"})))

    result = agent.run_script(str(tmp_path / "new.py"))

    assert (result.state, result.err, result.records) == ("OK", b"", [])


def test_a_hundred_jobs_run_at_once(agent: AgentDriver, tmp_path: Path) -> None:
    """A hundred jobs that wait for each other run side by side, and each is reported by itself."""
    os.mkfifo(tmp_path / "fifo")
    # Each opens the pipe, which waits for us, says so, and sees the pipe's end when we close it.
    jobs = [
        agent.start(["sh", "-c", f"exec 3<fifo; echo {n}; cat <&3; exit {n}"], cwd=str(tmp_path)) for n in range(100)
    ]
    with (tmp_path / "fifo").open("w"):
        for n, job_id in enumerate(jobs):
            agent.wait_for_output(job_id, b"%d\n" % n)

    assert [agent.result(job_id).returncode for job_id in jobs] == list(range(100))


# -- what is left behind


def test_what_a_job_leaves_behind_is_ended_with_it(agent: AgentDriver) -> None:
    """A grandchild that forked twice and called setsid is gone before the result, and counted."""
    job_id = agent.start([sys.executable, "-c", DAEMON])

    result = agent.result(job_id)

    (pid,) = agent.wait_for_pids(job_id)
    assert (result.state, result.header["left_behind"], result.header["survivors"]) == ("OK", 1, [])
    assert not is_alive(pid)


@pytest.mark.parametrize("ending", ["", "sys.stdin.close()\ntime.sleep(300)\n"], ids=["its own end", "timeout"])
def test_what_cleared_its_environment_is_ended_too(agent: AgentDriver, ending: str) -> None:
    """When no other job runs, a daemon without any sign of whose it is cannot be another's."""
    job_id = agent.start([sys.executable, "-c", CLEARED + ending], timeout_s=3.0)

    result = agent.result(job_id)

    (pid,) = agent.wait_for_pids(job_id)
    assert result.state == ("TIMEOUT" if ending else "OK")
    assert not is_alive(pid)


def test_a_pipe_that_never_ends_is_not_read_for_ever(tmp_path: Path) -> None:
    """A stray that goes on writing does not keep the agent from reporting its job, nor from all others."""
    header = {"job": 1, "attempt": 1, "script": False}
    attempt = Attempt(header, {"outputs": []}, "mark", str(tmp_path), sys.executable)
    endless = os.open("/dev/zero", os.O_RDONLY)
    attempt.pipes[endless] = "out"

    assert sum(len(data) for _, data in attempt.read(endless, 1 << 20)) == 1 << 20

    attempt.forget()


def test_a_job_that_ends_everything_itself_leaves_nothing(agent: AgentDriver) -> None:
    """Children that were waited for are not counted."""
    assert agent.run(["sh", "-c", "sleep 0.01 & wait"]).header["left_behind"] == 0


def test_other_jobs_are_left_alone(agent: AgentDriver) -> None:
    """Ending what one job left behind does not touch the daemon of another that still runs."""
    daemon = DAEMON + "sys.stdin.close()\ntime.sleep(300)\n"
    other = agent.start([sys.executable, "-c", daemon])
    (pid,) = agent.wait_for_pids(other)

    assert agent.run([sys.executable, "-c", DAEMON]).header["left_behind"] == 1
    assert is_alive(pid)

    agent.send({"k": "cancel", "job": other, "attempt": 1})
    agent.result(other)
    assert not is_alive(pid)


# -- other services


def test_the_agent_tells_what_paths_are(agent: AgentDriver, tmp_path: Path) -> None:
    """Kind and size of each path, in the order asked for."""
    (tmp_path / "it's a file\n").write_bytes(b"12345")
    paths = [
        tmp_path / "it's a file\n",
        tmp_path,
        tmp_path / "none",
        Path("/dev/null"),
        Path("~"),
    ]  # a job expands no ~

    agent.send({"k": "stat", "id": 7}, [*map(str, paths), "a\0b"])
    agent.take_in_until(lambda: 7 in agent.stats)

    assert agent.stats[7][0] == ["file", 5]
    assert [kind for kind, _ in agent.stats[7]] == ["file", "directory", "missing", "other", "missing", "missing"]


@pytest.mark.parametrize("version", find_pythons())
def test_a_script_run_by_hand_logs_to_stderr(tmp_path: Path, version: str) -> None:
    """Without a master a node script is a program like any other: arguments from argv, log on stderr."""
    script = write_script(tmp_path, "self.logger.info('got %s', args)\nreturn 3", main=True)
    environment = {**os.environ, "PYTHONPATH": str(Path(pipeline.__file__).parent.parent), "PIPELINE_HOST": "here"}

    done = subprocess.run(
        [find_pythons()[version], "-W", "error", script, "a b", "c"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr.endswith(" INFO    node.here.script: got ('a b', 'c')\n")


def test_a_script_without_run_says_so(agent: AgentDriver, tmp_path: Path) -> None:
    """A class that forgot its `run` fails with one line that says what is missing."""
    path = tmp_path / "empty.py"
    path.write_text("import sys\nfrom pipeline import Node\nclass empty(Node): pass\nsys.exit(empty.main())\n")

    result = agent.run_script(str(path))

    assert result.returncode == 1
    assert result.body["error"] == "NotImplementedError: empty defines no run(self, *args)"
    assert json.loads(result.body["outputs"]) == {}
