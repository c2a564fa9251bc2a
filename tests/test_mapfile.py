"""Mapfiles: the parset form and its errors, and what holds for all forms."""

import contextlib
import json
import time
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pipeline.errors import MapfileError
from pipeline.formats.mapfile import FORMS, format_mapfile, is_exact_as_parset, parse_mapfile
from pipeline.model.products import DataProduct, MultiDataProduct
from pipeline.recipe.mapfiles import read_mapfile

SAMPLES = Path(__file__).parent.parent / "mapfiles"
HOSTS = st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,10}", fullmatch=True)
# What a file system can hold: any bytes but NUL, as Python shows them.
FILES = st.binary(max_size=20).map(lambda data: data.replace(b"\0", b"").decode("utf-8", "surrogateescape"))
PRODUCTS = st.lists(st.builds(DataProduct, HOSTS, FILES, st.booleans()), max_size=8)
LISTS = st.lists(st.tuples(FILES, st.booleans()), max_size=4)
MULTI_PRODUCTS = st.lists(
    st.builds(
        lambda host, files, skip: MultiDataProduct(host, [f for f, _ in files], skip, [s for _, s in files]),
        *(HOSTS, LISTS, st.booleans()),
    ),
    max_size=8,
)


def pairs_in(text: str) -> list[tuple[str, str | list[str]]]:
    return [(product.host, product.file) for product in parse_mapfile(text)]


def problems(text: str) -> tuple[str, ...]:
    with pytest.raises(MapfileError) as caught:
        parse_mapfile(text, "night.mapfile")
    return caught.value.problems


@pytest.mark.parametrize(
    ("text", "pairs"),
    [
        ("", []),
        ("a=[]", []),
        ("a=[ /x ]", [("a", "/x")]),
        ("a=[ /x, /y ]\nb = [/z]\n", [("a", "/x"), ("a", "/y"), ("b", "/z")]),
        ("a=[/x]\r\nb=[/y]\r\n", [("a", "/x"), ("b", "/y")]),
        ("# note\n\n a=[ /x ] # [end]\n", [("a", "/x")]),
        ("a=[ /x, # first\n  /y,\\\n /z\n]", [("a", "/x"), ("a", "/y"), ("a", "/z")]),
        ("a=[ /swinban k/x ]", [("a", "/swinban k/x")]),
        ("a=[ 'x, y', \"[z]#\", 'it'\"'\"'s', '' ]", [("a", "x, y"), ("a", "[z]#"), ("a", "it's"), ("a", "")]),
        ("a=[/x]\nb=[/y]\na=[/z]", [("a", "/x"), ("b", "/y"), ("a", "/z")]),
        ("'a'=[ k=v ]", [("a", "k=v")]),
        ("a=[ L1..3, 3*x ]", [("a", "L1..3"), ("a", "3*x")]),
        ("::1=[ /x ]", [("::1", "/x")]),
        ("a=[ /x\u00a0, \u3000\x1c/y\x85 ]", [("a", "/x\u00a0"), ("a", "\u3000\x1c/y\x85")]),
        ("a=/x\nb = '/y z' # end\n", [("a", "/x"), ("b", "/y z")]),
        ("a=[ /x,\nb=/y ]", [("a", "/x"), ("a", "b=/y")]),
    ],
)
def test_text_gives_pairs(text, pairs):
    """Each way to write a record gives its files in order."""
    assert pairs_in(text) == pairs


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a=[ /x ] b=[ /y ]", "1:10: expected one host per line, got 'a' and 'b'; start a new line here"),
        ("\n\na=[ /x", "3:7: expected ',' or ']' after '/x', got end of file"),
        ("a=[ /x\nb=[ /y ]", "1:7: expected ',' or ']' after '/x', got end of line"),
        ("a=[ /x,\nb=[ /y ]", "1:8: expected a file name, got end of line"),
        ("a=[ /x [ ]", "1:8: expected ',' or ']' after '/x', got '['"),
        ("a=[ /x, ]", "1:9: expected a file name, got ']'"),
        ("a=[ , /x ]", "1:5: expected a file name, got ','"),
        ("a=[ 'x ]", "1:5: expected a closing ' on this line, got none"),
        ("a=[ /x ] /y", "1:10: expected end of line after ']', got '/'"),
        ("a=[ /x ] b=/y", "1:10: expected one host per line, got 'a' and 'b'; start a new line here"),
        ("a=/x b=/y", "1:6: expected one host per line, got 'a' and 'b'; start a new line here"),
        ("a=/x, /y", "1:5: expected end of line after '/x', got ','"),
        ("msin=L1.MS", "1:6: expected '[' or an absolute path after 'msin' and '=', got 'L1'"),
        ("a='x'", "1:3: expected '[' or an absolute path, got 'x'"),
        ("a=\n", "1:3: expected '[' or an absolute path after 'a' and '=', got end of line"),
        ("a [ /x ]", "1:3: expected host=[ file, ... ], got '['"),
        ("-oProxyCommand=[ x ]", "1:1: expected a host name, got '-oProxyCommand'"),
        ("$(x)=[ x ]", "1:1: expected a host name, got '$(x)'"),
    ],
)
def test_problem_is_named_by_its_place(text, message):
    """Where, what was expected, what was found."""
    assert problems(text) == (f"night.mapfile:{message}",)


def test_all_problems_are_reported():
    """One bad record does not hide the next."""
    found = problems("a=[ /x\nb=[ /y ]\na;b=[ 'x' ]\nc=x\nd=[ ok ]\ne=[ , ]\n")

    assert [problem.split(":")[1] for problem in found] == ["1", "3", "4", "6"]


def test_problems_are_limited():
    """A file that is no mapfile at all does not fill the screen."""
    found = problems("a=[ , ]\n" * 1000)

    assert len(found) == 101
    assert "too many" in found[-1]


@settings(deadline=None)
@given(st.sampled_from(FORMS), PRODUCTS)
@example("parset", [DataProduct("h", 'it\'s "both"')])
@example("parset", [DataProduct("h", name) for name in ("'", "''", '"', "\\", " ", "\r", "a=[b]", ", ", "#", "[1..3]")])
@example(
    "literal",
    [DataProduct("h", name, True) for name in ("'", '"', "'\"", "\\", "\n", "\x7f\x85\u2028", "\udc80 \u20ac")],
)
@example(
    "json",
    [DataProduct("h", name, True) for name in ("'", '"', "'\"", "\\/", "\n", "\x7f\x85\u2028", "\udc80 \U0001f600")],
)
def test_format_then_parse_is_the_identity(form, products):
    """Any name survives in each form; the parset form keeps the order within each host."""
    if form == "parset":
        products = [DataProduct(one.host, one.file.replace("\n", "")) for one in products]
        hosts = list(dict.fromkeys(one.host for one in products))
        assert parse_mapfile(format_mapfile(products)) == sorted(products, key=lambda one: hosts.index(one.host))
    else:
        assert parse_mapfile(format_mapfile(products, form)) == products


@settings(deadline=None)
@given(st.sampled_from(["literal", "json"]), MULTI_PRODUCTS)
def test_lists_of_files_survive(form, products):
    """Entries of several files, each skipped or not, come back."""
    assert parse_mapfile(format_mapfile(products, form)) == products


@settings(deadline=None)
@given(PRODUCTS)
def test_exact_as_parset_means_that_it_comes_back(products):
    """Where the claim holds, the parset form is the identity; else it is another map, or is refused."""
    try:
        comes_back = parse_mapfile(format_mapfile(products)) == products
    except MapfileError:
        comes_back = False

    assert is_exact_as_parset(products) == comes_back


@settings(deadline=None)
@given(st.text("ab/=[],'\"#\\ \n\r\t", max_size=40) | st.text(max_size=40))
def test_any_text_is_products_or_a_mapfile_error(text):
    """No other exception; and all products can be written again."""
    with contextlib.suppress(MapfileError):
        products = parse_mapfile(text)
        assert parse_mapfile(format_mapfile(products, "literal")) == products


@pytest.mark.parametrize(
    "text",
    [
        "a=" + "[" * 100_000,
        "a=[" + " " * 10_000_000,
        "a=[ " + "/data/x, " * 300_000 + "/y ]",
        "a=[ " + "'" * 1_000_001,
        "a=[ x" + "\\" * 1_000_000,
        "\n" * 10_000_000 + "x",
        "a=[ x,\n" * 200_000,
        "a" * 10_000_000,
    ],
    ids=["brackets", "blanks", "files", "quotes", "backslashes", "newlines", "open", "key"],
)
def test_time_is_linear(text):
    """Hostile files of some megabytes are done in seconds."""
    start = time.process_time()
    with contextlib.suppress(MapfileError):
        parse_mapfile(text)

    assert time.process_time() - start < 10


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    ("host", "file"), [("a b", "x"), ("", "x"), (None, "x"), ([], "x"), ("h", "a\0b"), ("h", None), ("h", "\ud800")]
)
def test_what_no_mapfile_can_hold_is_refused(host, file, form):
    """Writing fails rather than reading something else back; the entry is named by its number."""
    with pytest.raises(
        MapfileError, match=r"^entry 2: .*expected .*the name of a file|^entry 2: .*expected a host name"
    ):
        format_mapfile([DataProduct("h", "x"), DataProduct(host, file)], form)


@pytest.mark.parametrize(
    ("product", "what"),
    [
        (DataProduct("h", "x", True), "expected no skipped entry"),
        (DataProduct("h", "a\nb"), "expected no newline"),
        (MultiDataProduct("h", ["x"]), "expected one file"),
    ],
)
def test_what_the_parset_form_cannot_hold_is_refused(product, what):
    """The message says which forms can."""
    with pytest.raises(MapfileError, match=f"entry 1: {what} for the form parset, got .*; use literal or json"):
        format_mapfile([product], "parset")


def test_kinds_are_not_mixed():
    """A map is of files or of lists of files."""
    with pytest.raises(MapfileError, match="entry 2: expected all to be data products of one kind, got MultiData"):
        format_mapfile([DataProduct("h", "x"), MultiDataProduct("h", ["x"])], "literal")


def test_unknown_form_is_refused():
    """The forms are named."""
    with pytest.raises(MapfileError, match="expected one of parset, literal, json, got 'yaml'"):
        format_mapfile([], "yaml")


def test_parset_form_is_one_line_per_host():
    """Hosts come in the order they first appear."""
    products = [DataProduct("b", "/1"), DataProduct("a", "/2"), DataProduct("b", "/3")]

    assert format_mapfile(products) == "b=[ /1, /3 ]\na=[ /2 ]\n"


def test_list_forms_are_one_line_per_entry():
    """As Python and as JSON write them."""
    products = [DataProduct("b", "/it's"), DataProduct("a", "/2", True)]

    literal, as_json = (format_mapfile(products, form) for form in ("literal", "json"))

    assert (
        literal
        == """[
{'host': 'b', 'file': "/it's", 'skip': False},
{'host': 'a', 'file': '/2', 'skip': True},
]
"""
    )
    assert json.loads(as_json) == [
        {"host": "b", "file": "/it's", "skip": False},
        {"host": "a", "file": "/2", "skip": True},
    ]
    assert len(as_json.splitlines()) == 4


def test_problem_in_a_file_names_the_file(tmp_path):
    """The path stands in front, on one line."""
    path = tmp_path / "a\nb"
    path.write_text("a=[")

    with pytest.raises(MapfileError, match=r"a\\nb:1:4: expected a file name, got end of file"):
        read_mapfile(path)


@pytest.mark.parametrize(
    ("sample", "n_hosts", "n_files"),
    [("localhost", 1, 3), ("two_hosts", 2, 5), ("four_hosts", 4, 8), ("ten_hosts", 10, 36)],
)
def test_sample_can_be_read(sample, n_hosts, n_files):
    """The samples that docs and tests use are what their comment says."""
    products = read_mapfile(SAMPLES / f"{sample}.mapfile")

    assert (len({one.host for one in products}), len({str(one) for one in products})) == (n_hosts, n_files)
