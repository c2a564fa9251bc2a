"""Hosts and jobs that do not work, through a real recipe process: one clear line each, and the others go on."""

import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from harness import CLIENTS, WAIT_S, Done, Recipe

from pipeline.run.store_reader import JobRow
from pipeline.testing import SshHosts, ssh_hosts
from pipeline.testing.sshd import make_key

QUICK = "connect_retries = 0\nretry_wait = 0.1\nhello_timeout = 3\n"
RAISES = """
from pipeline import Node

class raises(Node):
    def run(self):
        raise ValueError("a b")

raise SystemExit(raises.main())
"""
TRUE = {"kind": "command", "command": ["true"]}


@pytest.fixture
def pair() -> Iterator[SshHosts]:
    """Two hosts of a test's own: node1 stays well, node2 is what the test makes of it."""
    with ssh_hosts(2) as hosts:
        yield hosts


@pytest.fixture
def bare_pair(pair: SshHosts) -> Iterator[SshHosts]:
    """The same, but node2 has no Python on its PATH."""
    with ssh_hosts(1, names=["node2"], python=None) as bare:
        pair.hosts[1].stop()
        pair.hosts[1] = bare.hosts[0]
        text = pair.ssh_config.read_text().partition("Host node2")[0]
        pair.ssh_config.write_text(text + bare.ssh_config.read_text())
        pair.known_hosts.write_text(pair.known_hosts.read_text() + bare.known_hosts.read_text())
        yield pair


@pytest.fixture
def bash(pair: SshHosts) -> None:
    """The user's login shell is bash, which reads .bashrc when sshd starts it."""
    words = ["ssh", "-F", str(pair.ssh_config), "node1", "echo $SHELL"]
    shell = subprocess.run(words, capture_output=True, text=True, timeout=WAIT_S, check=False).stdout.strip()
    if not shell.endswith("bash"):
        pytest.skip(f"the login shell here is {shell}, not bash")


def run_on_both(hosts: SshHosts, directory: Path, bad: str = "node2", config: str = "") -> tuple[Done, list[JobRow]]:
    """Run two jobs on a bad host and two on node1; return how the recipe ended and its jobs from the store."""
    recipe = Recipe(directory / 'it\'s a "recipe"', hosts.config_text() + QUICK + config)
    jobs = [TRUE | {"host": bad}, TRUE | {"host": "node1"}] * 2
    done = recipe.run(jobs)
    reader = recipe.read_store()
    rows = reader.jobs(1)
    reader.close()
    return done, rows


def check_verdict(outcome: tuple[Done, list[JobRow]], reason: str, bad: str = "node2") -> None:
    """Expect one line for each job of the bad host, exit status 3, and the other host's jobs done at once."""
    done, rows = outcome
    assert done.returncode == 3, done.stderr
    lines = done.stderr.splitlines()
    assert [line.partition("run_jobs: ")[2].partition(":")[0] for line in lines] == [
        f"job 1 (true) on {bad}",
        f"job 3 (true) on {bad}",
        "recipe run_jobs failed with status 1",
    ], done.stderr
    assert all(re.search(reason, line) for line in lines[:2]), done.stderr
    assert [row.state.value for row in rows] == ["LOST", "OK", "LOST", "OK"]
    assert all(row.finished_at - row.submitted_at < 15.0 for row in rows if row.host == "node1")


# -- not reachable


def refuse_connections(hosts: SshHosts) -> None:
    """Leave nothing listening on node2's port."""
    hosts["node2"].stop()


def refuse_login(hosts: SshHosts) -> None:
    """Let node2 know only some other user's key."""
    key = make_key(hosts.directory / "another key")
    hosts["node2"].stop()
    hosts["node2"].configure(key.with_suffix(".pub"), {})
    hosts["node2"].start()


def change_host_key(hosts: SshHosts) -> None:
    """Make node2's entry in known_hosts that of another key."""
    new = make_key(hosts.directory / "another host key").with_suffix(".pub").read_text().split()[1]
    old = hosts["node2"].known_hosts_line().split()[2]
    hosts.known_hosts.write_text(hosts.known_hosts.read_text().replace(old, new))


def forget_host_key(hosts: SshHosts) -> None:
    """Take node2 out of known_hosts."""
    hosts.known_hosts.write_text(hosts["node1"].known_hosts_line())


@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (refuse_connections, r"127\.0\.0\.3 port \d+: connection refused|refused"),
        (refuse_login, r"login as \S+ refused"),
        (change_host_key, r"(?i)host key.*changed|changed.*host key"),
        (forget_host_key, r"(?i)host key.*not known|unknown|host key"),
    ],
)
def test_a_host_that_cannot_be_logged_in_to(
    client: str, spoil: Callable[[SshHosts], None], reason: str, pair: SshHosts, tmp_path: Path
) -> None:
    """Refused connection, refused login, changed and unknown host key: a line for each job, the others go on."""
    spoil(pair)

    outcome = run_on_both(pair, tmp_path, config=f"ssh_client = {client}\n")

    check_verdict(outcome, reason)


@pytest.mark.parametrize("client", CLIENTS)
def test_a_host_name_nobody_knows(client: str, pair: SshHosts, tmp_path: Path) -> None:
    """A name that does not resolve is a line for each job, the others go on."""
    outcome = run_on_both(pair, tmp_path, "no-such-host.invalid", f"ssh_client = {client}\n")

    check_verdict(outcome, r"no-such-host\.invalid: .*name", "no-such-host.invalid")


def test_a_host_that_would_be_an_option_starts_nothing(tmp_path: Path) -> None:
    """A host name that ssh would take for an option is the user's mistake, found before any process is started."""
    recipe = Recipe(tmp_path / "recipe", "[remote]\nmethod = ssh\nssh_client = openssh\n")
    jobs = [TRUE | {"host": f"-oProxyCommand=touch {tmp_path}/x"}]

    done = recipe.run(jobs)

    assert done.returncode == 2
    assert done.stderr.splitlines() == [
        f"host '-oProxyCommand=touch {tmp_path}/x': "
        "expected a host name (letters, digits, '.', '_', '-', not first '-')"
    ]
    assert not (tmp_path / "x").exists()


# -- Python on the host


def test_a_host_without_python(bare_pair: SshHosts, tmp_path: Path) -> None:
    """A host with no Python on its PATH is told so, with what to do."""
    outcome = run_on_both(bare_pair, tmp_path)

    check_verdict(outcome, r"no Python found; install Python 3\.8 or later there or name one in \[deploy\] python$")


def old_pythons() -> list[str]:
    """Return interpreters older than 3.8 of this machine, one of each major version."""
    names = ("python3.7", "python3.6", "python3.5", "python2.7", "python2")
    folders = [Path(path) for path in (shutil.which(name) for name in names) if path]
    folders += sorted(Path.home().glob(".pyenv/versions/[23].*/bin/python"))
    found: dict[str, str] = {}
    for path in folders:
        words = [
            str(path),
            "-c",
            "import sys; print(sys.executable); print(sys.version_info[:2] < (3, 8), sys.version[0])",
        ]
        done = subprocess.run(words, capture_output=True, text=True, timeout=WAIT_S, check=False)
        if done.returncode == 0 and "True" in done.stdout:
            executable, _, rest = done.stdout.partition("\n")
            found.setdefault(rest.split()[1], executable)
    return list(found.values())


def test_a_host_whose_python_is_too_old(bare_pair: SshHosts, tmp_path: Path) -> None:
    """A host whose only Pythons are older than 3.8 is told which they are."""
    old = old_pythons()
    if not old:
        pytest.skip("no Python older than 3.8 was found on this machine")
    for name, executable in zip(("python3", "python"), old, strict=False):
        program = bare_pair["node2"].home / "bin" / name
        program.write_text(f'#!/bin/sh\nexec "{executable}" "$@"\n')
        program.chmod(0o755)

    outcome = run_on_both(bare_pair, tmp_path)

    names = ", ".join(("python3", "python")[: len(old)])
    check_verdict(outcome, rf"older than 3\.8: {names}; install Python 3\.8 or later")


def test_the_python_that_is_configured_is_the_only_one_tried(pair: SshHosts, tmp_path: Path) -> None:
    """A `[deploy] python` that is not there is a line for each job, though the host has another Python."""
    recipe = Recipe(tmp_path / "recipe", pair.config_text() + QUICK + "[deploy]\npython = /opt/no such/python3\n")

    done = recipe.run([TRUE | {"host": "node1"}])

    assert done.returncode == 3
    assert "job 1 (true) on node1: no Python found" in done.stderr
    assert len(done.stderr.splitlines()) == 2


# -- login scripts


@pytest.mark.usefixtures("bash")
@pytest.mark.parametrize("client", CLIENTS)
def test_a_login_script_that_prints_does_no_harm(client: str, pair: SshHosts, tmp_path: Path) -> None:
    """Noise of a login script, with escapes, no newline at its end, and on both streams, is ignored."""
    noise = r"printf 'Welcome\n\033[1mPIPELINE-READ\n\000\377 motd without a newline'; echo 'warning' >&2"
    (pair["node2"].home / ".bashrc").write_text(noise + "\n")

    done, rows = run_on_both(pair, tmp_path, config=f"ssh_client = {client}\n")

    assert (done.returncode, done.stderr) == (0, "")
    assert [row.state.value for row in rows] == ["OK"] * 4


@pytest.mark.usefixtures("bash")
@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("head -c 5000000 /dev/zero | tr '\\0' x", r"1 MiB of output instead of the start of Python"),
        ("echo before; exit 3", r"the session ended before the start of Python; .*it printed: 'before'$"),
        ("echo quota exceeded >&2; exit 1", r"ended before the start of Python; the host says: quota exceeded"),
        ("echo hi; exec sleep 60", r"waited 3 s for the start of Python; does a login script wait .*printed: 'hi'$"),
        (
            "echo 'Password?'; read answer",
            r"waited 3 s for the start of Python; does a login script wait .*'Password\?'",
        ),
        ("kill -9 $$", r"the session ended before the start of Python|connection closed"),
    ],
    ids=["prints much", "exits", "exits with a reason", "hangs", "reads", "dies"],
)
def test_a_login_script_that_stands_in_the_way(script: str, reason: str, pair: SshHosts, tmp_path: Path) -> None:
    """A login script that prints without end, exits, hangs or asks is named as what it does; the others go on."""
    (pair["node2"].home / ".bashrc").write_text(script + "\n")

    outcome = run_on_both(pair, tmp_path)

    check_verdict(outcome, reason)


@pytest.mark.usefixtures("bash")
def test_a_host_that_hangs_does_not_slow_the_others(pair: SshHosts, tmp_path: Path) -> None:
    """The jobs of the other host are done before the verdict on the one that hangs."""
    (pair["node2"].home / ".bashrc").write_text("exec sleep 60\n")

    done, rows = run_on_both(pair, tmp_path)

    assert done.returncode == 3
    hung, fine = [[row.finished_at for row in rows if (row.host == "node1") is is_fine] for is_fine in (False, True)]
    assert max(fine) < min(hung)


# -- jobs


def run_jobs(hosts: SshHosts, directory: Path, jobs: Sequence[dict[str, Any]]) -> Done:
    """Run jobs on node2 beside one on node1, which must end well; return how the recipe ended."""
    recipe = Recipe(directory / "recipe", hosts.config_text() + QUICK)
    done = recipe.run([*({"host": "node2"} | job for job in jobs), TRUE | {"host": "node1"}])
    assert [result["status"] for result in done.results][-1] == "OK"
    assert "Traceback" not in done.stderr
    assert len(done.job_lines) == len(jobs), done.stderr
    return done


def test_jobs_that_fail_are_a_line_each(pair: SshHosts, tmp_path: Path) -> None:
    """Whatever way a job fails, there is one line with its host, its id and what happened, and the exit status is 1."""
    folder = tmp_path / 'it\'s a\n"folder"'
    folder.mkdir()
    scripts = {
        "raises": RAISES,
        "broken": "def f(:\n",
        "exits": "import sys\nsys.exit(255)\n",
        "dies": "import os, signal\nos.kill(os.getpid(), signal.SIGSEGV)\n",
    }
    for name, text in scripts.items():
        (folder / f"{name}.py").write_text(text)
    jobs = [{"kind": "script", "command": ["python", str(folder / f"{name}.py")]} for name in (*scripts, "missing")]
    jobs += [
        {"kind": "command", "command": ["/nowhere/it's a program"]},
        {"kind": "command", "command": [str(folder)]},
        {"kind": "command", "command": ["true"], "cwd": "/nowhere"},
    ]

    done = run_jobs(pair, tmp_path, jobs)

    assert done.returncode == 1
    lines = [line.partition("run_jobs: ")[2] for line in done.stderr.splitlines()]
    expected = [
        r'job 1 \(raises\) on node2: exit status 1 after .*; last line: "ValueError: a b"; log: ',
        r'job 2 \(broken\) on node2: exit status 1 after .*; last line: "SyntaxError: invalid syntax"; log: ',
        r"job 3 \(exits\) on node2: exit status 255 after [\d.]+ s; log: ",
        r"job 4 \(dies\) on node2: killed by signal 11 \(SIGSEGV\) after [\d.]+ s; log: ",
        r"job 5 \(missing\) on node2: no node script .*missing\.py.* there; is its directory visible on the host\?",
        r"job 6 \(it's a program\) on node2: no program \"/nowhere/it's a program\" there",
        r"job 7 \(.*\) on node2: no permission to run .* there",
        r"job 8 \(true\) on node2: no working directory '/nowhere' there",
        r"recipe run_jobs failed with status 1",
        r"",  # the node script's own record of what it raised
    ]
    assert len(lines) == len(expected)
    for pattern in expected:
        assert any(re.match(pattern, line) for line in lines), (pattern, lines)


def test_a_node_script_that_may_not_be_read(pair: SshHosts, tmp_path: Path) -> None:
    """A node script without read permission is one line that says so."""
    if os.geteuid() == 0:
        pytest.skip("root may read everything")
    script = tmp_path / "secret.py"
    script.write_text("")
    script.chmod(0)

    done = run_jobs(pair, tmp_path, [{"kind": "script", "command": ["python", str(script)]}])

    assert done.returncode == 1
    assert f"job 1 (secret) on node2: node script '{script}' is not readable there" in done.stderr


def test_a_python_that_is_too_old_is_told_on_this_machine_as_well(tmp_path: Path) -> None:
    """A `[deploy] python` older than 3.8 is named in the same words with method local as over SSH."""
    python = tmp_path / "it's python2"
    python.write_text("#!/bin/sh\nexit 9\n")  # what a Python older than 3.8 makes of the agent's first line
    python.chmod(0o755)
    config = f"[remote]\nmethod = local\n{QUICK}[deploy]\npython = {python}\n"

    done = Recipe(tmp_path / "recipe", config).run([TRUE | {"host": "localhost"}])

    assert done.returncode == 3
    assert f"job 1 (true) on localhost: older than 3.8: {python}; install Python 3.8 or later" in done.stderr
