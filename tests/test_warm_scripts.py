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

PYTHONS = sorted({next(iter(find_pythons())), list(find_pythons())[-1]})
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

# What `beside.py` in the script's folder holds.
BESIDE = "answer = 42\n\nclass Thing:\n    def __init__(self, x):\n        self.x = x\n\ncache = []\n"

SCRIPTS = {
    "argv": "import os, sys\nprint([os.fsencode(word) for word in [*sys.argv[:2], *sys.argv[3:]]], type(sys.argv))",
    "orig_argv": "import sys\nprint(getattr(sys, 'orig_argv', ['', '', '', '', 0])[1:3], sys.argv[0] == sys.argv[0])",
    "argv by name": "from sys import argv\nprint(argv[3:])",
    "own names": "print(sorted(globals()), __name__, __file__, __package__, __spec__, __doc__)\n"
    "print(type(__loader__), __loader__.name, __loader__.path, __builtins__)\nprint(globals().get('__cached__', 0))",
    "main module": "import sys\nm = sys.modules['__main__']\nprint(m.__dict__ is globals(), m.__name__, m, vars(m) is globals())",
    "path": "import sys\nprint(sys.path[0], len(sys.path), sys.flags, sys.executable, sys.warnoptions, sys.path[-1])",
    "beside": "import beside\nfrom beside import Thing\nprint(beside.answer, beside.__file__, Thing(1).x)",
    "beside, changed": "import beside\nbeside.cache.append(1)\nprint(beside.cache)",
    "relative import": "from . import beside",
    "import in a function": "def f():\n    import beside\n    return beside.answer\nprint(f())",
    "import that fails": "import no_such_module_of_ours",
    "import that is tried": "try:\n    import no_such_module\nexcept ImportError:\n    no_such_module = None\nprint(no_such_module)",
    "syntax error": "x = = 1",
    "no UTF-8": b"# -*- coding: latin-1 -*-\nprint(ascii('\xe9'))",
    "docstring": '"""It\'s this."""\nprint(__doc__)',
    "future": "from __future__ import annotations\ndef f(x: unknown) -> 1: pass\nprint(f.__annotations__)",
    "environment": "import os\nprint(os.environ['PIPELINE_HOST'], os.environ['A B'], sorted(os.environ) == sorted(set(os.environ)))\n"
    "print(sorted(os.environ), os.getenv('PIPELINE_JOB_ID', '').isdigit(), os.system('test -n \"$PIPELINE_JOB_ID\"'))",
    "environment for C": "import os, subprocess, sys\nsys.stdout.flush()\nsubprocess.run(['sh', '-c', 'env | grep -c ^PIPELINE_'])",
    "environment set before an import": "import os\nos.environ['THREADS'] = '1'\nimport json\nprint(os.environ['THREADS'])",
    "directory": "import os\nprint(os.getcwd())",
    "ids": "import os\nprint(os.getpid() == os.getsid(0) == os.getpgrp(), os.getuid(), os.getgroups(), os.nice(0))",
    "descriptors": "import os\nprint(sorted(os.readlink('/proc/self/fd/' + n).split(':')[0] for n in os.listdir('/proc/self/fd')\n"
    "    if os.path.exists('/proc/self/fd/' + n)), [os.get_inheritable(n) for n in range(3)])",
    "standard streams": "import sys, os, stat\nfor s in (sys.stdin, sys.stdout, sys.stderr):\n"
    "    print(s.name, s.mode, s.encoding, s.errors, s.line_buffering, s.fileno(), stat.S_IFMT(os.fstat(s.fileno()).st_mode))\n"
    "print(sys.stdin.read() == '', sys.stdout is sys.__stdout__, sys.stdout.isatty(), len(sys.stdout.buffer.raw.__class__.__name__))",
    "limits": "import resource\nprint([(n, resource.getrlimit(getattr(resource, n))) for n in sorted(dir(resource)) if n.startswith('RLIMIT')])",
    "umask": "import os\nprint(oct(os.umask(0)))",
    "signal handlers": "import signal\nprint([(s, str(signal.getsignal(s)).split(' at ')[0]) for s in sorted(signal.Signals)])\n"
    "print(signal.pthread_sigmask(signal.SIG_BLOCK, []), signal.set_wakeup_fd(-1))",
    "exit by status": "import sys\nsys.exit(int(sys.argv[3]))",
    "exit by text": "import sys\nprint('out')\nsys.exit('it\\'s over')",
    "exit by nothing": "import sys\nsys.exit()",
    "exit by True": "import sys\nsys.exit(True)",
    "exit by a large number": "import sys\nsys.exit(256 + 3)",
    "exit by a negative number": "import sys\nsys.exit(-1)",
    "exit by a tuple": "import sys\nsys.exit((1, 2))",
    "exit at once": "import os\nprint('lost')\nos._exit(5)",
    "exception": "def f():\n    raise ValueError('no such \u00e9')\nf()",
    "exceptions in a chain": "try:\n    1 / 0\nexcept ZeroDivisionError as e:\n    raise KeyError('x') from e",
    "exception with a hook": "import sys\nsys.excepthook = lambda k, v, t: print(k, v, t.tb_lineno)\nraise OSError('x')",
    "exception in a hook": "import sys\ndef hook(*_): raise SystemExit(7)\nsys.excepthook = hook\nraise OSError('x')",
    "interrupt": "raise KeyboardInterrupt",
    "interrupted": "import os, signal\nos.kill(os.getpid(), signal.SIGINT)\nfor i in range(10**9): pass",
    "no memory left": "raise MemoryError",
    "too deep": "import sys\nsys.tracebacklimit = 2\ndef f(): f()\nf()",
    "exit handlers": "import atexit\natexit.register(print, 'first registered')\natexit.register(print, 'last registered')\nprint('end')",
    "exit handler that fails": "import atexit\natexit.register(lambda: 1 / 0)\nprint('end')",
    "exit handlers of an import": "import logging\nclass H(logging.Handler):\n    def flush(self): print('flushed')\n"
    "    def emit(self, r): pass\nh = H()",
    "finalizers": "class F:\n    def __del__(self): print('gone', self.x)\na = F(); a.x = 1\nb = F(); b.x = 2; b.b = b\nprint('end')",
    "finalizer in a library": "import beside\nclass F:\n    def __del__(self): print('gone')\nbeside.cache.append(F())",
    "file never closed": "f = open('left', 'w')\nf.write('written')",
    "file never closed, in a library": "import beside\nbeside.cache.append(open('left', 'w'))\nbeside.cache[0].write('written')",
    "weak references": "import weakref\nclass A: pass\na = A()\nweakref.finalize(a, print, 'finalized')\nprint('end')",
    "output without newline": "import sys\nsys.stdout.write('out')\nsys.stderr.write('err')",
    "output in pieces": "import os, sys\nprint('first')\nos.write(1, b'second\\n')\nprint('third', flush=True)\nos.write(1, b'fourth\\n')",
    "output of all bytes": "import sys\nsys.stdout.buffer.write(bytes(range(256)) * 100)",
    "huge output": "import sys\nfor i in range(3000):\n    sys.stdout.write(str(i) * 300)\n    sys.stderr.write(str(i) * 30)",
    "output to nowhere": "import sys, os\nos.close(1)\nprint('x')",
    "output closed": "import sys\nsys.stdout.close()\nsys.stderr.close()",
    "output by C": "import ctypes\nctypes.CDLL(None).puts(b'from C')",
    "a thread": "import threading\nt = threading.Thread(target=lambda: print('in a thread'))\nt.start()\nt.join()\nprint(threading.current_thread().name)",
    "a thread that outlives": "import threading, time\nthreading.Thread(target=lambda: (time.sleep(0.05), print('late'))).start()\nprint('end')",
    "a daemon thread": "import threading, time\nthreading.Thread(target=time.sleep, args=(300,), daemon=True).start()\nprint('end')",
    "main thread": "import threading\nt = threading.main_thread()\nprint(t, threading.active_count(), t.ident == threading.get_ident())"
    .replace("print(t,", "print(t.name,"),
    "thread pool": "from concurrent.futures import ThreadPoolExecutor\nwith ThreadPoolExecutor(4) as p:\n    print(list(p.map(abs, range(-9, 0))))",
    "processes": "import multiprocessing\ndef f(x): return x * x\nif __name__ == '__main__':\n"
    "    with multiprocessing.get_context('fork').Pool(2) as p:\n        print(p.map(f, range(5)))",
    "spawned processes": "import multiprocessing\ndef f(x): return x * x\nif __name__ == '__main__':\n"
    "    with multiprocessing.get_context('spawn').Pool(1) as p:\n        print(p.map(f, range(5)))",
    "process names": "import multiprocessing as m, os\nprint(m.current_process().name, m.current_process().pid == os.getpid(), m.parent_process())",
    "a child": "import os, sys\nif not os.fork():\n    print('child')\n    sys.exit(3)\nstatus = os.wait()[1]\nprint(os.WEXITSTATUS(status))",
    "a program": "import subprocess, sys\nprint(subprocess.run([sys.executable, '-c', 'print(1)'], capture_output=True).stdout)",
    "exec": "import os, sys\nos.execv(sys.executable, [sys.executable, '-c', 'import sys; print(sys.argv); sys.exit(4)', 'a'])",
    "pickle": "import pickle\nclass C:\n    x = 1\nprint(pickle.dumps(C, 2), pickle.loads(pickle.dumps(C())).x, C.__module__)",
    "random numbers": "import random\nr = random.random()\nrandom.seed(5)\nprint(random.random(), r != random.random())",
    "frames": "import inspect\ndef f(): return inspect.stack()[0].function, inspect.getsource(f)\nprint(f())",
    "warnings": "import warnings\nwarnings.warn('be warned')\nprint(warnings.filters == list(warnings.filters))",
    "logging": "import logging\nlogging.warning('to stderr')\nlogging.getLogger('x').error('this too')",
    "modules": "import sys\nprint([n for n in ('pipeline', 'pipeline.node.warm_job', 'warm', 'warm_server') if n in sys.modules])",
    "recursion limit": "import sys, gc, threading\nprint(sys.getrecursionlimit(), gc.isenabled(), gc.get_threshold(), sys.getswitchinterval())",
    "alarm": "import signal, time\nsignal.signal(signal.SIGALRM, lambda *_: print('rang'))\nsignal.setitimer(signal.ITIMER_REAL, 0.01)\n"
    "signal.pause()",
    "limit of its own": "import resource, sys\nresource.setrlimit(resource.RLIMIT_CPU, (1, 1))\nwhile True: pass",
    "node": NODE.format(body="self.logger.info('got %s', args); self.outputs['args'] = args; print('out')"),
    "node that fails": NODE.format(body="self.outputs['x'] = 1; raise ValueError('no')"),
    "node that returns 7": NODE.format(body="return 7"),
    "node that logs much": NODE.format(body="[self.logger.debug('%d %s', i, 'x' * i) for i in range(2000)]"),
}
SIGNALS = ["SIGTERM", "SIGKILL", "SIGHUP", "SIGUSR1", "SIGPIPE", "SIGABRT", "SIGSEGV", "SIGCHLD", "SIGALRM", "SIGXFSZ"]
SCRIPTS.update({f"death by {name}": f"import os, signal\nos.kill(os.getpid(), signal.{name})\nprint('lives')" for name in SIGNALS})
NOT_WARM = {"import that fails", "syntax error"}  # those tell it themselves, in each job


@pytest.fixture(scope="module", params=PYTHONS)
def agents(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[AgentDriver]]:
    """Run two agents on one Python: one that starts every job, one that forks."""
    python = find_pythons()[request.param]
    directory = tmp_path_factory.mktemp("agents")
    with running_agent(python, directory, warm=False) as cold, running_agent(python, directory, warm="at once") as warm:
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
