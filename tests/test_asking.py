"""Asking hosts side by side: an answer or a reason for each."""

import threading

import pytest

from pipeline.errors import HostError
from pipeline.run.asking import ask_hosts, stat_all, stat_on_hosts
from pipeline.run.reach import Reach

LOCAL = Reach(method="local")
WAIT_S = 30.0


def test_each_host_is_asked_once():
    """However often it is named."""
    asked = []

    answers = list(ask_hosts(["a", "b", "a"], LOCAL, lambda link: asked.append(link.host)))

    assert sorted(answers) == [("a", None), ("b", None)]
    assert sorted(asked) == ["a", "b"]


def test_hosts_are_asked_side_by_side():
    """No host waits for another one's answer: each of these waits for both."""
    both = threading.Barrier(2)

    assert len(dict(ask_hosts(["a", "b"], LOCAL, lambda link: both.wait(WAIT_S)))) == 2


@pytest.mark.parametrize(
    ("error", "reason"),
    [(HostError("a", "no answer"), "no answer"), (ZeroDivisionError("by 0"), "ZeroDivisionError: by 0")],
)
def test_an_error_is_the_answer_of_its_host(error, reason):
    """The others' answers come all the same."""

    def ask(link):
        if link.host == "a":
            raise error
        return link.host

    answers = dict(ask_hosts(["a", "b"], LOCAL, ask))

    assert answers["a"].reason == reason
    assert answers["b"] == "b"


def test_a_host_that_goes_away_is_an_error():
    """A session that ends while its host is asked gives a reason in no time."""

    def ask(link):
        link.close()
        return stat_all(link, ["/"])

    ((_, answer),) = ask_hosts(["a"], LOCAL, ask)

    assert isinstance(answer, HostError)


def test_no_hosts_give_no_answers():
    """Nothing is waited for."""
    assert list(ask_hosts([], LOCAL, lambda link: link)) == []
    assert stat_on_hosts({}, LOCAL) == ({}, {})


def test_kinds_and_sizes_come_by_host_and_path(tmp_path):
    """In any number of questions."""
    (tmp_path / "x").write_text("four")
    names = [str(tmp_path / "x"), str(tmp_path), *(f"/nope/{i}" for i in range(12_000))]

    found, failed = stat_on_hosts({"a": names, "b": names[:1]}, LOCAL)

    assert failed == {}
    assert found["a", names[0]] == found["b", names[0]] == ("file", 4)
    assert found["a", names[1]][0] == "directory"
    assert {found["a", name] for name in names[2:]} == {("missing", 0)}
