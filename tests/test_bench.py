"""The benchmarks' driver; what it compares with need not be installed for this."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.testing import is_sshd_available

PEERS = Path(__file__).parents[1] / "bench/bench_peers.py"
TIMEOUT_S = 60.0


def run(*words: str) -> subprocess.CompletedProcess[str]:
    """Run the driver."""
    return subprocess.run([sys.executable, PEERS, *words], capture_output=True, text=True, timeout=TIMEOUT_S)


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


def test_peer_that_fails_has_a_row_with_the_reason():
    """A way that does not end in time is not left out of the table."""
    done = run("--only", "true", "--peers", "xargs", "--rounds", "1", "--scale", "1", "--timeout", "0.01")
    assert "not measured: no end after 0.01 s" in done.stdout


def test_unknown_work_is_refused():
    """An unknown name is told with those that are known."""
    done = run("--only", "tuoch_out")
    assert done.returncode == 2
    assert "expected some of log_line, " in done.stderr
    assert "got tuoch_out" in done.stderr
