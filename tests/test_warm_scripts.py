"""Forked or started: a script cannot tell, and neither can who reads what it did."""

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from agent_driver import AgentDriver, Result, running_agent
from pythons import find_pythons

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs /proc and child subreapers")

PYTHONS = list(dict.fromkeys((next(iter(find_pythons())), list(find_pythons())[-1])))
ANY_BYTES = bytes(range(1, 256)).decode("utf-8", "surrogateescape")

NODE = """
import sys
from pipeline import Node

class script(Node):
    def run(self, *args):
        {body}

if __name__ == "__main__":
    sys.exit(script.main())
"""


def read_scripts(path: Path) -> dict[str, str]:
    """Return the scripts of a file by name; each begins with a line `==== name`."""
    parts = path.read_text("utf-8").split("==== ")[1:]
    return {name: text for name, _, text in (part.partition("\n") for part in parts)}


# What `beside.py` in the script's folder holds.
BESIDE = "answer = 42\n\nclass Thing:\n    def __init__(self, x):\n        self.x = x\n\ncache = []\n"

SCRIPTS: dict[str, str | bytes] = {
    **read_scripts(Path(__file__).parent / "node_scripts.txt"),
    "no UTF-8": b"# -*- coding: latin-1 -*-\nprint(ascii('\xe9'))",
    "node": NODE.format(body="self.logger.info('got %s', args); self.outputs['args'] = args; print('out')"),
    "node that fails": NODE.format(body="self.outputs['x'] = 1; raise ValueError('no')"),
    "node that returns 7": NODE.format(body="return 7"),
    "node that logs much": NODE.format(body="[self.logger.debug('%d %s', i, 'x' * i) for i in range(2000)]"),
}
SIGNALS = ["SIGTERM", "SIGKILL", "SIGHUP", "SIGUSR1", "SIGPIPE", "SIGABRT", "SIGSEGV", "SIGCHLD", "SIGALRM", "SIGXFSZ"]
SCRIPTS.update(
    {f"death by {name}": f"import os, signal\nos.kill(os.getpid(), signal.{name})\nprint('lives')" for name in SIGNALS}
)
NOT_WARM = {"import that fails", "syntax error"}  # those tell it themselves, in each job


@pytest.fixture(scope="module", params=PYTHONS)
def agents(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[AgentDriver]]:
    """Run two agents on one Python: one that starts every job, one that forks."""
    python = find_pythons()[request.param]
    directory = tmp_path_factory.mktemp("agents")
    with (
        running_agent(python, directory, warm="off") as cold,
        running_agent(python, directory, warm="at once", warm_limits={"rest_s": 0.0}) as warm,
    ):
        yield [cold, warm]


def normal(value: Any) -> Any:
    """Return what is told without what is another in every process: addresses, and the agents' directories."""
    if isinstance(value, bytes):
        return normal(value.decode("utf-8", "surrogateescape"))
    if isinstance(value, str):
        return re.sub(r"0x[0-9a-f]+|pipeline-[0-9a-f]{16}|<Process-\d+|SpawnProcess-\d+", "?", value)
    if isinstance(value, dict):
        return {key: normal(inner) for key, inner in value.items()}
    return [normal(inner) for inner in value] if isinstance(value, list) else value


def seen(result: Result) -> Any:
    """Return all that is known of a job but times, memory, and whether it was warm."""
    header = {key: value for key, value in result.header.items() if key in ("state", "returncode", "missing")}
    records = [{key: value for key, value in record.items() if key != "t"} for record in result.records]
    return normal({**header, "out": result.out, "err": result.err, "body": result.body, "records": records})


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_does_the_same_forked_as_started(agents: list[AgentDriver], tmp_path: Path, name: str) -> None:
    """Output, exit status, records, outputs and what it saw of itself are equal, in the second fork as in the first."""
    (tmp_path / "beside.py").write_text(BESIDE)
    path, text = tmp_path / 'it\'s a "script".py', SCRIPTS[name]
    path.write_bytes(text if isinstance(text, bytes) else (text + "\n").encode())
    results = []
    for agent in (agents[0], agents[1], agents[1]):
        (tmp_path / "left").unlink(missing_ok=True)
        environment = {"A B": "it's\n\u00e9", "PYTHONDONTWRITEBYTECODE": "1"}
        result = agent.run_script(str(path), "3", "", ANY_BYTES, cwd=str(tmp_path), environment=environment)
        left = (tmp_path / "left").read_text() if (tmp_path / "left").exists() else None
        results.append((result, {**seen(result), "left": left}))

    assert [result.header["warm"] for result, _ in results] == [False, *[name not in NOT_WARM] * 2], agents[1].notes
    assert results[1][1] == results[0][1]
    assert results[2][1] == results[0][1]
