"""The vocabulary: what a job, a host's name and the parameters may be, and what a user is told who gets it wrong."""

import dataclasses
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import given

from pipeline import CommandJob, ComputeJob
from pipeline.errors import HostNameError, InputError, UsageError
from pipeline.model.hosts import check_host_name, check_user_name, expand_hosts, fold_hosts
from pipeline.model.jobs import JobState, Outcome
from pipeline.model.parameters import Parameters

# What must never reach a process or a name look-up, as a host's name or a user's.
HOSTILE = [
    "",
    " ",
    "-oProxyCommand=x",
    "-",
    "--",
    "$(x)",
    "`x`",
    "a;b",
    "a b",
    "a\nb",
    "a\n",
    "a\0b",
    "a/b",
    "../x",
    "a@b",
    "a'b",
    'a"b',
    "a|b",
    "a&b",
    "a,b",
    "a[1-3]",
    "a*",
    "%h",
    "ü",
    "lce\u0660\u0660\u0661",
    "\u200blce001",
    "\u212ahost",
    "x" * 300,
]


@pytest.mark.parametrize(
    "name",
    [
        *("localhost", "lce001", "LCE001", "node-1", "node_1", "lce001.lofar.nl", "_x", "1", "127.0.0.1", "a."),
        *("x" * 253, "::1", "fe80::1", "fe80::1%eth0", "2001:db8::ff00:42:8329", "::ffff:192.0.2.1"),
    ],
)
def test_names_of_hosts_are_accepted(name: str) -> None:
    """Names, addresses and IPv6 addresses with a zone are host names, and come back as they are."""
    assert check_host_name(name) == name


@pytest.mark.parametrize("name", [*HOSTILE, ".a", "x" * 254, "fe80::1%", "fe80::1%$(x)", "::1 ", "[::1]"])
def test_what_is_no_host_name_is_refused(name: str) -> None:
    """Anything else is one line that shows it, escaped, and says what was expected."""
    with pytest.raises(HostNameError, match="expected a host name") as error:
        check_host_name(name)

    assert repr(name) in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", [None, 5, b"lce001", ["lce001"]])
def test_a_host_name_is_text(name: Any) -> None:
    """Other types are refused like wrong names, not with a TypeError."""
    with pytest.raises(HostNameError):
        check_host_name(name)


@pytest.mark.parametrize("name", ["john", "John.Doe", "_svc", "a-b", "machine$", "x" * 64])
def test_names_of_users_are_accepted(name: str) -> None:
    """User names come back as they are."""
    assert check_user_name(name) == name


@pytest.mark.parametrize("name", [*HOSTILE, "1a", "x" * 66, "a$b", None])
def test_what_is_no_user_name_is_refused(name: Any) -> None:
    """Anything else is one line that shows it."""
    with pytest.raises(HostNameError, match="expected a user name"):
        check_user_name(name)


@given(st.text(max_size=40))
def test_no_accepted_name_can_be_an_option_or_code(name: str) -> None:
    """Whatever is accepted has no blank, no quote, no shell character, and does not begin with a dash."""
    try:
        check_host_name(name)
    except HostNameError:
        return
    assert name.isascii()
    assert not name.startswith("-")
    assert not set(name) & set(" \t\r\n\0'\"`$&|;<>()[]{}*?!~#/\\=@,")


@pytest.mark.parametrize(
    ("folded", "names"),
    [
        ("lce001", ["lce001"]),
        ("lce[001-003]", ["lce001", "lce002", "lce003"]),
        ("lce[001-002],heastro1", ["lce001", "lce002", "heastro1"]),
        ("lce[001,003-004]", ["lce001", "lce003", "lce004"]),
        ("r[1-2]n[1-2]", ["r1n1", "r1n2", "r2n1", "r2n2"]),
        ("lce[001-002],b,a[2,1],b", ["lce001", "lce002", "b", "a1", "a2"]),
        (" b , a ", ["b", "a"]),
        ("b,a[1-2]!a1", ["a2", "b"]),
        ("lce[008-011].lofar.nl", ["lce008.lofar.nl", "lce009.lofar.nl", "lce010.lofar.nl", "lce011.lofar.nl"]),
    ],
)
def test_folded_lists_expand(folded: str, names: list[str]) -> None:
    """Ranges keep their leading zeros, products of ranges expand, and the list keeps its order."""
    assert expand_hosts(folded) == names


@pytest.mark.parametrize(
    "folded", ["lce[001-", "lce[a-b]", "lce]", "a;b", "a,,b", ",a", "$(x)", "-oProxyCommand=x", "a,-b[1-2]"]
)
def test_wrong_lists_are_refused(folded: str) -> None:
    """What does not parse, or expands to something that is no host name, is an error of the user's."""
    with pytest.raises(HostNameError):
        expand_hosts(folded)


def test_groups_are_not_looked_up() -> None:
    """A list never runs or reads the group sources that a cluster may have configured."""
    with pytest.raises(HostNameError):
        expand_hosts("@all")


@given(st.sets(st.integers(0, 999), min_size=1, max_size=30))
def test_folding_is_undone_by_expanding(numbers: set[int]) -> None:
    """A folded list holds exactly the names that were folded."""
    names = [f"lce{number:03d}" for number in numbers]

    assert sorted(expand_hosts(fold_hosts(names))) == sorted(names)


# -- jobs


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("python /a/b.py", ("python", "/a/b.py")),
        ("python '/a b/c.py' \"d e\"", ("python", "/a b/c.py", "d e")),
        ("python a\\ b", ("python", "a b")),
        ("python\n/a/b.py", ("python", "/a/b.py")),
        ("prog ''", ("prog", "")),
        ("prog $HOME `x` > y; z", ("prog", "$HOME", "`x`", ">", "y;", "z")),
        (["python", "/a b/it's\n.py"], ("python", "/a b/it's\n.py")),
    ],
)
def test_a_command_becomes_words(command: str | list[str], words: tuple[str, ...]) -> None:
    """Text is split like a shell splits it, and means nothing else; a list is taken as it is."""
    assert ComputeJob("lce001", command).command == words


@pytest.mark.parametrize(
    ("command", "name"),
    [
        ("python /recipes/nodes/example_parallel.py", "example_parallel"),
        ("python", "python"),
        ("/opt/bin/ndppp.exe", "ndppp.exe"),
        ("python '/a b/c d.py'", "c d"),
        ("/opt/run.py", "run"),
        ("python .py", ".py"),
        ("/opt/dir/", "dir"),
        ("/", "/"),
    ],
)
def test_a_job_is_named_after_its_script(command: str, name: str) -> None:
    """By default the name is the file's, without directory and `.py`, and never empty."""
    assert ComputeJob("lce001", command).name == name


def test_a_command_job_is_named_after_its_program() -> None:
    """For a program `python` is a program like any other."""
    assert CommandJob("lce001", "python x.py").name == "python"


def test_a_given_name_is_kept() -> None:
    """The default name is only used where none is given."""
    assert ComputeJob("lce001", "python x.py", name="calibrate SB001").name == "calibrate SB001"


def test_arguments_keep_their_bytes_and_types() -> None:
    """Bytes become text that gives the same bytes in argv, JSON values stay what they are."""
    job = ComputeJob("lce001", "python x.py", ["it's\n", b"\xff\x00", 1, 2.5, True, None, {"a": [1]}])

    assert job.arguments == ("it's\n", "\udcff\x00", 1, 2.5, True, None, {"a": [1]})
    assert job.argument_words == ["it's\n", "\udcff\x00", "1", "2.5", "True", "None", "{'a': [1]}"]


def test_paths_are_taken_as_text() -> None:
    """Where text is expected a path object does as well."""
    path = Path("/a b/c")
    options: dict[str, Any] = {"cwd": path, "environment": {"A": path}, "outputs": [path]}
    job = ComputeJob("lce001", ["python", path], [path], **options)  # type: ignore[list-item]

    assert (job.command, job.arguments, job.cwd) == (("python", "/a b/c"), ("/a b/c",), "/a b/c")
    assert (job.environment, job.outputs) == ({"A": "/a b/c"}, ("/a b/c",))


def test_a_job_prefers_its_hosts_in_order() -> None:
    """One host or several: `hosts` is always a tuple, and `host` what was given."""
    assert ComputeJob("lce001", "x").hosts == ("lce001",)
    assert ComputeJob(["lce002", "lce001"], "x").hosts == ComputeJob(["lce002", "lce001"], "x").host


def test_a_job_takes_one_slot_unless_it_says_so() -> None:
    """`resources` holds the number of cores; what else it holds does not matter."""
    assert ComputeJob("lce001", "x").cores == 1
    assert ComputeJob("lce001", "x", resources={"cores": 4, "memory": "8 GB"}).cores == 4


def test_jobs_share_no_defaults() -> None:
    """What is put into one job's results or environment is not in another's."""
    first, second = ComputeJob("lce001", "x"), ComputeJob("lce001", "x")
    first.results["returncode"] = 0

    assert second.results == {}
    assert first.environment is not second.environment
    assert first != second


def test_a_job_cannot_be_changed() -> None:
    """Only its results are filled in."""
    with pytest.raises(dataclasses.FrozenInstanceError):
        ComputeJob("lce001", "x").command = ("y",)  # type: ignore[misc]


@pytest.mark.parametrize(
    ("job", "complaint"),
    [
        ({"host": []}, "no host given"),
        ({"command": ""}, "empty command"),
        ({"command": "''"}, "empty command"),
        ({"command": []}, "empty command"),
        ({"command": "python 'x"}, "No closing quotation; quote it like in a shell"),
        ({"arguments": "abc"}, "expected a list, e.g."),
        ({"arguments": b"abc"}, "expected a list, e.g."),
        ({"arguments": [object]}, "is a type; expected a string or a JSON value"),
        ({"arguments": [{1, 2}]}, "is a set; expected a string or a JSON value"),
        ({"resources": {"cores": 0}}, "expected an integer >= 1"),
        ({"resources": {"cores": True}}, "expected an integer >= 1"),
        ({"resources": {"cores": "4"}}, "expected an integer >= 1"),
        ({"timeout_s": 0}, "expected seconds > 0"),
        ({"timeout_s": -1.0}, "expected seconds > 0"),
        ({"timeout_s": float("nan")}, "expected seconds > 0"),
        ({"retries": -1}, "expected an integer >= 0"),
        ({"retries": True}, "expected an integer >= 0"),
    ],
)
def test_a_wrong_job_is_one_line(job: dict[str, Any], complaint: str) -> None:
    """What can be checked is checked before anything is started, and says what was expected."""
    with pytest.raises(InputError) as error:
        ComputeJob(**{"host": "lce001", "command": "python x.py", **job})

    assert complaint in str(error.value)
    assert len(str(error.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("job", "complaint"),
    [
        ({"timeout_s": "10"}, "expected seconds > 0"),
        ({"timeout_s": True}, "expected seconds > 0"),
        ({"retries": "2"}, "expected an integer >= 0"),
        ({"retries": 1.5}, "expected an integer >= 0"),
        ({"host": None}, "expected a host name"),
        ({"host": ["lce001", 7]}, "expected a host name"),
        ({"host": "a;b"}, "expected a host name"),
        ({"command": ["python", 5]}, "expected words"),
        ({"command": ["a\0b"]}, "expected words"),
        ({"command": None}, "expected words"),
        ({"command": 5}, "expected words"),
        ({"arguments": None}, "expected a list"),
        ({"arguments": 5}, "expected a list"),
        ({"environment": {"A": 1}}, "expected text"),
        ({"environment": {"A=B": "1"}}, "expected text"),
        ({"environment": {"": "1"}}, "expected text"),
        ({"environment": {"A": "a\0b"}}, "expected text"),
        ({"outputs": "/data/x"}, "expected a list of paths"),
        ({"outputs": [5]}, "expected a list of paths"),
        ({"cwd": 5}, "expected a directory"),
        ({"cwd": "a\0b"}, "expected a directory"),
    ],
)
def test_a_wrong_type_in_a_job_is_one_line(job: dict[str, Any], complaint: str) -> None:
    """A value of the wrong type is the user's mistake, not an exception of ours far away from it."""
    with pytest.raises(UsageError) as error:
        ComputeJob(**{"host": "lce001", "command": "python x.py", **job})

    assert complaint in str(error.value)
    assert len(str(error.value).splitlines()) == 1


@pytest.mark.parametrize("state", JobState)
def test_only_three_states_can_still_change(state: JobState) -> None:
    """All states but PENDING, DISPATCHED and RUNNING are final."""
    assert state.is_final is (state.value not in ("PENDING", "DISPATCHED", "RUNNING"))


def test_outcomes_share_no_outputs() -> None:
    """An outcome without outputs has an empty mapping of its own."""
    assert Outcome(JobState.OK).outputs is not Outcome(JobState.OK).outputs


def test_the_parameters_are_those_of_the_guarantees() -> None:
    """The defaults are what the promises were made with."""
    p = Parameters()

    assert (p.connect_timeout, p.banner_timeout, p.login_timeout, p.hello_timeout) == (10.0, 10.0, 20.0, 20.0)
    assert (p.verdict_timeout, p.connects_at_once, p.connects_per_sshd, p.connect_retries) == (45.0, 32, 4, 5)
    assert (p.beat_interval, p.dead_after, p.lease, p.kill_grace) == (5.0, 30.0, 60.0, 5.0)


def test_a_lost_host_is_noticed_before_its_lease_is_over() -> None:
    """The master gives a host up before the agent ends its jobs, and both outlast several signs of life."""
    p = Parameters()

    assert 3 * p.beat_interval <= p.dead_after < p.lease
