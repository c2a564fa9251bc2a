"""The house: what each room imports, read from the source and held against the floors."""

import ast
import functools
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

import pipeline

ROOT = Path(pipeline.__file__).parent
PATHS = sorted(ROOT.rglob("*.py"))

# Rooms by floor; docs/decisions/0001 (view), 0002 (testing), 0004 (maps).
FLOORS = {
    "errors": 0,
    "model": 1,
    "formats": 2,
    "schedule": 2,
    "maps": 2,
    "node": 3,
    "hosts": 3,
    "testing": 3,
    "run": 4,
    "view": 5,
    "recipe": 6,
    "cli": 7,
}
# Where not every lower floor is allowed: rooms, or modules of them.
ONLY = {
    "model": {"errors"},
    "formats": {"errors", "model"},
    "schedule": {"errors", "model"},
    "maps": {"errors", "model"},
    "node": {"errors", "formats.frames"},
    "hosts": {"errors", "model", "formats"},
    "testing": {"errors", "model"},
}
# module -> what it takes from the public API although that lives above it; docs/decisions/0003.
EXCEPTIONS = {"node.script": {"run.log_client"}}

# What runs on a host.
ON_HOSTS = ["__init__.py", "errors.py", "formats/__init__.py", "formats/frames.py", "node/*.py"]

# What floors 0 to 2 may import of the standard library. Everything else is banned there: os, sys, io, pathlib, shutil,
# tempfile, glob, socket, select, ssl, subprocess, signal, threading, queue, asyncio, multiprocessing, time, datetime,
# random, secrets, uuid, logging, platform, locale, importlib, pickle, ...
PURE_MODULES = {
    *("__future__", "abc", "ast", "base64", "bisect", "collections", "contextlib", "copy", "dataclasses", "decimal"),
    *("difflib", "enum", "fnmatch", "fractions", "functools", "hashlib", "heapq", "itertools", "json", "math"),
    *("numbers", "operator", "posixpath", "re", "shlex", "string", "struct", "textwrap", "types", "typing"),
    *("unicodedata", "zlib"),
}
IMPURE_CALLS = {"open", "print", "input", "exec", "eval", "compile", "__import__", "breakpoint"}
PURE_LIBRARIES = {"ClusterShell", "configobj"}  # third party, but text to objects

# hosts/: the ways to reach a host, what belongs to one of them, and what they share.
WAYS = {"local", "ssh", "openssh"}
PART_OF = {"connections": "ssh", "logins": "ssh", "ssh_errors": "ssh", "ssh_session": "ssh"}
SHARED = {"__init__", "known_hosts", "pipes", "routes", "session", "verdicts"}

MAX_MODULE_LINES = 320
MAX_FUNCTION_LINES = 45


@dataclass(frozen=True, order=True)
class Import:
    """Module `name` imports `target`, both without `pipeline.` in front if they are ours."""

    name: str
    line: int
    target: str
    is_ours: bool


def name_of(path: Path) -> str:
    """Return a module's name below the package, e.g. `node.script`."""
    return ".".join(path.relative_to(ROOT).with_suffix("").parts)


def room_of(module: str) -> str:
    """Return the room a module of ours is in."""
    return module.partition(".")[0]


@functools.cache
def tree_of(path: Path) -> ast.Module:
    """Return the parsed source of a module."""
    return ast.parse(path.read_text("utf-8"), str(path))


@functools.cache
def public_api() -> dict[str, str]:
    """Return the table of `pipeline/__init__.py`: module of ours by public name."""
    return {
        name: home.removeprefix("pipeline.") for name, home in string_table(ROOT / "__init__.py", "_HOME_OF").items()
    }


def string_table(path: Path, name: str) -> dict[str, str]:
    """Return a literal dict of a module by its name, read without importing it."""
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Assign) and [ast.unparse(target) for target in node.targets] == [name]:
            table: dict[str, str] = ast.literal_eval(node.value)
            return table
    raise AssertionError(f"{path.name} has no table {name}")


@functools.cache
def imports_of(path: Path) -> list[Import]:
    """Return every import of a module, also those inside functions and by name."""
    name = name_of(path)
    found = []
    for node in ast.walk(tree_of(path)):
        for target in targets_of(node, path):
            is_ours = target == "pipeline" or target.startswith("pipeline.")
            found.append(Import(name, getattr(node, "lineno", 0), target.removeprefix("pipeline."), is_ours))
    return sorted(found)


def targets_of(node: ast.AST, path: Path) -> Iterator[str]:
    """Return full names of the modules that one node of the tree imports."""
    match node:
        case ast.Import(names):
            # `import pipeline` alone names nothing: what is taken from it is seen where it is used.
            yield from (alias.name for alias in names if alias.name != "pipeline")
        case ast.ImportFrom(module=None) | ast.ImportFrom(level=1 | 2 | 3):
            raise AssertionError(f"{path}:{node.lineno}: relative import; name the module in full")
        case ast.ImportFrom(module="pipeline", names=names):
            yield from (home_of(alias.name) for alias in names)
        case ast.ImportFrom(module=str(module), names=names):
            submodules = [f"{module}.{alias.name}" for alias in names if is_module(f"{module}.{alias.name}")]
            yield from submodules or [module]
        case ast.Attribute(value=ast.Name("pipeline"), attr=name) if not name.startswith("__"):
            yield home_of(name)
        case ast.Call(func=ast.Attribute(attr="import_module"), args=[argument, *_]):
            yield from modules_by_name(argument, path)


def home_of(name: str) -> str:
    """Return the module that `pipeline.NAME` comes from."""
    return f"pipeline.{public_api().get(name, name)}"


def is_module(name: str) -> bool:
    """Whether it is a module or room of ours."""
    path = ROOT.joinpath(*name.split(".")[1:])
    return name.startswith("pipeline.") and (path.with_suffix(".py").exists() or (path / "__init__.py").exists())


def modules_by_name(argument: ast.expr, path: Path) -> list[str]:
    """Return what `import_module(...)` may import: a literal, all values of a table, or all modules of a room."""
    match argument:
        case ast.Constant(str(name)):
            return [name]
        case ast.Subscript(value=ast.Name(table)):
            return list(string_table(path, table).values())
        case ast.JoinedStr([ast.Constant(str(prefix)), *_]) if is_module(prefix.rstrip(".")):
            return [prefix.rstrip(".")]
        case ast.Name() | ast.Attribute() if name_of(path).startswith("recipe."):
            return []  # the user's recipes, found at run time
    raise AssertionError(f"{path}:{argument.lineno}: import_module of what cannot be read from the source")


def may_import(name: str, target: str) -> bool:
    """Whether the module `name` may import the module `target`, both ours."""
    room, other = room_of(name), room_of(target)
    if room == other or target in EXCEPTIONS.get(name, ()):
        return True
    if other == "testing":
        return room == "cli"
    if room in ONLY:
        return other in ONLY[room] or target in ONLY[room]
    return FLOORS[other] < FLOORS[room]


def modules_below(floor: int) -> list[Path]:
    """Return the modules of the floors below one."""
    return [path for path in PATHS if FLOORS.get(room_of(name_of(path)), 99) < floor]


def modules_on_hosts() -> list[Path]:
    """Return the modules that run on hosts."""
    return [path for pattern in ON_HOSTS for path in sorted(ROOT.glob(pattern))]


def test_every_module_is_in_a_room() -> None:
    """There is no module outside the rooms of the house."""
    assert {room_of(name_of(path)) for path in PATHS} == {*FLOORS, "__init__"}


def test_imports_go_only_to_lower_floors() -> None:
    """No module imports one of a room above or beside its own."""
    ours = [one for path in PATHS for one in imports_of(path) if one.is_ours and one.name != "__init__"]

    assert not [one for one in ours if not may_import(one.name, one.target)]
    assert len(ours) > 100


def test_every_imported_module_exists() -> None:
    """Names in tables are not seen by the type checker: each must be a module."""
    ours = [one for path in PATHS for one in imports_of(path) if one.is_ours]

    assert not [one for one in ours if not is_module(f"pipeline.{one.target}")]
    assert not [home for home in public_api().values() if not is_module(f"pipeline.{home}")]


def test_exceptions_are_used_once() -> None:
    """An exception to the floors is one import in one place."""
    for name, targets in EXCEPTIONS.items():
        path = ROOT.joinpath(*name.split(".")).with_suffix(".py")
        assert [one.target for one in imports_of(path) if one.target in targets] == sorted(targets)


def test_the_floor_table_is_able_to_refuse() -> None:
    """The rules that the other tests rely on know wrong from right."""
    assert not may_import("model.jobs", "formats.values")
    assert not may_import("schedule.machine", "formats.frames")
    assert not may_import("maps.deal", "formats.mapfile")
    assert not may_import("node.agent", "model.jobs")
    assert not may_import("node.agent", "run.log_client")
    assert not may_import("view.text", "recipe.base")
    assert not may_import("run.dispatcher", "testing.cluster")
    assert may_import("recipe.program", "view.progress")


def test_the_pure_floors_touch_nothing_outside() -> None:
    """Floors 0 to 2 import no module for files, sockets, threads, clock, environment or logging."""
    found = [one for path in modules_below(3) for one in imports_of(path) if not one.is_ours]

    assert not [one for one in found if one.target.partition(".")[0] not in PURE_MODULES | PURE_LIBRARIES]
    assert found


def test_the_pure_floors_open_and_print_nothing() -> None:
    """What needs no import is not used on floors 0 to 2 either."""
    for path in modules_below(3):
        calls = [node for node in ast.walk(tree_of(path)) if isinstance(node, ast.Call)]
        assert not [node.lineno for node in calls if ast.unparse(node.func) in IMPURE_CALLS], path


@pytest.mark.parametrize("path", modules_on_hosts(), ids=name_of)
def test_what_runs_on_hosts_is_python_3_8(path: Path) -> None:
    """Its source has no grammar newer than 3.8, and it imports the standard library only."""
    ast.parse(path.read_text("utf-8"), feature_version=(3, 8))

    others = {one.target.partition(".")[0] for one in imports_of(path) if not one.is_ours}
    assert others <= sys.stdlib_module_names


def test_no_way_to_a_host_imports_another() -> None:
    """The modules of hosts/ are ways, parts of one way, or shared, and know only what is theirs."""
    for path in sorted((ROOT / "hosts").glob("*.py")):
        module = path.stem
        assert module in WAYS | set(PART_OF) | SHARED, f"hosts/{path.name}: say in this test what it is"
        way = PART_OF.get(module, module)
        siblings = {one.target.partition(".")[2] for one in imports_of(path) if room_of(one.target) == "hosts"}
        assert siblings <= SHARED | {part for part, owner in PART_OF.items() if owner == way}, path.name


@pytest.mark.parametrize("path", PATHS, ids=name_of)
def test_modules_and_functions_are_short(path: Path) -> None:
    """A module fits in the head, a function on the screen."""
    functions = [n for n in ast.walk(tree_of(path)) if isinstance(n, (ast.FunctionDef, ast.AsyncFunctionDef))]
    long = {n.name: (n.end_lineno or 0) - n.lineno + 1 for n in functions}

    assert {name: lines for name, lines in long.items() if lines > MAX_FUNCTION_LINES} == {}
    assert len(path.read_text("utf-8").splitlines()) <= MAX_MODULE_LINES


def fresh_interpreter(code: str) -> list[str]:
    """Return the lines that code prints in an interpreter of its own."""
    words = [sys.executable, "-c", code]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_a_node_script_loads_the_standard_library_only() -> None:
    """`from pipeline import Node` brings nothing along but what is sent to hosts."""
    # What the interpreter loads by itself (site, .pth files) is not ours to judge: only the difference counts.
    code = (
        "import sys; before = set(sys.modules); from pipeline import Node; print(*set(sys.modules) - before, sep='\\n')"
    )

    loaded = fresh_interpreter(code)

    ours = {name for name in loaded if name == "pipeline" or name.startswith("pipeline.")}
    assert {name.partition(".")[0] for name in set(loaded) - ours} <= sys.stdlib_module_names
    assert ours == {
        *("pipeline", "pipeline.errors", "pipeline.formats", "pipeline.formats.frames"),
        *("pipeline.node", "pipeline.node.arguments", "pipeline.node.script"),
    }


def test_every_public_name_can_be_imported() -> None:
    """Each name of `pipeline.__all__` is there, and `from pipeline import *` brings them all."""
    names = fresh_interpreter("import pipeline; print(*pipeline.__all__, sep='\\n')")
    code = f"from pipeline import *; print(*[name for name in {names} if name in globals()], sep='\\n')"

    assert fresh_interpreter(code) == names == sorted(public_api())


def test_an_unknown_name_is_an_attribute_error() -> None:
    """A misspelt import of the public API fails like any other."""
    with pytest.raises(AttributeError, match="module 'pipeline' has no attribute 'Nodes'"):
        pipeline.Nodes  # noqa: B018


def test_heavy_libraries_are_imported_only_when_needed() -> None:
    """Importing what recipes are written with loads no SSH, ClusterShell or rich; ZeroMQ every run needs."""
    code = "import sys; from pipeline import BaseRecipe, ComputeJob, RemoteCommand; print(*sys.modules, sep='\\n')"

    loaded = {name.partition(".")[0] for name in fresh_interpreter(code)}

    assert not loaded & {"paramiko", "cryptography", "ClusterShell", "rich"}
