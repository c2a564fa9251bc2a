"""
Mapfiles: which file is on which host. Three forms, told apart by reading:

* `parset`: one record per host, `host=[ file, file ]`, files in order. `#` starts a comment outside quotes; a list
  may go on over several lines until its bracket closes. Names are taken as they stand, blanks inside them included;
  a name with a comma, bracket, quote, `#` or a blank at an end stands in single or double quotes, and adjacent
  pieces join (`'it'"'"'s'`). Nothing is expanded or evaluated. A single absolute path needs no brackets.
* `literal`: the list `[{'host': 'h', 'file': 'f', 'skip': False}, ...]` as Python writes it, or with tuples.
* `json`: the same list as JSON.
"""

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice

from pipeline.errors import HostNameError, MapfileError
from pipeline.formats.mapfile_literal import LiteralReader
from pipeline.formats.mapfile_parset import ParsetReader, format_parset_record
from pipeline.formats.mapfile_reader import MAX_NAME_CHARS, MAX_PROBLEMS, NO_NAME
from pipeline.formats.values import quote_value
from pipeline.model.hosts import check_host_name
from pipeline.model.products import DataProduct, MultiDataProduct

__all__ = ["FORMS", "MAX_CHARS", "Product", "Products", "format_mapfile", "is_exact_as_parset", "parse_mapfile"]

FORMS = ("parset", "literal", "json")
MAX_CHARS = 64 << 20

Product = DataProduct | MultiDataProduct
Products = list[DataProduct] | list[MultiDataProduct]

_ONE = "{'host': %s, 'file': %s, 'skip': %s}"
_MANY = "{'host': %s, 'file': [%s], 'skip': %s, 'file_skip': [%s]}"
_quoted_json = json.JSONEncoder().encode
_LIST = re.compile(r"\s*+(?:#[^\n]*+\s*+)*+[\[({]")


def parse_mapfile(text: str, source: str = "<text>") -> Products:
    """
    Read a mapfile of any form.

    Args:
        text: All of it, at most 64 Mi characters and 5 million files.
        source: What the problems name, e.g. the path.

    Returns:
        (n,) entries in the order of the text, all of one kind; a host may come back later. None: an empty list.

    Raises:
        MapfileError: With all problems, at most 100, each `source:line:column: expected ..., got ...`.
    """
    if len(text) > MAX_CHARS:
        raise MapfileError(f"{source}: expected at most {MAX_CHARS} characters, got {len(text)}")
    odd = NO_NAME.search(text) if "\0" in text or not text.isascii() else None
    if odd:
        line, column = text.count("\n", 0, odd.start()) + 1, odd.start() - text.rfind("\n", 0, odd.start())
        raise MapfileError(f"{source}:{line}:{column}: expected text, got {odd[0]!a}")
    reader = LiteralReader(text, source) if _LIST.match(text) else ParsetReader(text, source)
    reader.read()
    if reader.problems:
        raise MapfileError(reader.problems)
    return reader.products  # type: ignore[return-value]  # the readers refuse a mixture


def format_mapfile(products: Iterable[Product], form: str | None = "parset") -> str:
    """
    Write a mapfile.

    Args:
        products: All of one kind.
        form: `parset` is one line per host, hosts in the order they first appear, each host's files in order. `literal`
            and `json` are one line per entry and hold everything. None is `parset` where that holds all exactly, order
            included, else `literal`.

    Raises:
        MapfileError: For what the form cannot hold, at most 100 entries: a host that is no host name, a NUL in a file's
            name or more than 65,536 characters; in `parset` also a newline in it, an entry to be skipped, an entry of
            several files.
    """
    listed = list(products)
    if form is None:
        form = "parset" if is_exact_as_parset(listed) else "literal"
    if form not in FORMS:
        raise MapfileError(f"form of a mapfile: expected one of {', '.join(FORMS)}, got {quote_value(form)}")
    problems = list(islice(_problems(listed, form), MAX_PROBLEMS))
    if problems:
        raise MapfileError(problems)
    if form != "parset":
        return _format_list(listed, form)
    files_of: dict[str, list[str]] = {}
    for product in listed:
        files_of.setdefault(product.host, []).append(str(product.file))
    return "".join(format_parset_record(host, files) for host, files in files_of.items())


def is_exact_as_parset(products: Iterable[Product]) -> bool:
    """Whether the form `parset` gives the same entries back in the same order."""
    seen: set[str] = set()
    last = None
    for product in products:
        if not isinstance(product, DataProduct) or product.skip:
            return False
        if not isinstance(product.host, str) or not isinstance(product.file, str) or "\n" in product.file:
            return False
        if product.host != last:
            last = product.host
            if last in seen:
                return False
            seen.add(last)
    return True


def _format_list(products: Sequence[Product], form: str) -> str:
    # Not repr(): that of a subclass of str (numpy has one) is no literal.
    quoted, bools = (_quoted_json, ("false", "true")) if form == "json" else (str.__repr__, ("False", "True"))
    one, many = (text.replace("'", '"') if form == "json" else text for text in (_ONE, _MANY))
    lines: list[str] = []
    for product in products:
        host, skip = quoted(product.host), bools[bool(product.skip)]
        if isinstance(product, DataProduct):
            lines.append(one % (host, quoted(product.file), skip))
        else:
            files = ", ".join(map(quoted, product.file))
            lines.append(many % (host, files, skip, ", ".join(bools[bool(skip)] for skip in product.file_skip)))
    # A comma behind the last entry too, where it is allowed: adding an entry changes one line.
    return "[\n" + ",\n".join(lines) + (",\n]\n" if form == "literal" else "\n]\n") if lines else "[\n]\n"


def _problems(products: Sequence[Product], form: str) -> Iterator[str]:
    hosts: set[str] = set()
    for number, product in enumerate(products, 1):
        problem = _problem(product, type(products[0]), hosts) or (form == "parset" and _problem_as_parset(product))
        if problem:
            yield f"entry {number}: {problem}"


def _problem(product: Product, kind: type[Product], hosts: set[str]) -> str:
    """Return why no form can hold an entry, empty if one can; `hosts` are known to be good."""
    if type(product) is not kind or kind not in (DataProduct, MultiDataProduct):
        return f"expected all to be data products of one kind, got {quote_value(product)}"
    if not isinstance(product.host, str) or product.host not in hosts:
        try:
            hosts.add(check_host_name(product.host))
        except HostNameError as error:
            return str(error)
    if isinstance(product, DataProduct):
        return _problem_of_name(product.file)
    if len(product.file) != len(product.file_skip):
        return f"expected {len(product.file)} values in file_skip, got {len(product.file_skip)}"
    return next(filter(None, map(_problem_of_name, product.file)), "")


def _problem_of_name(file: str) -> str:
    if not isinstance(file, str) or (not file.isprintable() and NO_NAME.search(file)):
        return f"expected the name of a file, without NUL, got {quote_value(file)}"
    if len(file) > MAX_NAME_CHARS:
        return f"expected a name of at most {MAX_NAME_CHARS} characters, got {len(file)}"
    return ""


def _problem_as_parset(product: Product) -> str:
    if not isinstance(product, DataProduct):
        return "expected one file for the form parset, got a list; use literal or json"
    if product.skip:
        return "expected no skipped entry for the form parset, got one; use literal or json"
    if "\n" in product.file:
        return f"expected no newline for the form parset, got {quote_value(product.file)}; use literal or json"
    return ""
