"""`pipeline new`: a recipe pair that runs at once, to be changed."""

import argparse
import keyword
import sys
from pathlib import Path

import pipeline
from pipeline.cli.output import write_output
from pipeline.errors import UsageError

__all__ = ["add_parser"]

_MASTER = '''"""{title}: which jobs there are."""

import sys

from pipeline import BaseRecipe, ComputeJob, RemoteCommand, StringField, load_data_map


class {name}(BaseRecipe, RemoteCommand):
    inputs = {{
        "greeting": StringField("--greeting", help="What every job is given", default="hello"),
    }}

    def go(self):
        super().go()
        # With a mapfile as argument: a job for each file, on its host. Without: one job on this machine.
        mapfiles = self.inputs["args"]
        files = load_data_map(mapfiles[0]) if mapfiles else [("localhost", "/etc/hostname")]
        node_command = ["python", self.node_script]
        jobs = [ComputeJob(host, node_command, arguments=[file, self.inputs["greeting"]]) for host, file in files]
        for job in self._schedule_jobs(jobs).values():
            self.logger.info("%s: %s", job.results["host"], job.results.get("size_bytes"))
        return 1 if self.error.is_set() else 0


if __name__ == "__main__":
    sys.exit({name}().main())
'''

_NODE = '''"""{title}: what one job does."""

import os
import sys

from pipeline import Node


class {name}(Node):
    def run(self, file, greeting):
        self.logger.info("%s: %s", greeting, file)
        self.outputs["size_bytes"] = os.path.getsize(file)
        return 0


if __name__ == "__main__":
    sys.exit({name}.main())
'''


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add `new`."""
    parser = subparsers.add_parser("new", help="write a new recipe pair", description=__doc__)
    parser.add_argument("name", metavar="NAME", help="of the recipe: a Python name, e.g. flag_baselines")
    parser.add_argument("-r", "--recipes", metavar="DIR", default="recipes", help="folder of master/ and nodes/")
    parser.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> int:
    name = options.name
    if not (name.isidentifier() and name.isascii()) or keyword.iskeyword(name):
        raise UsageError(f"pipeline new: {name!r}: expected a Python name (letters, digits, '_'), e.g. flag_baselines")
    if name in sys.stdlib_module_names or name == "pipeline" or name in pipeline.__all__:
        raise UsageError(f"pipeline new: {name!r} is the name of a module or of ours; choose another")
    root = Path(options.recipes)
    files = {root / "master" / f"{name}.py": _MASTER, root / "nodes" / f"{name}.py": _NODE}
    for path in files:
        if path.exists():
            raise UsageError(f"{path}: is there already; choose another name or remove it")
    for path, text in files.items():
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text.format(name=name, title=name.replace("_", " ").capitalize()), encoding="utf-8")
        except OSError as error:
            raise UsageError(f"{path}: cannot be written: {error.strerror}") from None
    wrote = [f"wrote {path}" for path in files]
    return write_output("\n".join([*wrote, f"try it: python {root / 'master' / name}.py -v"]))
