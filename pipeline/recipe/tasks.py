"""Task files, and the files beside a recipe that give defaults of its inputs."""

import os
from collections import ChainMap
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from pipeline.errors import ConfigError
from pipeline.formats.interpolation import MAX_TOTAL_CHARS, Interpolation
from pipeline.formats.sections import Sections, parse_sections
from pipeline.recipe.config_file import MAX_CONFIG_BYTES
from pipeline.recipe.inputs import Setting
from pipeline.run.textfiles import one_line, read_text

__all__ = ["Task", "read_input_defaults", "read_tasks"]

_MAX_PROBLEMS = 100


@dataclass(frozen=True, slots=True)
class Task:
    """
    A section of a task file: a recipe and what it is given.

    Attributes:
        recipe: Name of the recipe.
        inputs: Name -> text, after interpolation, and `file:line`.
        source: `file:line` of its recipe.
    """

    name: str
    recipe: str
    inputs: Mapping[str, Setting]
    source: str


def read_tasks(paths: Iterable[str | os.PathLike[str]], scope: Mapping[str, str]) -> dict[str, Task]:
    """
    Read task files.

    Args:
        paths: A later file changes and adds keys of a task of the same name.
        scope: What %(name)s may stand for besides keys of the same section and of [DEFAULT] in the same file;
            `Config.scope`.

    Raises:
        ConfigError: With all problems of all files.
    """
    tasks: dict[str, dict[str, Setting]] = {}
    problems: list[str] = []
    for path in paths:
        try:
            _add_file(tasks, path, scope)
        except ConfigError as error:
            problems += error.problems
    found = {name: _task(name, settings) for name, settings in tasks.items()}
    for name, task in found.items():
        if not task.recipe:
            problems.append(f"{task.source}: [{name}] recipe: expected the name of a recipe, got nothing")
    if problems:
        raise ConfigError(problems[:_MAX_PROBLEMS])
    return found


def read_input_defaults(path: str | os.PathLike[str]) -> dict[str, Setting]:
    """
    Read the parset beside a recipe; quotes go as `Parset.get_string` removes them, those in lists and records stay.

    What is odd in the file but kept is logged as a warning.

    Returns:
        Name -> text and `file:line`; of a repeated name the last.

    Raises:
        ParsetError: With all problems of the file.
    """
    from pipeline.recipe.parsets import read_parset  # few recipes have such a file

    parset = read_parset(path)
    settings: dict[str, Setting] = {}
    for key in parset:
        has_parts = parset.raw(key).startswith(("[", "{", "("))  # in those quotes still have a meaning
        value = parset.raw(key) if has_parts else parset.get_string(key)
        settings[key] = Setting(value, parset.where(key).rpartition(":")[0])
    return settings


def _add_file(tasks: dict[str, dict[str, Setting]], path: str | os.PathLike[str], scope: Mapping[str, str]) -> None:
    text = read_text(path, error=ConfigError, max_bytes=MAX_CONFIG_BYTES, what="task file")
    parsed = parse_sections(text, one_line(path))
    problems = parsed.problems
    n_chars = 0
    for name, entries in parsed.sections.items():
        if name == "DEFAULT":
            continue
        interpolation = _interpolation(name, parsed.sections, scope)
        task = tasks.setdefault(name, {})
        task.setdefault("recipe", Setting("", f"{one_line(path)}:{parsed.lines[name]}"))
        for key, entry in entries.items():
            source = f"{one_line(path)}:{entry.line}"
            try:
                task[key] = Setting(interpolation.expand(entry.text, key), source)
            except ConfigError as error:
                task[key] = Setting(entry.text, source)
                problems.append(f"{source}: [{name}] {key}: {error}")
            n_chars += len(task[key].value)
            if n_chars > MAX_TOTAL_CHARS:
                problems.append(f"{source}: expected at most {MAX_TOTAL_CHARS} characters in all after interpolation")
            if n_chars > MAX_TOTAL_CHARS or len(problems) >= _MAX_PROBLEMS:
                raise ConfigError(problems)
    if problems:
        raise ConfigError(problems)


def _interpolation(section: str, sections: Sections, scope: Mapping[str, str]) -> Interpolation:
    local = ChainMap(sections[section], sections.get("DEFAULT", {}))  # no copy: there may be thousands of sections

    def find(name: str) -> str | None:
        if name in local:
            return local[name].text
        # A value of the configuration is ready: its percents are no more to be read.
        return scope[name].replace("%", "%%") if name in scope else None

    return Interpolation(find, {}, lambda: (*local, *scope))


def _task(name: str, settings: Mapping[str, Setting]) -> Task:
    recipe = settings["recipe"]
    inputs = {key: setting for key, setting in settings.items() if key != "recipe"}
    return Task(name, recipe.value, inputs, recipe.source)
