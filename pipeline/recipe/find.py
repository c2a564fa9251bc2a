"""Finding and loading recipes."""

import importlib.util
import sys
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import pipeline
from pipeline.errors import RecipeNotFound

if TYPE_CHECKING:
    from pipeline.recipe.base import BaseRecipe

__all__ = ["SHIPPED_RECIPES", "find_recipe", "load_recipe"]

# The recipes that come with the package: beside it in a checkout, else where `pip install .` puts them.
_CHECKOUT = Path(pipeline.__file__).parents[1] / "recipes"
_INSTALLED = Path(sys.prefix) / "share/pipeline/recipes"
SHIPPED_RECIPES = _CHECKOUT if (_CHECKOUT / "master/executable.py").is_file() else _INSTALLED


def find_recipe(name: str, directories: Iterable[str | Path]) -> Path:
    """
    Return the file of a recipe, looked up in `<directory>/master`.

    Raises:
        RecipeNotFound: Lists the files looked for.
    """
    candidates = [Path(directory).expanduser() / "master" / f"{name}.py" for directory in directories]
    for candidate in candidates:
        if candidate.is_file():
            return candidate
    looked = ", ".join(dict.fromkeys(map(str, candidates))) or "nowhere: recipe_directories is empty"
    raise RecipeNotFound(f"no recipe {name!r}; looked for {looked}")


def load_recipe(path: Path) -> "type[BaseRecipe]":
    """
    Import a recipe's file and return the class named after it.

    Raises:
        RecipeNotFound: If there is no such class in it, or it cannot be imported.
    """
    from pipeline.recipe.base import BaseRecipe

    module = _import(path)
    recipe = getattr(module, path.stem, None)
    if not isinstance(recipe, type) or not issubclass(recipe, BaseRecipe):
        raise RecipeNotFound(f"{path}: expected a class {path.stem!r} derived from BaseRecipe")
    return recipe


def _import(path: Path) -> ModuleType:
    name = f"pipeline_recipe_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise RecipeNotFound(f"{path}: expected a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except (ImportError, SyntaxError, OSError, ValueError) as error:
        raise RecipeNotFound(f"{path}: cannot be imported: {error}") from error
    return module
