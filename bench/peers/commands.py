"""How each peer is called for a work: the words, what is fed to it, and where the jobs' lines end up."""

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from shlex import quote

from install_peers import find_parallel
from peers.works import HERE, Work

from pipeline.testing import SshHosts

ROOT = HERE.parents[1]


@dataclass(frozen=True)
class Command:
    """
    A program to run.

    Attributes:
        stdin: What it reads.
        lines: Glob, below the work's folder, of the files that then hold what the jobs said.
        programs: What must be on PATH for it.
    """

    words: list[str]
    stdin: str = ""
    lines: str = "stdout"
    environment: Mapping[str, str] = field(default_factory=dict)


def stdin_of(work: Work) -> str:
    """Return the arguments, one a line, as xargs and parallel want them."""
    return "".join(argument + "\n" for argument in work.arguments)


def xargs(work: Work, hosts: SshHosts | None) -> Command:
    """One argument to a process, or to an `ssh` each."""
    return _xargs(work, _ssh(work, hosts) if hosts else work.command)


def xargs_shared(work: Work, hosts: SshHosts | None) -> Command:
    """The first `ssh` keeps its connection open, the others go through it."""
    assert hosts
    shared = {"ControlMaster": "auto", "ControlPersist": "60", "ControlPath": str(work.folder / "shared")}
    return _xargs(work, _ssh(work, hosts, *(f"-o{name}={value}" for name, value in shared.items())))


def _xargs(work: Work, words: list[str]) -> Command:
    return Command(["xargs", "-n1", f"-P{work.at_once}", *words], stdin_of(work))


def _ssh(work: Work, hosts: SshHosts, *options: str) -> list[str]:
    """Return the words that run a job's command on the first host; what is added to them is added there."""
    return ["ssh", "-F", str(hosts.ssh_config), *options, hosts.names[0], " ".join(map(quote, work.command))]


def xargs_touch(work: Work, hosts: SshHosts | None) -> Command:
    """Without Python: `touch` itself."""
    outputs = "".join(path.removesuffix(".inp") + ".out\n" for path in work.inputs)
    return Command(["xargs", "-n1", f"-P{work.at_once}", "touch"], outputs)


def parallel(work: Work, hosts: SshHosts | None) -> Command:
    """With an account of its jobs, as we keep one; over SSH if there are hosts."""
    words = [str(find_parallel()), "--will-cite", f"-j{work.at_once}", "--joblog", str(work.folder / "joblog")]
    if hosts:
        words += ["--ssh", f"ssh -F {hosts.ssh_config}", "-S", ",".join(hosts.names)]
    return Command(
        [*words, *work.command, "{}"], stdin_of(work), environment={"PARALLEL_HOME": str(work.folder / "parallel")}
    )


def make(work: Work, hosts: SshHosts | None) -> Command:
    """A pattern rule that runs the script."""
    return _make(work, f"{' '.join(work.command)} $<")


def make_touch(work: Work, hosts: SshHosts | None) -> Command:
    """A pattern rule without Python: `touch` itself."""
    return _make(work, "touch $@")


def _make(work: Work, recipe: str) -> Command:
    makefile = work.folder / "Makefile"
    makefile.write_text(f"all: $(patsubst %.inp,%.out,$(wildcard *.inp))\n%.out: %.inp\n\t@{recipe}\n")
    return Command(["make", "-s", f"-j{work.at_once}", "-C", str(work.folder)], environment={"MAKEFLAGS": ""})


def python_once(work: Work, hosts: SshHosts | None) -> Command:
    """The plain script with nothing around it."""
    return Command([*work.command, *work.arguments])


def ssh_once(work: Work, hosts: SshHosts | None) -> Command:
    """The plain script with a plain ssh around it."""
    assert hosts
    return Command([*_ssh(work, hosts), *map(quote, work.arguments)])


def program(name: str, *flags: str, lines: str = "stdout"):
    """Return how a peer with a program of its own beside this file is called."""

    def command(work: Work, hosts: SshHosts | None) -> Command:
        words = [sys.executable, str(HERE / f"{name}.py"), work.kind, str(work.count), str(work.folder)]
        return Command([*words, str(work.at_once), *flags], lines=lines)

    return command


def pipeline(client: str = "paramiko", *, warm: str = "auto"):
    """Return how our recipe is called, over SSH if there are hosts."""

    def command(work: Work, hosts: SshHosts | None) -> Command:
        config = work.folder / "pipeline.cfg"
        text = hosts.config_text() + f"ssh_client = {client}\n" if hosts else "[remote]\nmethod = local\n"
        config.write_text(f"{text}warm = {warm}\n")
        words = [sys.executable, "", "-c", str(config), "-r", str(work.folder / "runs"), "-j", "bench"]
        if work.kind == "example":
            words[1] = str(ROOT / "recipes/master/example_parallel.py")
        else:
            words[1] = str(ROOT / "bench/recipes/master/many.py")
            names = ", ".join(hosts.names if hosts else ["node1"])
            words += [f"--kind={work.kind}", f"--jobs={work.count}", f"--hosts=[{names}]", f"--folder={work.folder}"]
            words += [f"--max-per-node={work.at_once}"]
        return Command(words, lines="runs/bench/logs/*/*.log")

    return command
