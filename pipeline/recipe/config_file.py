"""The entries of pipeline.cfg, interpolated, typed and checked against the table of keys."""

import dataclasses
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pipeline.errors import ConfigError, ParsetError
from pipeline.formats.interpolation import Interpolation, close_match, names_in
from pipeline.formats.parset_values import parse_list
from pipeline.formats.sections import Entry, ParsedSections
from pipeline.formats.values import format_list, quote_value
from pipeline.recipe.config_keys import Key, all_keys
from pipeline.recipe.inputs import Setting
from pipeline.run.textfiles import read_text

__all__ = ["MAX_CONFIG_BYTES", "CheckedConfig", "check_config"]

MAX_CONFIG_BYTES = 1 << 20

# Keys of the original's files that have lost their meaning; those that other values refer to still have one.
_OLD_KEYS = {
    "DEFAULT": {"aoflaggerroot", "casaroot", "hdf5root", "lofarroot", "pyraproot", "pythonpath", "wcsroot"},
    "layout": {"log_directory", "parset_directory", "results_directory", "vds_directory"},
    "cluster": {"engine_furl", "multiengine_furl", "task_furl"},
    "deploy": {"controller_ppath", "script_path"},
    "logging": {"level", "xml_stat_file"},
}
_OLD_SECTIONS = {"docker", "feedback", "messagebus", "parsets"}
_RENAMED = {"default_working_directory": "working_directory"}  # in DEFAULT
_MAX_PROBLEMS = 100
_COMMAND_LINE = "command line"
_DEFAULT = "default"


@dataclass(frozen=True, slots=True)
class CheckedConfig:
    """
    All keys with their values.

    Attributes:
        values: Section -> name -> typed value, of all known keys.
        settings: (section, name) -> text after interpolation, paths absolute, and source; with keys of the user's own.
        scope: What %(name)s stands for in a task file.
        old: Names of what is ignored.
    """

    values: Mapping[str, Mapping[str, Any]]
    settings: Mapping[tuple[str, str], Setting]
    scope: Mapping[str, str]
    old: tuple[str, ...]


def check_config(
    parsed: ParsedSections, name: str, literals: Mapping[str, str], overrides: Mapping[str, str]
) -> CheckedConfig:
    """
    Read all keys.

    Args:
        parsed: The file; empty for the defaults.
        name: Its path for messages.
        literals: job_name, start_time and cwd.
        overrides: Keys of DEFAULT from the command line, taken as they are.

    Raises:
        ConfigError: With all problems.
    """
    return _Check(parsed, name, literals, overrides).checked()


class _Check:
    """One pass over one file, collecting problems."""

    def __init__(
        self, parsed: ParsedSections, name: str, literals: Mapping[str, str], overrides: Mapping[str, str]
    ) -> None:
        self._name = name
        self._sections = {section: dict(entries) for section, entries in parsed.sections.items()}
        self._section_lines = parsed.lines
        self._overrides = overrides
        absolute = {key: os.path.join(literals["cwd"], path) for key, path in overrides.items()}
        self._literals = {**literals, **absolute}
        self._problems = list(parsed.problems)
        self._default_problems: list[str] = []  # of defaults that refer to a broken value: said only if alone
        self._table = all_keys()
        self._used: set[tuple[str, str]] = set()
        self._task_names: set[str] = set()  # what the task files refer to
        self._rename_old()

    def checked(self) -> CheckedConfig:
        found = {section: self._known(section, keys) for section, keys in self._table.items()}
        values = {section: {name: value for name, (_, value) in keys.items()} for section, keys in found.items()}
        settings = {(section, name): setting for section in found for name, (setting, _) in found[section].items()}
        if "DEFAULT" in self._sections:
            self._task_names = names_in(_text_of(values["DEFAULT"].get("task_files", ())))
        settings.update(self._own_keys())
        self._check_remote(values["remote"])
        old = self._check_names()
        if problems := self._problems or self._default_problems:
            more = [f"{self._name}: {len(problems) - _MAX_PROBLEMS} more problems"] if problems[_MAX_PROBLEMS:] else []
            raise ConfigError(problems[:_MAX_PROBLEMS] + more)
        scope = {name: str(setting.value) for (section, name), setting in settings.items() if section == "DEFAULT"}
        return CheckedConfig(values, settings, {**self._literals, **scope}, tuple(old))

    def _known(self, section: str, keys: Mapping[str, Key]) -> dict[str, tuple[Setting, Any]]:
        """Return name -> setting and typed value; a name with a problem is left out."""
        interpolation = self._interpolation(section)
        found: dict[str, tuple[Setting, Any]] = {}
        for name, key in keys.items():
            source, text = self._given(section, name)
            is_final = key.is_raw or source == _COMMAND_LINE
            try:
                found[name] = self._converted(key, text, source, name, None if is_final else interpolation)
            except (ConfigError, ParsetError) as error:
                problems = self._default_problems if source == _DEFAULT else self._problems
                problems.append(f"{source}: [{section}] {name}: {error}")
        return found

    def _converted(
        self, key: Key, text: str, source: str, name: str, interpolation: Interpolation | None
    ) -> tuple[Setting, Any]:
        cwd = self._literals["cwd"]
        if key.is_list and interpolation:
            # Split before anything is put in: a comma or quote in the name of a directory splits nothing.
            elements = [interpolation.expand(element, name) for element in parse_list(text, expand=False)]
            if len(elements) == 1 and elements[0].startswith("["):
                elements = parse_list(elements[0], expand=False)
            values = tuple(key.convert(element, cwd) for element in elements)
            return Setting(format_list(values), source), values
        text = interpolation.expand(text, name) if interpolation else text
        value = key.convert(text, cwd)
        return Setting(value if isinstance(value, str) else text, source), value

    def _own_keys(self) -> dict[tuple[str, str], Setting]:
        """Return the entries that are no known keys but of use, for `Config.get` and for task files."""
        used = set(self._used)
        found: dict[tuple[str, str], Setting] = {}
        for section in self._table:
            interpolation = self._interpolation(section)
            for name, entry in self._sections.get(section, {}).items():
                is_used = (section, name) in used or (section == "DEFAULT" and name in self._task_names)
                if name in self._table[section] or not (is_used or name in _OLD_KEYS.get(section, ())):
                    continue
                source = f"{self._name}:{entry.line}"
                try:
                    found[section, name] = Setting(interpolation.expand(entry.text, name), source)
                except ConfigError as error:
                    if is_used:  # what is ignored anyway may hold anything
                        self._problems.append(f"{source}: [{section}] {name}: {error}")
        return found

    def _given(self, section: str, name: str) -> tuple[str, str]:
        """Return source and text of a known key."""
        if section == "DEFAULT" and name in self._overrides:
            return _COMMAND_LINE, self._overrides[name]
        entry = self._sections.get(section, {}).get(name)
        if entry is None:
            return _DEFAULT, self._table[section][name].default
        return f"{self._name}:{entry.line}", entry.text

    def _interpolation(self, section: str) -> Interpolation:
        # [layout] comes last, so that log_file follows a job_directory that was moved.
        scopes = [(self._sections.get(scope, {}), scope) for scope in (section, "DEFAULT", "layout")]

        def find(name: str) -> str | None:
            for entries, scope in scopes:
                if name in entries:
                    self._used.add((scope, name))
                    return entries[name].text
                if name in self._table.get(scope, ()):
                    return self._table[scope][name].default
            return None

        def names() -> Iterator[str]:
            yield from self._literals
            for entries, scope in scopes:
                yield from {**self._table.get(scope, {}), **entries}

        return Interpolation(find, self._literals, names)

    def _check_names(self) -> list[str]:
        """Note each entry that is no key and that nothing refers to; return those of old files."""
        old: list[str] = []
        for section, entries in self._sections.items():
            if section in _OLD_SECTIONS:
                old.append(f"[{section}]")
            elif section in self._table:
                old += [f"[{section}] {name}" for name in entries if self._is_old(section, name, entries[name])]
            else:
                expected = ", ".join(f"[{name}]" for name in self._table)
                where = f"{self._name}:{self._section_lines[section]}"
                is_shown = len(self._problems) < _MAX_PROBLEMS
                proposal = close_match(section, self._table) if is_shown else ""
                self._problems.append(f"{where}: expected one of {expected}, got [{section}]{proposal}")
        return old

    def _is_old(self, section: str, name: str, entry: Entry) -> bool:
        """Whether it is ignored; note it if it is not known and of no use to anything."""
        is_used = (section, name) in self._used or (section == "DEFAULT" and name in self._task_names)
        if name in self._table[section] or (is_used and name not in self._literals):
            return False
        if name in _OLD_KEYS.get(section, ()):
            return True
        elsewhere = next((f"; it belongs to [{other}]" for other, keys in self._table.items() if name in keys), "")
        is_shown = len(self._problems) < _MAX_PROBLEMS
        proposal = elsewhere or (close_match(name, self._table[section]) if is_shown else "")
        problem = f"expected a known key, or one that %({name})s refers to, got {quote_value(name)}{proposal}"
        self._problems.append(f"{self._name}:{entry.line}: [{section}] {name}: {problem}")
        return False

    def _check_remote(self, remote: dict[str, Any]) -> None:
        """Check what is wrong only together; `paramiko` as a method is the original's name for that client."""
        if remote.get("method") == "paramiko":
            remote["method"] = "ssh"
            if remote.get("ssh_client") == "openssh":
                source, _ = self._given("remote", "method")
                problem = "expected 'ssh' together with ssh_client = openssh, got 'paramiko'"
                self._problems.append(f"{source}: [remote] method: {problem}")
        if remote.get("on_master_lost") == "finish":
            source, _ = self._given("remote", "on_master_lost")
            problem = "expected 'kill', got 'finish': jobs cannot outlive their master yet"
            self._problems.append(f"{source}: [remote] on_master_lost: {problem}")
        beat = remote.get("beat_interval", 0.0)
        for name in ("dead_after", "lease"):
            if remote.get(name, beat + 1) <= beat:
                given = [self._given("remote", key)[0] for key in (name, "beat_interval")]
                source = next(source for source in given if source != _DEFAULT)
                problem = f"expected more than beat_interval ({beat:g} s), got {remote[name]:g}"
                self._problems.append(f"{source}: [remote] {name}: {problem}")

    def _rename_old(self) -> None:
        entries = self._sections.get("DEFAULT", {})
        for old, new in _RENAMED.items():
            if old in entries and new not in entries:
                entries[new] = dataclasses.replace(entries[old])
                self._used.add(("DEFAULT", old))


def _text_of(task_files: tuple[str, ...]) -> str:
    """Return the text of the task files that can be read; what is wrong with others is said when they are used."""
    texts: list[str] = []
    for path in task_files:
        try:
            texts.append(read_text(path, error=ConfigError, max_bytes=MAX_CONFIG_BYTES, what="task file"))
        except ConfigError:
            continue
    return "\n".join(texts)
