"""
What of a node script can be done before there is a job: its imports, as far as nothing else stands before them.

Statements are taken from the top while they are known to do the same in every job, and twice as well as once: imports,
also in a `try`, `os.environ[...] = "text"` before an import that heeds it, functions, constants. The first that may do
anything else ends it; what is imported below that is imported by every job.
"""

from __future__ import annotations

import ast
import sys
from importlib.util import find_spec
from types import ModuleType

__all__ = ["run_prefix"]

_IMPORTS = (ast.Import, ast.ImportFrom)


def run_prefix(tree: ast.Module, path: str) -> None:
    """Run the statements that prepare for all jobs; raises whatever they raise."""
    statements: list[ast.stmt] = []
    for statement in tree.body:
        if not _is_harmless(statement):
            break
        if _is_needed(statement):
            statements.append(statement)
    code = compile(ast.Module(statements, []), path, "exec", dont_inherit=True)
    names: dict[str, object] = {"__name__": "__main__", "__file__": path}
    exec(code, names)  # noqa: S102  # imports of the script that runs next
    _load_lazy_parts(tree, names)


def _load_lazy_parts(tree: ast.Module, names: dict[str, object]) -> None:
    """Import what some packages import when it is first used: `numpy.random`, `scipy.signal`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            module = names.get(node.value.id)
            if isinstance(module, type(sys)) and _is_lazy_part(module, node.attr):
                getattr(module, node.attr)


def _is_lazy_part(module: ModuleType, name: str) -> bool:
    is_lazy = hasattr(module, "__path__") and hasattr(module, "__getattr__") and name not in vars(module)
    return is_lazy and find_spec(f"{module.__name__}.{name}") is not None


def _is_needed(statement: ast.stmt) -> bool:
    """It changes more than the names of the script: everything else is left to the job."""
    return isinstance(statement, (*_IMPORTS, ast.Try)) or _sets_environment(statement)


def _is_harmless(statement: ast.stmt) -> bool:
    if isinstance(statement, ast.ImportFrom):
        return not statement.level
    if isinstance(statement, ast.FunctionDef):
        arguments = statement.args
        defaults = [*arguments.defaults, *(value for value in arguments.kw_defaults if value)]
        return not statement.decorator_list and all(map(_is_constant, defaults))
    if isinstance(statement, ast.Try):
        parts = [statement.body, statement.orelse, statement.finalbody, *(h.body for h in statement.handlers)]
        return all(_is_import_or_constant(inner) for part in parts for inner in part)
    if isinstance(statement, ast.If):
        return _never_runs(statement)
    return _is_import_or_constant(statement) or _sets_environment(statement)


def _is_import_or_constant(statement: ast.stmt) -> bool:
    if isinstance(statement, ast.Assign):
        return all(isinstance(target, ast.Name) for target in statement.targets) and _is_constant(statement.value)
    if isinstance(statement, ast.Expr):
        return _is_constant(statement.value)
    return isinstance(statement, (ast.Pass, *_IMPORTS)) and not getattr(statement, "level", 0)


def _never_runs(statement: ast.If) -> bool:
    """`if TYPE_CHECKING:` runs never."""
    return not statement.orelse and _dotted(statement.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING")


def _sets_environment(statement: ast.stmt) -> bool:
    """`os.environ["NAME"] = "text"` or `os.environ.setdefault("NAME", "text")`."""
    if isinstance(statement, ast.Assign) and len(statement.targets) == 1:
        target = statement.targets[0]
        is_environment = isinstance(target, ast.Subscript) and _dotted(target.value) == "os.environ"
        return is_environment and _is_constant(target.slice) and _is_constant(statement.value)  # type: ignore[attr-defined]
    if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Call):
        call = statement.value
        is_default = _dotted(call.func) == "os.environ.setdefault" and not call.keywords
        return is_default and all(map(_is_constant, call.args))
    return False


def _is_constant(node: ast.AST) -> bool:
    if isinstance(node, (ast.Tuple, ast.List, ast.Set)):
        return all(map(_is_constant, node.elts))
    if isinstance(node, ast.Dict):
        return all(key is not None and _is_constant(key) for key in node.keys) and all(map(_is_constant, node.values))
    if isinstance(node, ast.UnaryOp):
        return isinstance(node.operand, ast.Constant) and not isinstance(node.operand.value, str)
    if type(node).__name__ == "Index":  # Python 3.8 has it around subscripts
        return _is_constant(node.value)  # type: ignore[attr-defined]
    return isinstance(node, ast.Constant)


def _dotted(node: ast.AST) -> str:
    """Return `a.b.c` for such an expression, else nothing."""
    if isinstance(node, ast.Attribute):
        return f"{_dotted(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""
