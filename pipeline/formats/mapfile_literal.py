"""
The list form of a mapfile: a Python literal or JSON, read by a grammar of its own; nothing is evaluated.

    list   = "[" [entry {"," entry} [","]] "]"
    entry  = {'host': text, 'file': text, 'skip': bool} or (text, text, bool), keys in any order, `skip` may be missing
           | {'host': text, 'file': [text, ...], 'skip': bool, 'file_skip': [bool, ...]} or the same as a tuple
    bool   = True | False | true | false
    text   = in single or double quotes, u in front or not, with the escapes of repr() and of JSON

`#` starts a comment. A list counts for a tuple, as JSON has no tuples.
"""

import re
from collections.abc import Callable
from itertools import permutations
from typing import TypeVar

from pipeline.formats.mapfile_reader import MAX_NAME_CHARS, MAX_PROBLEMS, NO_NAME, Problem, Reader, check_length
from pipeline.formats.values import quote_value
from pipeline.model.products import DataProduct, MultiDataProduct

__all__ = ["LiteralReader"]

_T = TypeVar("_T")
_MAX_WRITTEN_CHARS = 1 << 20  # 12 for each character of the longest name, or a list of files that is text itself
_Value = str | bool | list[str] | list[bool]
_Fields = dict[str, tuple[int, _Value]]

_KEYS = ("host", "file", "skip", "file_skip")
_BOOLS = {"True": True, "False": False, "true": True, "false": False}
_CLOSER_OF = {"[": "]", "(": ")"}
_ENTRY = "an entry {'host': ..., 'file': ...} or ('host', 'file')"

# Possessive throughout: each pattern looks at a character a fixed number of times, whatever the text.
_SPACE = re.compile(r"\s*+(?:#[^\n]*+\s*+)*+")
_BOOL = re.compile(r"(?:True|False|true|false)\b")
_TEXT = re.compile(r"""[uU]?+(?:'(?:[^'\\\n]++|\\.)*+'|"(?:[^"\\\n]++|\\.)*+")""")
_OPEN_QUOTE = re.compile(r"""[uU]?+(['"])""")
_NEXT_ENTRY = re.compile(r"[})\]]\s*+,\s*+(?=[{(\[])")
_ESCAPE = re.compile(
    r"\\(?:([abfnrtv\\'\"/])|x([0-9a-fA-F]{2})|u([dD][89abAB][0-9a-fA-F]{2})\\u([dD][c-fC-F][0-9a-fA-F]{2})"
    r"|u([0-9a-fA-F]{4})|U(0010[0-9a-fA-F]{4}|000[0-9a-fA-F]{5})|([0-3]?[0-7]{1,2})|)"
)
_LETTERS = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}

_FAST = {
    "host": r"""(?P<quote>['"])(?P<host>[A-Za-z0-9_.:%-]++)(?P=quote)\s*+""",
    "file": r"""(?:'(?P<one>(?:[^'\\\n]++|\\.)*+)'|"(?P<two>(?:[^"\\\n]++|\\.)*+)")\s*+""",
    "skip": r"(?P<skip>True|False|true|false)\s*+",
}


def _fast_dict(*keys: str) -> re.Pattern[str]:
    fields = [rf"""(?:'{key}'|"{key}")\s*+:\s*+{_FAST[key]}""" for key in keys]
    if keys[-1] == "skip":
        return re.compile(rf"\s*+\{{\s*+{fields[0]},\s*+{fields[1]}(?:,\s*+{fields[2]})?+\}}\s*+,")
    return re.compile(rf"\s*+\{{\s*+{fields[0]},\s*+{fields[1]},\s*+{fields[2]}\}}\s*+,")


def _fast_tuple(opener: str, closer: str) -> re.Pattern[str]:
    return re.compile(rf"\s*+{opener}\s*+{_FAST['host']},\s*+{_FAST['file']}(?:,\s*+{_FAST['skip']})?+{closer}\s*+,")


# Whole entries of one file, a comma behind: those are nearly all. What else there is, is read token by token.
_FAST_ENTRIES = (
    *(_fast_dict(*keys) for keys in permutations(_FAST)),
    *(_fast_tuple(opener, closer) for opener, closer in ((r"\(", r"\)"), (r"\[", r"\]"))),
)


class LiteralReader(Reader):
    """Goes once through a text, from entry to entry."""

    def read(self) -> None:
        """Fill `products` and `problems`."""
        try:
            self._take(_SPACE)
            self._step("[", "host=[ file, ... ] or a list [ ... ]")
            is_done = self._entries()
            self._take(_SPACE)
            if is_done and self._mark():
                raise self._expected("end of file after ']'")
        except Problem as problem:
            self._note(problem)

    def _entries(self) -> bool:
        """Read to the bracket that closes the list; False if there is too much or too much is wrong."""
        is_done = self._skip_to("]")
        while not is_done and not self._is_full():
            try:
                self._fast_entries()
                if self._is_full():
                    break
                is_done = self._skip_to("]")
                if not is_done:
                    self._entry()
                    is_done = self._is_last("]", "the entry")
            except Problem as problem:
                self._note(problem)
                is_done = not self._go_to_next_entry(problem.position)
        return is_done

    def _fast_entries(self) -> None:
        append, hosts = self.products.append, self._hosts
        if self.products and not isinstance(self.products[-1], DataProduct):
            return
        for pattern in _FAST_ENTRIES:
            while len(self.problems) < MAX_PROBLEMS and (match := pattern.match(self._text, self._at)):
                name, one, two, skip = match.group("host", "one", "two", "skip")
                self._count(1, self._at)
                host = hosts.get(name) or self._checked_host(name, match.start("host"))
                file = one if two is None else two
                if "\\" in file or len(file) > MAX_NAME_CHARS:
                    file = _checked_name(file, match.start("one" if two is None else "two"))
                append(DataProduct(host, file, skip in ("True", "true")))
                self._at = match.end()

    def _entry(self) -> None:
        start = self._at
        opener = self._mark()
        if opener == "{":
            fields = self._dict()
        elif opener in _CLOSER_OF:
            fields = self._tuple(_CLOSER_OF[opener])
        else:
            raise self._expected(_ENTRY)
        missing = [key for key in _KEYS[:2] if key not in fields]
        if missing:
            raise Problem(start, f"expected {_ENTRY}, got no {missing[0]}")
        product = self._product(fields)
        if self.products and type(product) is not type(self.products[0]):
            kinds = ("a list of files", "one file")
            wanted, got = kinds if isinstance(product, DataProduct) else kinds[::-1]
            raise Problem(start, f"expected {wanted} as in the first entry, got {got}")
        self.products.append(product)

    def _dict(self) -> _Fields:
        self._at += 1
        fields: _Fields = {}
        is_done = self._skip_to("}")
        while not is_done:
            start = self._at
            key = _unescaped(*self._text_value("one of " + ", ".join(map(repr, _KEYS))))
            if key not in _KEYS:
                raise Problem(start, f"expected one of {', '.join(map(repr, _KEYS))}, got {quote_value(key)}")
            if key in fields:
                raise Problem(start, f"expected each key once, got {key!r} twice")
            self._take(_SPACE)
            self._step(":", f"':' after {key!r}")
            fields[key] = self._value(key)
            is_done = self._is_last("}", f"the value of {key!r}")
        return fields

    def _tuple(self, closer: str) -> _Fields:
        self._at += 1
        fields: _Fields = {}
        for key in _KEYS:
            if self._skip_to(closer):
                return fields
            fields[key] = self._value(key)
            if self._is_last(closer, f"the {key}"):
                return fields
        self._take(_SPACE)
        self._step(closer, f"'{closer}'")
        return fields

    def _value(self, key: str) -> tuple[int, _Value]:
        self._take(_SPACE)
        start = self._at
        if key == "host":
            return start, _unescaped(*self._text_value("a host name in quotes"))
        if key == "skip":
            return start, self._bool()
        if self._mark() in ("[", "("):
            return start, self._list(self._file) if key == "file" else self._list(self._bool)
        if key == "file":
            self._count(1, start)
            return start, _checked_name(*self._text_value("a file name in quotes"), _MAX_WRITTEN_CHARS)
        raise self._expected("a list of True and False")

    def _product(self, fields: _Fields) -> DataProduct | MultiDataProduct:
        at, name = fields["host"]
        host = self._checked_host(str(name), at)
        at, file = fields["file"]
        skip = fields["skip"][1] is True if "skip" in fields else False
        if isinstance(file, str) and "file_skip" not in fields:
            check_length(file, at)
            return DataProduct(host, file, skip)
        files = self._files_in_text(file, at) if isinstance(file, str) else [str(one) for one in _as_list(file)]
        skips_at, skips = fields.get("file_skip", (at, None))
        if skips is None:
            return MultiDataProduct(host, files, skip)
        file_skip = [one is True for one in _as_list(skips)]
        if len(file_skip) != len(files):
            counts = f"{len(file_skip)} and {len(files)}"
            raise Problem(skips_at, f"expected as many values in 'file_skip' as in 'file', got {counts}")
        return MultiDataProduct(host, files, skip, file_skip)

    def _files_in_text(self, text: str, position: int) -> list[str]:
        """Read a list that was written as text: the original wrote the files of an entry so."""
        inner = LiteralReader(text, "")
        try:
            inner._step("[", "'['")
            inner._at -= 1
            files = inner._list(inner._file)
            self._count(len(files), position)
            if inner._at == len(text):
                return files
        except Problem:
            pass
        raise Problem(position, f"expected a list of files beside 'file_skip', got {quote_value(text)}")

    def _list(self, element: Callable[[], _T]) -> list[_T]:
        closer = _CLOSER_OF[self._mark()]
        self._at += 1
        elements: list[_T] = []
        is_done = self._skip_to(closer)
        while not is_done:
            elements.append(element())
            is_done = self._is_last(closer, "the element")
        return elements

    def _bool(self) -> bool:
        word = self._take(_BOOL)
        if not word:
            raise self._expected("True or False")
        return _BOOLS[word]

    def _file(self) -> str:
        self._count(1, self._at)
        return _checked_name(*self._text_value("a file name in quotes"))

    def _text_value(self, what: str) -> tuple[str, int]:
        """Return what stands between the quotes, as it is written, and where."""
        start = self._at
        text = self._take(_TEXT)
        if not text:
            quote = _OPEN_QUOTE.match(self._text, start)
            if quote:
                raise Problem(start, f"expected a closing {quote[1]} on this line, got none")
            raise self._expected(what)
        quoted = text.lstrip("uU")
        return quoted[1:-1], self._at - len(quoted) + 1

    def _is_last(self, closer: str, after: str) -> bool:
        """Step over the comma, one behind the last element included, or the closing bracket."""
        self._take(_SPACE)
        mark = self._mark()
        if mark not in (",", closer):
            raise self._expected(f"',' or '{closer}' after {after}")
        self._at += 1
        return mark == closer or self._skip_to(closer)

    def _skip_to(self, closer: str) -> bool:
        """Step over white space and, if it is next, the closing bracket."""
        self._take(_SPACE)
        is_there = self._mark() == closer
        self._at += is_there
        return is_there

    def _step(self, mark: str, what: str) -> None:
        if self._mark() != mark:
            raise self._expected(what)
        self._at += 1

    def _go_to_next_entry(self, position: int) -> bool:
        found = _NEXT_ENTRY.search(self._text, max(position, self._at - 1))
        self._at = found.end() if found else len(self._text)
        return bool(found)


def _as_list(value: _Value) -> list[str] | list[bool]:
    return value if isinstance(value, list) else []


def _checked_name(written: str, position: int, max_chars: int = MAX_NAME_CHARS) -> str:
    name = _unescaped(written, position)
    check_length(name, position - 1, max_chars)
    if NO_NAME.search(name):
        raise Problem(position - 1, f"expected the name of a file, got {quote_value(name)}")
    return name


def _unescaped(written: str, position: int) -> str:
    check_length(written, position - 1, _MAX_WRITTEN_CHARS)  # first: each escape costs a microsecond
    return _ESCAPE.sub(lambda match: _character(match, position), written) if "\\" in written else written


def _character(match: re.Match[str], position: int) -> str:
    letter, byte, high, low, unit, point, octal = match.groups()
    if letter:
        return _LETTERS.get(letter, letter)
    if high:  # JSON writes what does not fit in four digits as a pair of surrogates
        return chr(0x10000 + ((int(high, 16) - 0xD800) << 10) + int(low, 16) - 0xDC00)
    if byte or unit or point:
        return chr(int(byte or unit or point, 16))
    if octal:
        return chr(int(octal, 8))
    found = match.string[match.start() : match.start() + 2]
    raise Problem(position + match.start(), f"expected an escape that repr() or JSON writes, got {found}")
