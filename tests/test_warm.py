"""Warm processes: when a script gets one, when it must not, how long it lives, and what happens when it does not."""

import os
import resource
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from agent_driver import AgentDriver, eventually, is_alive, running_agent
from pythons import find_pythons

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs /proc and child subreapers")

Start = Callable[..., AgentDriver]

# In `beside.py`, which the script imports: what must not be done once for all jobs.
UNFIT = {
    "import threading, time\nthreading.Thread(target=time.sleep, args=(300,), daemon=True).start()": "start threads",
    "import socket\ns = socket.socket()": "leave socket:[",
    "f = open(__file__)": "beside.py open",
    "print('hello')": "they print: 'hello'",
    "import os\nos.write(2, b'hello')": "they call write",
    "import os\npid = os.getpid()": "they call getpid",
    "from os import getpid\npid = getpid()": "they call getpid",
    "import time\nbegan = time.time()": "they call time",
    "import datetime\nbegan = datetime.datetime.now()": "they call datetime.now",
    "import uuid\nrun = uuid.uuid4()": "they call urandom",
    "import random\nrandom.seed(5)": "they call Random.seed",
    "import tempfile\nplace = tempfile.mkdtemp()": "they call",
    "import os\njob = os.environ.get('PIPELINE_JOB_ID')": "they read PIPELINE_JOB_ID",
    "import os\ncopy = dict(os.environ)": "they copy the environment",
    "import sys\nis_loud = '--loud' in sys.argv": "they read sys.argv",
    "import subprocess\np = subprocess.Popen(['sleep', '300'])": "they start processes",
    "import os\nos.system('true')": "they start processes",
    "import subprocess\nday = subprocess.check_output(['date'])": "they start processes",
    "import os\nos.fork() or os._exit(0)": "they start processes",
    "import time\nbegan = time.strftime('%H:%M')": "they call strftime",
    "import time\nbegan = time.ctime()": "they call ctime",
    "import time\nbegan = time.clock_gettime(time.CLOCK_REALTIME)": "they call clock_gettime",
    "import os\nsession = os.getsid(0)": "they call getsid",
    "import os\ngroup = os.getpgrp()": "they call getpgrp",
    "import sqlite3\nsqlite3.connect(__file__ + '.db').close()": "they call connect",
    "open(__file__ + '.lock', 'w').close()": "beside.py.lock",
    "import pathlib\npathlib.Path(__file__ + '.lock').write_text('')": "they write",
    "import os\nos.close(os.open(__file__ + '.lock', os.O_RDWR | os.O_CREAT))": "beside.py.lock",
    "import os\njob = os.environb.get(b'PIPELINE_JOB_ID')": "they read PIPELINE_JOB_ID",
    "import os\ncopy = dict(os.environb)": "they copy the environment",
    "import sys\nwords = sys.argv.copy()": "they read sys.argv",
    "import sys\nwords = getattr(sys, 'orig_argv', sys.argv)[1:]": "they read sys.argv",
    "import sys\nwords = sys.argv + []": "they read sys.argv",
    "import sys\nwords = [] + sys.argv": "they read sys.argv",
    "import sys\nwords = list(sys.argv)": "they read sys.argv",
    "import sys\nis_alone = sys.argv == ['x']": "they read sys.argv",
    "import sys\nfirst, *others = sys.argv": "they read sys.argv",
    "import sys\nwords = ' '.join(sys.argv)": "they read sys.argv",
    "import signal\nsignal.setitimer(signal.ITIMER_VIRTUAL, 300)": "they set a timer",
    "import signal\nsignal.setitimer(signal.ITIMER_PROF, 300)": "they set a timer",
    "import sys\nsys.setprofile(lambda *_: None)": "they trace or profile",
    "import sys\nsys.settrace(lambda *_: None)": "they trace or profile",
    "import signal\nsignal.setitimer(signal.ITIMER_REAL, 300)": "they set a timer",
    "import mmap\nm = mmap.mmap(-1, 4096)": "they share memory: /dev/zero (deleted)",
    "import __main__\nmain = __main__": "they keep __main__",
    "import no_such_module": "ModuleNotFoundError: No module named 'no_such_module'",
    "raise SystemExit('not today')": "SystemExit: not today",
    "import os\nos._exit(3)": "they end the process",
}

# Says that it runs, and goes on when it can read a byte from the FIFO beside it.
WAITS = """
import os, sys

sys.stdout.write("pids %d\\n" % os.getpid())
sys.stdout.flush()
os.read(os.open(os.path.join(os.path.dirname(__file__), "go"), os.O_RDONLY), 1)
sys.exit(7)
"""


@pytest.fixture
def go(tmp_path: Path) -> Iterator[int]:
    """Make the FIFO; each byte that is written into this descriptor lets one job of WAITS go on."""
    os.mkfifo(tmp_path / "go")
    descriptor = os.open(tmp_path / "go", os.O_RDWR | os.O_NONBLOCK)
    yield descriptor
    os.close(descriptor)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start an agent that has warm processes, with the setup given."""
    with ExitStack() as stack:
        setup = {"warm": "at once", "kill_grace": 0.3}
        yield lambda **more: stack.enter_context(running_agent(sys.executable, tmp_path, **{**setup, **more}))


def write(directory: Path, text: str, name: str = "script.py") -> str:
    """Write a script and return its path."""
    (directory / name).write_text(text)
    return str(directory / name)


def hang_in_warm_process(directory: Path) -> str:
    """Write a script whose import never comes back in a warm process; returns its path."""
    text = "import os, time\nif b'warm.py' in open('/proc/self/cmdline', 'rb').read():\n    time.sleep(300)"
    write(directory, text, "beside.py")
    return write(directory, "import beside\nprint('done')")


def children(pid: int) -> list[int]:
    """Return the children of a process."""
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def warm_pid(agent: AgentDriver) -> int:
    """Return the pid of the agent's only child, its warm process."""
    (pid,) = children(agent.hello["pid"])
    return pid


def opened(pid: int) -> list[str]:
    """Return the names of the files that a process has open."""
    return [os.path.realpath(entry) for entry in Path(f"/proc/{pid}/fd").iterdir()]


def test_the_first_job_of_a_script_is_started_and_later_ones_are_forked(start: Start, tmp_path: Path) -> None:
    """One job alone does not pay for a warm process; the second has one started, and waits for it."""
    agent = start(warm="auto")
    path = write(tmp_path, "import json\nprint(json)")

    first = agent.run_script(path)
    assert (first.header["warm"], children(agent.hello["pid"])) == (False, [])

    assert agent.run_script(path).header["warm"]
    assert warm_pid(agent)


@pytest.mark.parametrize("way", ["off", "job"])
def test_what_shall_not_be_forked_is_started(start: Start, tmp_path: Path, way: str) -> None:
    """Neither with `warm = off` for all nor with `warm=False` for a job is there a warm process."""
    agent = start(**({"warm": "off"} if way == "off" else {}))
    path = write(tmp_path, "pass")

    results = [agent.run_script(path, **({"warm": False} if way == "job" else {})) for _ in range(3)]

    assert [result.header["warm"] for result in results] == [False] * 3
    assert children(agent.hello["pid"]) == []


@pytest.mark.parametrize("text", UNFIT)
def test_imports_that_do_not_suit_many_jobs(start: Start, tmp_path: Path, text: str) -> None:
    """Such a script is started for each job, the log says why, once, and nothing of the attempt is left."""
    write(tmp_path, text, "beside.py")
    path = write(tmp_path, "import beside\n")
    agent = start()

    results = [agent.run_script(path, environment={"PYTHONDONTWRITEBYTECODE": "1"}) for _ in range(3)]

    assert [result.header["warm"] for result in results] == [False] * 3
    (note,) = agent.notes
    assert UNFIT[text] in note
    assert note.startswith("script.py: a Python is started for each job, as its imports do not suit many: ")
    eventually(lambda: children(agent.hello["pid"]) == [])


@pytest.mark.parametrize(
    "text",
    [
        "import os, time\npid = os.getpid\nnow = time.time",
        "import logging\nlog = logging.getLogger(__name__)",
        "import os\nhome = os.environ.get('HOME')",
        "import sys\nname = sys.argv[0]",
        "import random, uuid, tempfile, multiprocessing, subprocess, socket, ssl, asyncio, concurrent.futures",
        "import json, sqlite3, ctypes, logging.handlers, platform, zipfile, http.server, dbm, shelve",
        "text = open(__file__).read()",
        "import os\nopen(os.devnull, 'w').close()",
        "def f():\n    import os\n    return os.getpid()",
        "import os, threading\nend = threading.Event()\nthread = threading.Thread(target=end.wait)\nthread.start()\n"
        "os.register_at_fork(before=lambda: (end.set(), thread.join()))",
    ],
)
def test_imports_that_suit(start: Start, tmp_path: Path, text: str) -> None:
    """What an import only makes ready for later does no harm."""
    write(tmp_path, text, "beside.py")
    path = write(tmp_path, "import beside\nprint(sorted(vars(beside)))")
    agent = start()

    assert agent.run_script(path).header["warm"], agent.notes


def test_what_stands_before_an_import_is_heeded(start: Start, tmp_path: Path) -> None:
    """What a script does before an import has been done before that import, as in a Python of its own."""
    write(tmp_path, "import os\nseen = os.environ.get('THREADS')", "beside.py")
    path = write(tmp_path, "import os\nfor x in '4':\n    os.environ['THREADS'] = x\nimport beside\nprint(beside.seen)")

    result = start().run_script(path)

    assert (result.header["warm"], result.out) == (True, b"4\n")


def test_what_a_package_loads_on_first_use_is_loaded_before(start: Start, tmp_path: Path) -> None:
    """A part of a package that a script uses by name, as in `numpy.random`, is imported once for all jobs."""
    (tmp_path / "lazy").mkdir()
    loads = "def __getattr__(name):\n    import importlib\n    return importlib.import_module('lazy.' + name)\n"
    write(tmp_path / "lazy", loads, "__init__.py")
    write(tmp_path / "lazy", "x = 1", "part.py")
    code = "import lazy, sys, typing\nprint('lazy.part' in sys.modules)\ntyping.NoSuchName\nlazy.part.x"

    result = start().run_script(write(tmp_path, code))

    assert (result.header["warm"], result.out) == (True, b"True\n")


def test_the_imports_were_done_before(start: Start, tmp_path: Path) -> None:
    """Two jobs of a script share what was imported, and nothing that they did to it."""
    write(tmp_path, "things = []\n", "beside.py")
    path = write(tmp_path, "import beside\nprint(id(beside), beside.things)\nbeside.things.append(1)\n")
    agent = start()

    first, second = agent.run_script(path), agent.run_script(path)

    assert first.out == second.out
    assert first.out.endswith(b" []\n")


@pytest.mark.parametrize("name", ["script.py", "beside.py"])
def test_a_change_is_seen(start: Start, tmp_path: Path, name: str) -> None:
    """When the script or a module beside it changes, its next job does what is in the file then."""
    text = {"script.py": "import beside\nprint('old', beside.x)\n", "beside.py": "x = 'old'\n"}
    for file in text:
        write(tmp_path, text[file], file)
    agent = start()
    script, environment = str(tmp_path / "script.py"), {"PYTHONDONTWRITEBYTECODE": "1"}
    assert agent.run_script(script, environment=environment).out == b"old old\n"

    write(tmp_path, text[name].replace("old", "newer"), name)
    result = agent.run_script(script, environment=environment)

    assert result.out == (b"newer old\n" if name == "script.py" else b"old newer\n")
    assert result.header["warm"]


def test_a_change_while_imports_run_is_seen(start: Start, tmp_path: Path, go: int) -> None:
    """What was imported just before it changed is not what later jobs get."""
    write(tmp_path, "x = 'old'", "early.py")
    write(tmp_path, "with open(__file__[:-7] + 'go', 'rb', 0) as go:\n    go.read(1)", "late.py")
    path = write(tmp_path, "import early, late\nprint(early.x)")
    agent = start()
    job = agent.start(["python", path], script=True, environment={"PYTHONDONTWRITEBYTECODE": "1"})
    eventually(lambda: children(agent.hello["pid"]) and str(tmp_path / "go") in opened(warm_pid(agent)))

    write(tmp_path, "x = 'newer'", "early.py")
    write(tmp_path, "", "late.py")
    os.write(go, b".")

    result = agent.result(job)
    assert (result.header["warm"], result.out) == (True, b"newer\n")


def test_a_change_of_what_a_module_has_read_is_seen(start: Start, tmp_path: Path) -> None:
    """A file that an import of the user's read is heeded as the modules are."""
    write(tmp_path, "old", "its.conf")
    write(tmp_path, "import pathlib\ntext = pathlib.Path(__file__).with_name('its.conf').read_text()", "beside.py")
    path = write(tmp_path, "import beside\nprint(beside.text)")
    agent = start()
    assert agent.run_script(path).out == b"old\n"

    write(tmp_path, "newer", "its.conf")

    result = agent.run_script(path)
    assert (result.header["warm"], result.out) == (True, b"newer\n")


@pytest.mark.parametrize("file", ["selectors.py", "ast/__init__.py", "json/__init__.py"])
def test_a_module_of_the_name_of_one_of_pythons(start: Start, tmp_path: Path, file: str) -> None:
    """A script that has one beside it gets that one, though the warm process itself has imported the other."""
    (tmp_path / "ast").mkdir()
    (tmp_path / "json").mkdir()
    write(tmp_path, "mine = 'mine'", file)
    name = file.partition("/")[0].partition(".")[0]
    agent = start()

    result = agent.run_script(write(tmp_path, f"import {name}\nprint({name}.mine)"))

    assert (result.header["warm"], result.out) == (False, b"mine\n")
    assert f"a module {name} of yours hides Python's" in agent.notes[0]


def test_directories_of_the_names_of_pythons_modules_do_no_harm(start: Start, tmp_path: Path) -> None:
    """What is no module hides none."""
    (tmp_path / "select").mkdir()
    write(tmp_path, "", "ast.txt")

    assert start().run_script(write(tmp_path, "import ast, select")).header["warm"]


def test_a_python_in_a_pid_namespace_of_its_own(start: Start, tmp_path: Path) -> None:
    """A forked job could tell only what its pid is in there; so it is started, and the agent knows it."""
    wrapper = write(tmp_path, f'#!/bin/sh\nexec unshare -r --pid --fork "{sys.executable}" "$@"\n', "python")
    os.chmod(wrapper, 0o700)
    if subprocess.run([wrapper, "-c", ""], capture_output=True, timeout=20).returncode:
        pytest.skip("needs the right to make namespaces")
    agent = start(python=wrapper)

    result = agent.run_script(write(tmp_path, "import os\nprint(os.getpid())"))

    assert (result.header["warm"], result.out) == (False, b"1\n")
    assert "PID namespace" in agent.notes[0]


def test_a_python_behind_a_wrapper_forks(start: Start, tmp_path: Path) -> None:
    """One that stays as its parent, as some environments have, does no harm."""
    wrapper = write(tmp_path, f'#!/bin/sh\n"{sys.executable}" "$@"\nexit $?\n', "python")
    os.chmod(wrapper, 0o700)

    result = start(python=wrapper).run_script(write(tmp_path, "print(1)"))

    assert (result.header["warm"], result.out) == (True, b"1\n")


def test_a_script_that_was_mended_gets_a_process(start: Start, tmp_path: Path) -> None:
    """What did not suit is looked at again when it has changed."""
    path = write(tmp_path, "import beside\n")
    write(tmp_path, "print('x')", "beside.py")
    agent = start()
    assert not agent.run_script(path).header["warm"]

    write(tmp_path, "import json\n")

    assert agent.run_script(path).header["warm"]


def test_imports_that_take_too_long(start: Start, tmp_path: Path) -> None:
    """A process that does not get ready is given up; the jobs that wait for it are started the other way."""
    path = hang_in_warm_process(tmp_path)
    agent = start(warm_limits={"import_s": 0.2, "look_s": 0.05}, beat_interval=0.1)

    jobs = [agent.start(["python", path], script=True) for _ in range(3)]

    assert [agent.result(job).out for job in jobs] == [b"done\n"] * 3
    assert "they take more than 0 s" in agent.notes[0]
    eventually(lambda: children(agent.hello["pid"]) == [])


def test_a_job_that_waits_for_imports_can_be_cancelled(start: Start, tmp_path: Path) -> None:
    """It ends at once, however long the imports take."""
    agent = start(warm_limits={"import_s": 300.0})
    job = agent.start(["python", hang_in_warm_process(tmp_path)], script=True)
    eventually(lambda: children(agent.hello["pid"]))

    agent.send({"k": "cancel", "job": job, "attempt": 1})

    assert agent.result(job).state == "CANCELLED"
    assert agent.kinds[job] == ["result"]  # nothing was started in order to be ended


def test_a_stop_does_not_wait_for_imports(start: Start, tmp_path: Path) -> None:
    """The agent leaves with a process whose imports hang, and with the jobs that wait for it."""
    agent = start(warm_limits={"import_s": 300.0})
    job = agent.start(["python", hang_in_warm_process(tmp_path)], script=True)
    eventually(lambda: children(agent.hello["pid"]))

    agent.send({"k": "stop", "grace_s": 0.2})

    assert agent.result(job).state == "CANCELLED"
    assert agent.wait() == 0


def test_a_process_that_was_killed_before_it_was_ready_is_followed_by_another(start: Start, tmp_path: Path) -> None:
    """Who kills one, as the system does when memory is short, does not make its script a slow one."""
    agent = start(warm_limits={"import_s": 300.0})
    path = hang_in_warm_process(tmp_path)
    jobs = [agent.start(["python", path], script=True) for _ in range(3)]
    eventually(lambda: children(agent.hello["pid"]))
    pid = warm_pid(agent)

    os.kill(pid, signal.SIGSTOP)
    write(tmp_path, "", "beside.py")
    os.kill(pid, signal.SIGKILL)

    results = [agent.result(job) for job in jobs]
    assert [result.header["warm"] for result in results] == [True] * 3
    assert agent.notes == []


def test_there_are_few_processes(start: Start, tmp_path: Path) -> None:
    """The one that was not used for the longest time makes room for another script's."""
    agent = start(warm_limits={"rest_s": 0.0})
    most = max(2, len(os.sched_getaffinity(0)))

    for number in range(most + 3):
        assert agent.run_script(write(tmp_path, f"x = {number}", f"script{number}.py")).header["warm"]

    eventually(lambda: len(children(agent.hello["pid"])) == most)


def test_scripts_in_turn_do_not_drive_each_other_out(start: Start, tmp_path: Path) -> None:
    """A process that has just had a job is not ended for another script's, whose jobs start a Python meanwhile."""
    agent = start(warm_limits={"rest_s": 300.0})
    most = max(2, len(os.sched_getaffinity(0)))
    paths = [write(tmp_path, "pass", f"script{number}.py") for number in range(most + 1)]

    forked = [agent.run_script(path).header["warm"] for path in paths * 2]

    assert forked == [*[True] * most, False] * 2


def test_an_idle_process_ends(start: Start, tmp_path: Path) -> None:
    """Without jobs it goes after a while."""
    agent = start(warm_limits={"idle_s": 0.2, "look_s": 0.05}, beat_interval=0.1)

    assert agent.run_script(write(tmp_path, "pass")).header["warm"]

    eventually(lambda: children(agent.hello["pid"]) == [])


def test_jobs_outlive_their_warm_process(start: Start, tmp_path: Path, go: int) -> None:
    """When it is killed its jobs go on, and their exit status is told; the next job starts as usual."""
    agent = start()
    path = write(tmp_path, WAITS)
    jobs = [agent.start(["python", path], script=True, cwd=str(tmp_path)) for _ in range(3)]
    for job_id in jobs:
        agent.wait_for_pids(job_id)

    os.kill(warm_pid(agent), signal.SIGKILL)
    eventually(lambda: sorted(children(agent.hello["pid"])) == sorted(agent.pids[job_id] for job_id in jobs))
    os.write(go, b"....")  # one for each of them and one for the job that comes after

    results = [agent.result(job_id) for job_id in jobs]
    assert [(r.returncode, r.header["warm"], r.header["left_behind"]) for r in results] == [(7, True, 0)] * 3
    assert agent.run_script(path, cwd=str(tmp_path)).header["warm"]


def test_a_job_is_done_once_though_its_process_was_killed_with_requests_unread(start: Start, tmp_path: Path) -> None:
    """What the process and its jobs have said is there still; the system tells of the unread requests before it."""
    hold = "lambda: os.path.exists('armed') and os.open('held', os.O_RDONLY)"
    write(tmp_path, f"import os\nos.register_at_fork(after_in_parent={hold})", "holding.py")
    write(tmp_path, "import holding, sys\nwith open('ran', 'a') as file:\n    file.write(sys.argv[-1])", "script.py")
    os.mkfifo(tmp_path / "held")  # who opens it waits for a writer
    agent = start()

    def begin(name: str) -> int:
        return agent.start(["python", str(tmp_path / "script.py")], name, script=True, cwd=str(tmp_path))

    agent.result(begin("."))
    (tmp_path / "armed").touch()
    pid = warm_pid(agent)
    os.kill(pid, signal.SIGSTOP)
    jobs = [begin("A"), begin("B")]
    agent.send({"k": "stat", "id": 1}, [])
    agent.take_in_until(lambda: 1 in agent.stats)  # now the process has been asked for both
    os.kill(agent.hello["pid"], signal.SIGSTOP)
    os.kill(pid, signal.SIGCONT)
    eventually(lambda: (tmp_path / "ran").read_text() == ".A")
    os.kill(pid, signal.SIGKILL)
    eventually(lambda: not is_alive(pid))
    (tmp_path / "armed").unlink()
    os.kill(agent.hello["pid"], signal.SIGCONT)

    results = [agent.result(job) for job in jobs]
    assert [(result.state, result.header["warm"]) for result in results] == [("OK", True), ("OK", False)]
    assert (tmp_path / "ran").read_text() == ".AB"


def test_a_job_whose_warm_process_is_stopped_can_be_cancelled(start: Start, tmp_path: Path) -> None:
    """It is not waited for as long as if the job were wanted."""
    agent = start(warm_limits={"answer_s": 300.0, "haste_s": 0.1, "look_s": 0.05}, beat_interval=0.1)
    path = write(tmp_path, "pass")
    assert agent.run_script(path).header["warm"]
    os.kill(warm_pid(agent), signal.SIGSTOP)
    job = agent.start(["python", path], script=True)

    agent.send({"k": "cancel", "job": job, "attempt": 1})

    assert agent.result(job).state == "CANCELLED"
    assert agent.kinds[job] == ["result"]


def test_a_directory_that_was_replaced_is_another(start: Start, tmp_path: Path) -> None:
    """A link that leads elsewhere by now is followed anew, and in a directory that is gone no job starts."""
    agent = start()
    for name in ("old", "new"):
        (tmp_path / name).mkdir()
        write(tmp_path / name, name, "what")
    link = tmp_path / "link"
    path = write(tmp_path, "print(open('what').read())")
    link.symlink_to("old")
    assert agent.run_script(path, cwd=str(link)).out == b"old\n"

    link.unlink()
    link.symlink_to("new")
    result = agent.run_script(path, cwd=str(link))
    link.unlink()

    assert (result.out, result.header["warm"]) == (b"new\n", True)
    assert agent.run_script(path, cwd=str(link)).state == "REFUSED"


def test_a_warm_process_that_hangs_keeps_no_job(start: Start, tmp_path: Path, go: int) -> None:
    """When it is stopped, jobs that ended are reported and jobs it did not start are started."""
    agent = start(warm_limits={"answer_s": 0.2, "look_s": 0.05}, beat_interval=0.1)
    path = write(tmp_path, WAITS)
    running = agent.start(["python", path], script=True, cwd=str(tmp_path))
    agent.wait_for_pids(running)
    os.kill(warm_pid(agent), signal.SIGSTOP)

    asked = agent.start(["python", path], script=True, cwd=str(tmp_path))
    os.write(go, b"..")

    results = [agent.result(running), agent.result(asked)]
    assert [(r.returncode, r.header["warm"]) for r in results] == [(7, True), (7, False)]


@pytest.mark.usefixtures("go")
def test_an_end_that_a_stopped_warm_process_does_not_tell(start: Start, tmp_path: Path) -> None:
    """A cancelled job whose warm process is stopped is reported all the same."""
    agent = start()
    job_id = agent.start(["python", write(tmp_path, WAITS)], script=True, cwd=str(tmp_path))
    agent.wait_for_pids(job_id)
    os.kill(warm_pid(agent), signal.SIGSTOP)

    agent.send({"k": "cancel", "job": job_id, "attempt": 1})

    result = agent.result(job_id)
    assert (result.state, result.returncode, result.header["warm"]) == ("CANCELLED", -15, True)


@pytest.mark.usefixtures("go")
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
@pytest.mark.parametrize("who", ["agent", "guardian"])
def test_no_warm_process_is_left(start: Start, tmp_path: Path, who: str, number: int) -> None:
    """Whoever of agent and guardian ends, and however, the warm processes and their jobs are gone."""
    agent = start()
    job_id = agent.start(["python", write(tmp_path, WAITS)], script=True, cwd=str(tmp_path))
    agent.wait_for_pids(job_id)
    pids = [agent.pids[job_id], warm_pid(agent)]

    os.kill(agent.hello["pid"] if who == "agent" else agent.process.pid, number)

    eventually(lambda: not any(map(is_alive, pids)), 15.0)


def test_a_warm_process_goes_with_its_agent(start: Start, tmp_path: Path) -> None:
    """After an orderly end nothing runs."""
    agent = start()
    agent.run_script(write(tmp_path, "pass"))
    pid = warm_pid(agent)

    agent.send({"k": "stop", "grace_s": 5.0})
    agent.read_to_end()

    assert agent.wait() == 0
    assert not is_alive(pid)


def test_many_at_once(start: Start, tmp_path: Path) -> None:
    """A hundred jobs given at the same time are forked or, when the process has its hands full, started."""
    agent = start()
    path = write(tmp_path, "import os, sys\nprint(os.getpid())\nsys.exit(int(sys.argv[3]))")
    agent.run_script(path, "0")

    jobs = [agent.start(["python", path], str(n), script=True) for n in range(100)]
    results = [agent.result(job_id) for job_id in jobs]

    assert [result.returncode for result in results] == list(range(100))
    assert [int(result.out) for result in results] == [agent.pids[job_id] for job_id in jobs]
    assert sum(result.header["warm"] for result in results) > 10


def test_a_process_short_of_descriptors_lets_jobs_be_started(start: Start, tmp_path: Path) -> None:
    """What it cannot take in, all of it or some, is not lost: the job runs the other way, and the next is forked."""
    agent = start()
    path = write(tmp_path, "import os\nprint(len(os.listdir('/proc/self/fd')))")
    agent.run_script(path)
    limits, warm = resource.prlimit(warm_pid(agent), resource.RLIMIT_NOFILE), {}

    for free in range(4):
        count = len(os.listdir(f"/proc/{warm_pid(agent)}/fd"))
        resource.prlimit(warm_pid(agent), resource.RLIMIT_NOFILE, (count + free, limits[1]))
        warm[free] = agent.run_script(path)
        resource.prlimit(warm_pid(agent), resource.RLIMIT_NOFILE, limits)

    assert [(r.state, r.err, r.header["warm"]) for r in warm.values()] == [("OK", b"", False)] * 4
    assert agent.run_script(path).header["warm"]
    assert len(os.listdir(f"/proc/{warm_pid(agent)}/fd")) == count


@pytest.mark.parametrize("count", [300, 1500])
def test_a_script_of_many_modules(start: Start, tmp_path: Path, count: int) -> None:
    """It is forked, or started with a note when their names are too many for a message."""
    package = tmp_path / ("p" * 100)
    package.mkdir()
    for number in range(count):
        write(package, "", f"m{number:0100d}.py")
    agent = start()
    imports = "".join(f"import {package.name}.m{number:0100d}\n" for number in range(count))

    result = agent.run_script(write(tmp_path, imports), environment={"PYTHONDONTWRITEBYTECODE": "1"})

    assert result.header["warm"] == (count == 300)
    assert [note.partition(": they ")[2] for note in agent.notes] == ["import too many modules"] * (count > 300)


def test_numpy_works_and_draws_other_numbers_in_each_job(start: Start, tmp_path: Path) -> None:
    """What is computed with it in a fork is what is computed in a Python of its own, random numbers are new ones."""
    pytest.importorskip("numpy", reason="needs numpy: pip install numpy")
    code = """
import numpy as np

a = np.arange(90000.0).reshape(300, 300) % 7
print((a @ a.T).sum(), np.linalg.inv(np.eye(2) * 4).tolist(), np.sort(a[::-1, 5])[:9].tolist(), np.fft.fft(a[0])[:3])
print(np.random.default_rng(5).random(), np.random.RandomState(5).random())
print(np.random.random(), np.random.default_rng().random(), np.random.randint(1 << 62))
"""
    path = write(tmp_path, code)
    agent = start()

    results = [agent.run_script(path, warm=is_warm) for is_warm in (False, True, True)]

    assert [result.header["warm"] for result in results] == [False, True, True], agent.notes
    computed, seeded, drawn = zip(*(result.out.splitlines() for result in results), strict=True)
    assert len(set(computed)) == len(set(seeded)) == 1
    assert [len(set(column)) for column in zip(*(line.split() for line in drawn), strict=True)] == [3, 3, 3]


@pytest.mark.parametrize("version", find_pythons())
def test_every_python_forks(tmp_path: Path, version: str) -> None:
    """Each Python that a host may have keeps warm processes."""
    path = write(tmp_path, "import sys\nfrom pipeline import Node\n\n\nclass n(Node):\n    def run(self, a):\n"
    "        self.logger.info(a)\n\n\nsys.exit(n.main())\n")  # fmt: skip
    with running_agent(find_pythons()[version], tmp_path, warm="at once") as agent:
        result = agent.run_script(path, "x")

    assert (result.header["warm"], result.state, result.records[0]["m"]) == (True, "OK", "x")
