"""
The scheduler alone: no host, no process, no clock. What an event costs, what a job takes, and how both grow.

Every job is submitted, started, reported as running and as ended well; each host has four slots. Jobs have one host,
or three to choose from, two of them drawn by lot, or all the same pair. Each row is a process of its own.
"""

import argparse
import json
import os
import random
import subprocess
import sys
import time
from collections import deque

from pipeline.model.jobs import JobState
from pipeline.model.parameters import Parameters
from pipeline.schedule.events import AttemptEnded, AttemptStarted, HostUp, JobPlan, Start, Submitted
from pipeline.schedule.machine import Schedule

SLOTS = 4
ROWS = [  # jobs, hosts, hosts a job may run on
    *((jobs, 1000, 1) for jobs in (10_000, 100_000, 1_000_000)),
    *((100_000, hosts, 1) for hosts in (1, 10, 100, 10_000)),
    *((jobs, 1000, 3) for jobs in (10_000, 100_000)),
    *((100_000, hosts, 3) for hosts in (10, 100, 10_000)),
    *((jobs, 2, 2) for jobs in (100_000, 1_000_000)),
]
LOTS = random.Random(1)  # noqa: S311  # the same jobs in each run
TIMEOUT_S = 900.0


def main() -> int:
    """Print a table; with three numbers, one row as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.strip().partition("\n")[0])
    parser.add_argument("row", nargs="*", type=int, help="jobs, hosts, and hosts a job may run on")
    row = parser.parse_args().row
    if row:
        print(json.dumps(simulate(*row)))
        return 0
    print(f"python {sys.version.split()[0]}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    print(f"{'JOBS':>9} {'HOSTS':>6} {'A JOB HAS':>9} {'EVENTS':>9} {'US/EVENT':>9} {'KB/JOB':>7}")
    for jobs, hosts, choice in ROWS:
        words = [sys.executable, __file__, str(jobs), str(hosts), str(choice)]
        done = subprocess.run(words, stdout=subprocess.PIPE, timeout=TIMEOUT_S, check=True)
        found = json.loads(done.stdout)
        figures = f"{found['events']:>9} {found['us_per_event']:>9.2f} {found['kb_per_job']:>7.2f}"
        print(f"{jobs:>9} {hosts:>6} {choice:>9} {figures}", flush=True)
    return 0


def simulate(jobs: int, hosts: int, choice: int) -> dict[str, float]:
    """
    Run all jobs through a schedule.

    Returns:
        The number of events, processor time of each in µs (with making it), and memory of a job in kB (with its plan).
    """
    names = [f"node{number:05}" for number in range(hosts)]
    before_bytes = resident_bytes()
    began_s = time.process_time()
    plans = (JobPlan(i, may_run_on(names, i, choice), SLOTS) for i in range(jobs))
    schedule = Schedule(Parameters(), lambda: 0.5)
    schedule.handle(Submitted(tuple(plans)), 0.0)
    kb_per_job = (resident_bytes() - before_bytes) / jobs / 1000
    events, ended = 1, 0
    running: deque[Start] = deque()
    for name in names:
        running += [one for one in schedule.handle(HostUp(name, SLOTS), 1.0) if isinstance(one, Start)]
        events += 1
    while running:
        job_id, attempt, host = running[0].job_id, running[0].attempt, running.popleft().host
        schedule.handle(AttemptStarted(job_id, attempt, host), 2.0)
        got = schedule.handle(AttemptEnded(job_id, attempt, host, JobState.OK), 3.0)
        running += [one for one in got if isinstance(one, Start)]
        events += 2
        ended += 1
    if ended != jobs:
        raise SystemExit(f"{ended} of {jobs} jobs ended")
    us_per_event = (time.process_time() - began_s) / events * 1e6
    return {"events": events, "us_per_event": us_per_event, "kb_per_job": kb_per_job}


def may_run_on(names: list[str], number: int, choice: int) -> tuple[str, ...]:
    """Return the hosts of a job: one in turn and others by lot, or all of them, in the same order for all jobs."""
    return tuple(names) if choice == len(names) else (names[number % len(names)], *LOTS.sample(names, choice - 1))


def resident_bytes() -> int:
    """Return what of this process is in memory now."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


if __name__ == "__main__":
    sys.exit(main())
