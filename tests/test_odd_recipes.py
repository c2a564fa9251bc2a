"""Recipes that use threads, end in odd ways, or are started in odd ways."""

import os
import select
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from harness import with_warm

PROJECT = Path(__file__).resolve().parents[1]
ODD = PROJECT / "tests/recipes/master/odd.py"
TIMEOUT_S = 60


def start(
    place: Path, what: str, *words: str, recipe: Path = ODD, prefix: tuple[str, ...] = ()
) -> subprocess.Popen[str]:
    """Start the recipe `odd` in `place`."""
    (place / ".pipeline.cfg").write_text(with_warm("[remote]\n"))
    return subprocess.Popen(
        [*prefix, sys.executable, str(recipe), "--what", what, *words],
        cwd=place,
        env={**os.environ, "PYTHONPATH": str(PROJECT), "HOME": str(place)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run(place: Path, what: str, *words: str, recipe: Path = ODD) -> tuple[int, str, str]:
    """Run the recipe `odd`; returns its status and what it said."""
    process = start(place, what, *words, recipe=recipe)
    try:
        said, complained = process.communicate(timeout=TIMEOUT_S)
    finally:
        process.kill()
    return process.returncode, said, complained


def test_threads_share_one_dispatcher(tmp_path: Path) -> None:
    """Threads that submit first at the same moment get jobs of one run, each job one id."""
    status, _, complained = run(tmp_path, "threads")

    assert (status, complained) == (0, "")


def test_ctrl_c_ends_jobs_that_threads_wait_for(tmp_path: Path) -> None:
    """A recipe that waits for its own threads is interrupted as quickly as any other."""
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    process = start(tmp_path, "pool", "--fifo", str(fifo))
    try:
        descriptor = os.open(fifo, os.O_RDWR)
        assert select.select([descriptor], [], [], TIMEOUT_S)[0]
        pidfd = os.pidfd_open(int(os.read(descriptor, 100)))
        os.close(descriptor)
        process.send_signal(signal.SIGINT)

        process.communicate(timeout=30)

        assert process.returncode == 130
        assert select.select([pidfd], [], [], 0)[0], "the job goes on"
        os.close(pidfd)
    finally:
        process.kill()
        process.communicate(timeout=TIMEOUT_S)


def test_a_thread_that_submits_after_the_end_is_told(tmp_path: Path) -> None:
    """Nobody waits for ever for a run that has ended."""
    status, _, complained = run(tmp_path, "late")

    assert status == 0
    assert "the run has been ended: it takes no more jobs" in complained


def test_a_status_that_cannot_be_one_is_a_failure(tmp_path: Path) -> None:
    """256 would be 0 for the shell."""
    status, _, complained = run(tmp_path, "status_256")

    assert status == 1
    assert "go() returned 256; expected an exit status from 0 to 255" in complained


def test_a_lost_host_is_told_through_a_task(tmp_path: Path) -> None:
    """Exit status 3 whether the job was lost in the recipe or in a task that it runs."""
    (tmp_path / "tasks.cfg").write_text("[lost]\nrecipe = odd\n")

    status, _, _ = run(tmp_path, "lost_in_task", "-t", "tasks.cfg")

    assert status == 3


def test_inputs_know_what_was_not_given(tmp_path: Path) -> None:
    """Recipes join job name, start time and directories into paths; and keep the path they were started by."""
    link = tmp_path / "linked"
    link.symlink_to(ODD.parent)

    status, said, _ = run(tmp_path, "known_inputs", recipe=link / "odd.py")

    assert (status, said.splitlines()[0]) == (0, "True False")
    assert str(ODD) not in said


def test_a_dry_run_ends_where_results_are_needed(tmp_path: Path) -> None:
    """What only a real job gives ends the dry run with a line and status 0."""
    status, said, complained = run(tmp_path, "wants_results", "-n")

    assert (status, complained) == (0, "")
    assert "The dry run ends here: the recipe asks for 'words' of job 1 (true), which did not run" in said


def test_outputs_of_a_cooked_recipe_that_the_caller_has_not_are_left_out(tmp_path: Path) -> None:
    """A recipe may have more outputs than the one that calls it and passes its own."""
    status, said, complained = run(tmp_path, "cooks")

    assert (status, complained) == (0, "")
    assert said.splitlines()[-2:] == ["Results:", "key = mine"]


def test_results_cannot_forge_lines(tmp_path: Path) -> None:
    """A result stays on its line and does nothing to the terminal."""
    _, said, _ = run(tmp_path, "forged")

    assert said.splitlines()[1] == r"key = a\nkey2 = \x1b[31mred"


@pytest.mark.parametrize("name", ["json", "pipeline", "BaseRecipe"])
def test_new_refuses_names_that_would_hide_modules(name: str, tmp_path: Path) -> None:
    """A recipe's folder comes first on sys.path."""
    command = [sys.executable, "-m", "pipeline.cli.main", "new", name]
    done = subprocess.run(
        command, cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(PROJECT)}, capture_output=True, timeout=TIMEOUT_S
    )

    assert (done.returncode, list(tmp_path.iterdir())) == (2, [])


def test_runs_of_one_second_have_files_of_their_own(tmp_path: Path) -> None:
    """Two starts of a job within a second leave two log directories."""
    for _ in range(3):
        run(tmp_path, "known_inputs")

    assert len(list((tmp_path / "runs/odd/logs").iterdir())) == 3


def test_nohup_is_respected(tmp_path: Path) -> None:
    """A run started with SIGHUP ignored is not ended by it."""
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    process = start(tmp_path, "pool", "--fifo", str(fifo), prefix=("nohup",))
    try:
        descriptor = os.open(fifo, os.O_RDWR)
        assert select.select([descriptor], [], [], TIMEOUT_S)[0]
        pidfd = os.pidfd_open(int(os.read(descriptor, 100)))
        os.close(descriptor)
        process.send_signal(signal.SIGHUP)
        signal.pidfd_send_signal(pidfd, signal.SIGTERM)
        os.close(pidfd)

        process.communicate(timeout=30)

        assert process.returncode == 0
    finally:
        process.kill()
        process.communicate(timeout=TIMEOUT_S)
