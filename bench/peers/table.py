"""All that is compared: what each work is, and who does it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from install_peers import find_parallel, read_reasons
from peers import commands
from peers.commands import Command
from peers.works import Work

from pipeline.testing import SshHosts


@dataclass(frozen=True)
class Task:
    """
    A row of rows of the table.

    Attributes:
        kind: As in `Work`.
        count: Jobs, at scale 1.
        reference: The peer all others are set beside.
        hosts: SSH hosts that there must be; the jobs go to them in turn.
        repeats: Runs in a round: what takes less than a second scatters more.
    """

    kind: str
    count: int
    what: str
    reference: str
    hosts: int = 1
    repeats: int = 1


TASKS = {
    "log_line": Task("log_line", 2000, "a script that logs one line", "pipeline ssh"),
    "import_numpy": Task("import_numpy", 2000, "the same, and imports numpy", "pipeline ssh"),
    "touch_out": Task("touch_out", 10000, "os.system('touch FILE.out') for a FILE.inp", "pipeline local"),
    "true": Task("true", 5000, "/bin/true", "pipeline local"),
    "hosts": Task("log_line", 2000, "a script that logs one line, 50 hosts", "pipeline ssh", hosts=50),
    "example": Task("example", 1, "the example recipe, whole process", "pipeline local", repeats=3),
}

SCRIPTS = ("log_line", "import_numpy")
FILES = ("touch_out",)
ONE_HOST = (*SCRIPTS, *FILES, "true")
# Of the jobs, so that three rounds take 20 minutes: where every job starts a Python, ten thousand say no more than some
# hundred. In touch_out those that are about as fast as we are get up to half of the files.
STARTS_PYTHON = {"log_line": 0.15, "import_numpy": 0.05, "touch_out": 0.05}
STARTS_SSH = {"log_line": 0.05, "hosts": 0.1}


@dataclass(frozen=True)
class Peer:
    """
    One way to do a work.

    Attributes:
        command: How it is called; it gets hosts only if it is `over_ssh`.
        needs: What must be installed, by the names in `install_peers`.
        share: Of the jobs that it gets, by task; 1 where none is named.
    """

    name: str
    command: Callable[[Work, SshHosts | None], Command]
    tasks: tuple[str, ...]
    over_ssh: bool = False
    needs: tuple[str, ...] = ()
    share: Mapping[str, float] = field(default_factory=dict)

    @property
    def missing(self) -> str:
        """Why it cannot be run; empty if it can."""
        reasons = read_reasons()
        if "parallel" in self.needs and not find_parallel():
            return reasons.get("parallel", "parallel is not installed")
        return "; ".join(f"{name} cannot be installed: {reasons[name]}" for name in self.needs if name in reasons)


def python_peer(name: str, *flags: str, needs: tuple[str, ...] = (), share: float = 1.0) -> Peer:
    """Return a peer whose jobs are calls of a Python function in processes that it keeps."""
    command = commands.program(f"with_{name}", *flags)
    label = " ".join([name, *(flag.strip("-") for flag in flags)])
    return Peer(label, command, FILES, needs=needs or (name,), share={"touch_out": share})


PEERS = [
    Peer("pipeline ssh", commands.pipeline(), (*ONE_HOST, "hosts", "example"), over_ssh=True),
    Peer("pipeline local", commands.pipeline(), (*ONE_HOST, "example")),
    Peer("pipeline ssh cold", commands.pipeline(warm="off"), ("log_line",), over_ssh=True, share=STARTS_PYTHON),
    Peer("pipeline local cold", commands.pipeline(warm="off"), (*SCRIPTS, *FILES), share=STARTS_PYTHON),
    Peer("pipeline openssh", commands.pipeline("openssh"), ("log_line", "hosts", "example"), over_ssh=True),
    Peer(
        "hyperqueue",
        commands.program("with_hyperqueue", lines="*.stdout"),
        ONE_HOST,
        needs=("hyperqueue",),
        share=STARTS_PYTHON,
    ),
    Peer("parallel", commands.parallel, ONE_HOST, needs=("parallel",), share=STARTS_PYTHON | {"true": 0.2}),
    Peer(
        "parallel -S",
        commands.parallel,
        ("log_line", "hosts"),
        over_ssh=True,
        needs=("parallel",),
        share=STARTS_SSH,
    ),
    Peer("xargs", commands.xargs, ONE_HOST, share=STARTS_PYTHON),
    Peer("xargs ssh", commands.xargs, ("log_line",), over_ssh=True, share=STARTS_SSH),
    Peer("xargs ssh (ControlMaster)", commands.xargs_shared, ("log_line",), over_ssh=True, share=STARTS_PYTHON),
    Peer("xargs touch", commands.xargs_touch, FILES, share={"touch_out": 0.5}),
    Peer("make", commands.make, FILES, share=STARTS_PYTHON),
    Peer("make touch", commands.make_touch, FILES, share={"touch_out": 0.5}),
    python_peer("celery", needs=("celery", "redis-server"), share=0.5),
    python_peer("rq", needs=("rq", "redis-server"), share=0.05),
    python_peer("rq", "--simple", needs=("rq", "redis-server"), share=0.3),
    python_peer("luigi", share=0.1),
    python_peer("jug", share=0.5),
    python_peer("ruffus", share=0.3),
    python_peer("dask", share=0.5),
    python_peer("joblib", share=0.5),
    Peer("python SCRIPT", commands.python_once, ("example",)),
    Peer("ssh HOST python SCRIPT", commands.ssh_once, ("example",), over_ssh=True),
]
