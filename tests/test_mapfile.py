"""Mapfiles: the parset form, its errors, and files on disk."""

import contextlib
import time
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pipeline.errors import MapfileError
from pipeline.formats.mapfile import format_mapfile, parse_mapfile
from pipeline.recipe.mapfiles import load_data_map, read_mapfile, store_data_map, write_mapfile

SAMPLES = Path(__file__).parent.parent / "mapfiles"
HOSTS = st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,10}", fullmatch=True)
FILES = st.text(st.characters(blacklist_characters="\n\0"), max_size=20)


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
    ],
)
def test_text_gives_pairs(text, pairs):
    """Each form of a record gives its files in order."""
    assert parse_mapfile(text) == pairs


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
        ("a=/x", "1:3: expected '[' after 'a' and '=', got '/'"),
        ("a [ /x ]", "1:3: expected host=[ file, ... ], got '['"),
        ("[ ('a', 'b', False) ]", "1:1: expected host=[ file, ... ], got '['"),
        ("-oProxyCommand=[ x ]", "1:1: expected a host name, got '-oProxyCommand'"),
        ("$(x)=[ x ]", "1:1: expected a host name, got '$(x)'"),
    ],
)
def test_problem_is_named_by_its_place(text, message):
    """Where, what was expected, what was found."""
    assert problems(text) == (f"night.mapfile:{message}",)


def test_all_problems_are_reported():
    """One bad record does not hide the next."""
    found = problems("a=[ /x\nb=[ /y ]\na;b=[ 'x' ]\nc=/x\nd=[ ok ]\ne=[ , ]\n")

    assert [problem.split(":")[1] for problem in found] == ["1", "3", "4", "6"]


def test_problems_are_limited():
    """A file that is no mapfile at all does not fill the screen."""
    found = problems("a=[ , ]\n" * 1000)

    assert len(found) == 101
    assert "too many" in found[-1]


@settings(deadline=None)
@given(st.lists(st.tuples(HOSTS, FILES), max_size=8))
@example([("h", 'it\'s "both"')])
@example([("h", "'"), ("h", "''"), ("h", '"'), ("h", "\\"), ("h", " "), ("h", "\r"), ("h", "a=[b]")])
def test_format_then_parse_is_the_identity(pairs):
    """Any name without newline and NUL survives, with its order within the host."""
    ordered = [pair for host in dict.fromkeys(h for h, _ in pairs) for pair in pairs if pair[0] == host]

    assert parse_mapfile(format_mapfile(pairs)) == ordered


@settings(deadline=None)
@given(st.text("ab/=[],'\"#\\ \n\r\t", max_size=40) | st.text(max_size=40))
def test_any_text_is_pairs_or_a_mapfile_error(text):
    """No other exception."""
    with contextlib.suppress(MapfileError):
        pairs = parse_mapfile(text)
        assert [type(file) for _, file in pairs] == [str] * len(pairs)


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


@pytest.mark.parametrize(("host", "file"), [("a b", "x"), ("h", "a\nb"), ("h", "a\0b"), ("", "x")])
def test_what_no_mapfile_can_hold_is_refused(host, file):
    """Writing fails rather than reading something else back."""
    with pytest.raises(MapfileError, match="expected a"):
        format_mapfile([(host, file)])


def test_format_is_one_line_per_host():
    """Hosts come in the order they first appear."""
    assert format_mapfile([("b", "/1"), ("a", "/2"), ("b", "/3")]) == "b=[ /1, /3 ]\na=[ /2 ]\n"


def test_files_on_disk_come_back(tmp_path):
    """What was stored is loaded, from any path."""
    path = tmp_path / "it's a\nmapfile"
    pairs = [("lce001", "/data/it's"), ("lce002", "/data/\udce9")]

    write_mapfile(path, pairs)
    assert read_mapfile(path) == pairs
    store_data_map(path, pairs[:1])
    assert load_data_map(path) == pairs[:1]


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
    pairs = read_mapfile(SAMPLES / f"{sample}.mapfile")

    assert (len({host for host, _ in pairs}), len(set(pairs))) == (n_hosts, n_files)
