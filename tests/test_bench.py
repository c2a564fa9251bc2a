"""The benchmarks' driver; what it compares with need not be installed for this."""

import importlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.testing import is_sshd_available

PEERS = Path(__file__).parents[1] / "bench/bench_peers.py"
TIMEOUT_S = 60.0


def run(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the driver."""
    words, environment = (sys.executable, str(PEERS), *words), {**os.environ, **environment}
    return subprocess.run(words, env=environment, capture_output=True, text=True, timeout=TIMEOUT_S)


def test_help_names_works_and_peers():
    """--help says what can be asked for."""
    done = run("--help")
    assert done.returncode == 0
    assert all(word in done.stdout for word in ("--scale", "touch_out", "hyperqueue", "parallel"))


def test_table_sets_a_peer_beside_us(tmp_path):
    """A row for each way, with its ratio to ours, as text and as JSON."""
    done = run(
        *("--only", "touch_out", "--peers", "pipeline local,xargs touch", "--rounds", "1", "--scale", "0.001"),
        *("-o", str(tmp_path / "table")),
    )

    assert done.returncode == 0, done.stderr
    assert (tmp_path / "table.txt").read_text() == done.stdout
    ours, theirs = json.loads((tmp_path / "table.json").read_text())["rows"]
    assert (ours["way"], theirs["way"], theirs["problem"]) == ("pipeline local", "xargs touch", "")
    assert theirs["ratio_of_all"] > 0.0
    assert f"{theirs['ratio_of_all']:.2f}" in done.stdout.splitlines()[-1]


@pytest.mark.skipif(not is_sshd_available(), reason="sshd is not installed (Debian: openssh-server)")
def test_table_has_what_a_shell_offers_over_ssh(tmp_path):
    """An `ssh` for each job, with and without a shared connection, brings all lines."""
    names = ["pipeline ssh", "xargs ssh", "xargs ssh (ControlMaster)"]

    done = run(
        *("--only", "log_line", "--peers", ",".join(names), "--rounds", "1", "--scale", "0.005"),
        *("-o", str(tmp_path / "table")),
    )

    assert done.returncode == 0, done.stderr
    rows = json.loads((tmp_path / "table.json").read_text())["rows"]
    assert [(row["way"], row["problem"], len(row["samples"])) for row in rows] == [(name, "", 1) for name in names]


@pytest.mark.skipif(not is_sshd_available(), reason="sshd is not installed (Debian: openssh-server)")
def test_cpu_time_is_that_of_our_master_alone(tmp_path):
    """A way of ours over SSH tells it from before the first job to after the last; nobody else has any."""
    done = run(
        *("--only", "log_line", "--peers", "pipeline openssh,xargs ssh", "--rounds", "1", "--scale", "0.001"),
        *("-o", str(tmp_path / "table")),
    )

    ours, theirs = (row["samples"][0] for row in json.loads((tmp_path / "table.json").read_text())["rows"])
    assert f"master CPU {1e3 * ours['cpu_s'] / ours['jobs']:.2f} ms/job" in done.stdout
    assert 0.0 < ours["cpu_s"] < ours["work_s"]
    assert theirs["cpu_s"] == 0.0


def test_peer_that_fails_has_a_row_with_the_reason():
    """A way that does not end in time is not left out of the table."""
    done = run("--only", "true", "--peers", "xargs", "--rounds", "1", "--scale", "1", "--timeout", "0.01")
    assert "not measured: no end after 0.01 s" in done.stdout


@pytest.mark.skipif(not is_sshd_available(), reason="sshd is not installed (Debian: openssh-server)")
def test_hosts_that_cannot_be_started_cost_only_their_rows(tmp_path):
    """With an sshd that does not start, ways over SSH have a row that says so, the others are measured."""
    (tmp_path / "sshd").write_text("#!/bin/sh\nexit 1\n")
    (tmp_path / "sshd").chmod(0o755)

    done = run(
        *("--only", "true", "--peers", "pipeline ssh,xargs", "--rounds", "1", "--scale", "0.002"),
        *("-o", str(tmp_path / "table")),
        PATH=f"{tmp_path}:{os.environ['PATH']}",
    )

    assert done.returncode == 0, done.stderr
    ours, theirs = json.loads((tmp_path / "table.json").read_text())["rows"]
    assert ours["problem"].startswith("sshd of node1 on "), ours
    assert (theirs["problem"], len(theirs["samples"])) == ("", 1)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["INT", "TERM"])
def test_what_was_measured_is_shown_when_it_is_ended_early(number, tmp_path):
    """A signal leaves a table of the runs until then, and an exit status that is not 0."""
    words = ["--only", "true,example", "--peers", "xargs,python SCRIPT", "--rounds", "1000000", "--scale", "0.002"]
    words, environment = [sys.executable, str(PEERS), *words], {**os.environ, "TMPDIR": str(tmp_path)}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(words, env=environment, text=True, **pipes) as driver:
        assert any("true, round 2: xargs" in line for line in driver.stderr)
        driver.send_signal(number)
        stdout, stderr = driver.communicate(timeout=TIMEOUT_S)

    assert driver.returncode, stderr
    (measured,) = (line.split() for line in stdout.splitlines() if line.startswith("true "))
    assert measured[:3] == ["true", "xargs", "10"]
    assert float(measured[4]) > 0.0


def test_reason_stays_when_a_program_has_the_name_of_a_package(tmp_path, monkeypatch):
    """A `celery` on PATH is not the package; a `redis-server` there is all that is needed."""
    monkeypatch.syspath_prepend(PEERS.parent)
    install_peers = importlib.import_module("install_peers")
    monkeypatch.setattr(install_peers, "REASONS", tmp_path / "reasons.json")
    for name in ("celery", "redis-server"):
        (tmp_path / name).touch(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    (tmp_path / "reasons.json").write_text('{"celery": "no network", "redis-server": "no network"}')

    assert install_peers.read_reasons() == {"celery": "no network"}


def test_unknown_work_is_refused():
    """An unknown name is told with those that are known."""
    done = run("--only", "tuoch_out")
    assert done.returncode == 2
    assert "expected some of log_line, " in done.stderr
    assert "got tuoch_out" in done.stderr
