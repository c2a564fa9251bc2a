"""
What the framework itself costs a job: the start of a run, the master's share of a job, and whether a limit is kept.

All hosts are throw-away sshds on this machine, so the figures hold for this machine and are to be read against each
other. See README.md beside this file.
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from machine import distribution_version, lay_out, machine, program_version, tell

from pipeline.testing import SshHosts, is_sshd_available, ssh_hosts

ROOT = Path(__file__).resolve().parents[1]
TRIVIAL = ROOT / "bench/recipes/master/trivial.py"
EXAMPLE = ROOT / "recipes/master/example_parallel.py"
CLIENTS = ("paramiko", "openssh")
AT_ONCE = 4  # of the jobs of `master`
TIMEOUT_S = 900.0


@dataclass
class Figure:
    """One row of the table; `samples` are in `unit`."""

    what: str
    unit: str
    samples: list[float] = field(default_factory=list)
    note: str = ""

    @property
    def median(self) -> float:
        """Of the samples."""
        return statistics.median(self.samples)

    def cells(self) -> tuple[str, ...]:
        """As text: what, median, range, number of samples, note."""
        if not self.samples:
            return (self.what, "-", "-", "0", self.note)
        spread = f"{min(self.samples):.3g} .. {max(self.samples):.3g}"
        return (self.what, f"{self.median:.3g} {self.unit}", spread, str(len(self.samples)), self.note)


def main() -> int:
    """Measure what was asked for and print one table."""
    options = parse_options()
    print(about())
    if options.section != "start" and not is_sshd_available():
        print("sshd is not installed: only the start of a local run can be measured")
    figures: list[Figure] = []
    for name, section in SECTIONS.items():
        if options.section in ("all", name):
            figures += section(options)
    print(table(figures))
    return 0


def parse_options() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.strip().partition("\n")[0])
    parser.add_argument("section", nargs="?", choices=["all", *SECTIONS], default="all", help="default: all")
    parser.add_argument("--repeats", type=int, default=11, help="starts of a run, per way (default: 11)")
    parser.add_argument("--jobs", type=int, default=500, help="trivial jobs in a round (default: 500)")
    parser.add_argument("--rounds", type=int, default=3, help="rounds, all ways in turn (default: 3)")
    return parser.parse_args()


def measure_start(options: argparse.Namespace) -> list[Figure]:
    """Wall time of the whole process that runs the example recipe, whose one job is for localhost."""
    with tempfile.TemporaryDirectory() as directory, example_configs(Path(directory)) as configs:
        figures = {way: Figure(f"start: example_parallel.py, {way}", "s") for way in configs}
        for number in range(options.repeats):
            tell(f"start: {number + 1} of {options.repeats}")
            for way, words in configs.items():
                began_s = time.perf_counter()
                run([sys.executable, str(EXAMPLE), "-j", "foo", *words], directory)
                figures[way].samples.append(time.perf_counter() - began_s)
    return list(figures.values())


@contextmanager
def example_configs(directory: Path) -> Iterator[dict[str, list[str]]]:
    """Yield the options that make the example run in each way."""
    configs = {"local": ["-c", str(write_config(directory, "local", "[remote]\nmethod = local\n"))]}
    if not is_sshd_available():
        yield configs
        return
    with ssh_hosts(1, names=["localhost"]) as hosts:
        for client in CLIENTS:
            configs[f"ssh ({client})"] = ["-c", str(write_config(directory, client, config_text(hosts, client)))]
        yield configs


def measure_master(options: argparse.Namespace) -> list[Figure]:
    """Processor time of the master for a trivial job: what ten times as many take more, so without the start."""
    many, few = 4 * options.jobs, 4 * options.jobs // 10
    with tempfile.TemporaryDirectory() as directory, example_configs(Path(directory)) as configs:
        figures = {way: Figure(f"master: {way}, {many} jobs", "ms/job") for way in configs}
        for number in range(options.rounds):
            for way, words in configs.items():
                tell(f"master: {number + 1} of {options.rounds}, {way}")
                cpu_s = [cpu_of_master(jobs, words, directory) for jobs in (many, few)]
                figures[way].samples.append((cpu_s[0] - cpu_s[1]) / (many - few) * 1000)
    return list(figures.values())


def cpu_of_master(jobs: int, words: Sequence[str], directory: str) -> float:
    """Run so many trivial jobs on localhost and return the processor time of the master, s."""
    done = run([sys.executable, str(TRIVIAL), f"--jobs={jobs}", f"--max-per-node={AT_ONCE}", *words], directory)
    return float(next(line for line in done.stdout.splitlines() if line.startswith("cpu_s")).split(" = ")[1])


def measure_limit(options: argparse.Namespace) -> list[Figure]:
    """The highest number of jobs seen at once on each of two hosts, where 3 are allowed."""
    if not is_sshd_available():
        return []
    limit, figures = 3, []
    with tempfile.TemporaryDirectory() as directory, ssh_hosts(2) as hosts:
        for client in CLIENTS:
            config = write_config(Path(directory), client, config_text(hosts, client))
            words = [str(TRIVIAL), "-c", str(config), "--jobs=100", "--hosts=[node1, node2]", "--work_s=0.3"]
            done = run([sys.executable, *words, f"--max-per-node={limit}"], directory)
            values = dict(line.split(" = ") for line in done.stdout.splitlines() if " = " in line)
            for host, highest in (pair.split(":") for pair in values["at_once"].split()):
                what = f"limit {limit}: 50 jobs on {host}, {client}"
                figures.append(Figure(what, "at once", [float(highest)], f"{values['seconds']} s for both hosts"))
    return figures


SECTIONS: dict[str, Callable[[argparse.Namespace], list[Figure]]] = {
    "start": measure_start,
    "master": measure_master,
    "limit": measure_limit,
}


def run(words: Sequence[str], directory: Path | str) -> subprocess.CompletedProcess[str]:
    """Run a program to its end; what it says is kept."""
    done = subprocess.run(
        words, cwd=directory, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=TIMEOUT_S, check=False
    )
    if done.returncode:
        raise SystemExit(f"{' '.join(words)}: exit status {done.returncode}: {done.stderr[-2000:]}")
    return done


def write_config(directory: Path, name: str, text: str) -> Path:
    """Write a configuration and return its path."""
    path = directory / f"{name}.cfg"
    path.write_text(text)
    return path


def config_text(hosts: SshHosts, client: str) -> str:
    """Return a configuration for throw-away hosts and one of the two clients."""
    return hosts.config_text() + f"ssh_client = {client}\n"


def about() -> str:
    """Say what the figures were made on."""
    programs = {"ssh": "-V", "sshd": "-V"}
    lines = {**machine(), "paramiko": distribution_version("paramiko")}
    lines |= {name: program_version(name, option) for name, option in programs.items()}
    return lay_out(list(lines.items()))


def table(figures: Sequence[Figure]) -> str:
    """Lay out the rows under each other."""
    return "\n" + lay_out([("WHAT", "MEDIAN", "RANGE", "N", "NOTE"), *(figure.cells() for figure in figures)])


if __name__ == "__main__":
    sys.exit(main())
