"""Mapfiles as lists, of Python's or JSON's making: what is read, what is refused, and that nothing is evaluated."""

import contextlib
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import MapfileError
from pipeline.formats import mapfile_reader
from pipeline.formats.mapfile import FORMS, format_mapfile, parse_mapfile
from pipeline.formats.mapfile_literal import LiteralReader
from pipeline.formats.mapfile_parset import ParsetReader
from pipeline.model.products import DataProduct, MultiDataProduct

A = DataProduct("a", "/x")
ENTRY = "expected an entry {'host': ..., 'file': ...} or ('host', 'file')"
KEYS = "expected one of 'host', 'file', 'skip', 'file_skip'"


def problems(text: str) -> list[str]:
    with pytest.raises(MapfileError) as caught:
        parse_mapfile(text, "f")
    return [problem.removeprefix("f:") for problem in caught.value.problems]


@pytest.mark.parametrize(
    "entry",
    [
        "{'host': 'a', 'file': '/x', 'skip': False}",
        "{'skip':False,'file':'/x','host':'a'}",
        "{'host': 'a', 'file': '/x'}",
        "{ 'host' : 'a' , 'file' : '/x' , 'skip' : false , }",
        '{"host": "a", "file": "/x", "skip": false}',
        '{"host": "a", "file": "\\/x"}',
        '["a", "/x"]',
        '["a", "/x", false]',
        "('a', '/x', False)",
        "('a', '/x', False,)",
        "('a', \"/x\")",
        "(u'a', U'/x')",
        "('\\x61', '\\57\\u0078')",
        "# the first\n\n('a' # the host\n,\n'/x') # done\n",
        "\r\n('a',\r\n'/x')\r\n",
    ],
)
def test_ways_to_write_an_entry(entry):
    """Keys in any order, tuples or dictionaries, commas at ends, comments: the same entry; not skipped unless told."""
    assert parse_mapfile(f"[{entry}]") == [A]
    assert parse_mapfile(f"# a map\n[{entry},{entry},] # the end") == [A, A]


@pytest.mark.parametrize("skip", ["True", "true"])
def test_skipped_entry_keeps_its_place(skip):
    """An entry to be skipped is an entry."""
    text = f"[('a', '/x'), ('b', '/y', {skip}), {{'host': 'c', 'file': '/z', 'skip': {skip}}}, ('d', '/w')]"

    assert [(one.host, one.skip) for one in parse_mapfile(text)] == [
        ("a", False),
        ("b", True),
        ("c", True),
        ("d", False),
    ]


@pytest.mark.parametrize(
    ("written", "file"),
    [
        (r"'it\'s'", "it's"),
        ('"it\'s"', "it's"),
        (r'"say \"x\", [1], #2"', 'say "x", [1], #2'),
        ("' blank at both ends '", " blank at both ends "),
        (r"'a\\b\nc\td\re'", "a\\b\nc\td\re"),
        (r"'\a\b\f\v'", "\a\b\f\v"),
        (r"'\udce9'", "\udce9"),
        ("'\udce9'", "\udce9"),
        (r"'\xe9\u20ac\U0001f600\1011'", "é€😀A1"),
        (r'"\ud83d\ude00"', "😀"),
        ("''", ""),
        ("'# no comment'", "# no comment"),
    ],
)
def test_text_with_escapes(written, file):
    """What repr() and JSON write comes back, as the last entry and before others."""
    assert parse_mapfile(f"[('a', {written}), ('b', {written})]") == [DataProduct("a", file), DataProduct("b", file)]


MULTI = MultiDataProduct("a", ["/x", "/y"], False, [False, True])


@pytest.mark.parametrize(
    "text",
    [
        "[{'host': 'a', 'file': ['/x', '/y'], 'skip': False, 'file_skip': [False, True]}]",
        "[{'host': 'a',  'skip': False, 'file': \"['/x', '/y']\", 'file_skip' : [False, True]}]",
        '[{"host": "a", "file": ["/x", "/y"], "file_skip": [false, true]}]',
        "[('a', ['/x', '/y',], False, [False, True])]",
        "[('a', ('/x', '/y'), False, (False, True))]",
    ],
)
def test_lists_of_files(text):
    """Also as the original wrote them: a list in quotes."""
    assert parse_mapfile(text) == [MULTI]


def test_list_of_files_is_not_skipped_by_default():
    """Neither as a whole nor one by one."""
    assert parse_mapfile("[('a', ['/x', '/y']), ('b', [])]") == [
        MultiDataProduct("a", ["/x", "/y"], False, [False, False]),
        MultiDataProduct("b", [], False, []),
    ]


@pytest.mark.parametrize("text", ["[]", "[ ]\n", "[\n]\n", "# none\n[]"])
def test_empty_list(text):
    """It is a map without entries."""
    assert parse_mapfile(text) == []


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("[", f"1:2: {ENTRY}, got end of file"),
        ("[,]", f"1:2: {ENTRY}, got ','"),
        ("[] x", "1:4: expected end of file after ']', got 'x'"),
        ("[('a', '/x')]\n[('b', '/y')]", "2:1: expected end of file after ']', got '['"),
        ("[('a', '/x')", "1:13: expected ',' or ']' after the entry, got end of file"),
        ("[('a', '/x'),,]", f"1:14: {ENTRY}, got ','"),
        ("[('a', '/x') ('b', '/y')]", "1:14: expected ',' or ']' after the entry, got '('"),
        ("[('a', '/x'))]", "1:13: expected ',' or ']' after the entry, got ')'"),
        ("[('a', '/x']", "1:12: expected ',' or ')' after the file, got ']'"),
        ("[('a' '/x')]", "1:7: expected ',' or ')' after the host, got \"'\""),
        ("[('a',)]", f"1:2: {ENTRY}, got no file"),
        ("[('a', '/x', False, [False], 1)]", "1:30: expected ')', got '1'"),
        ("[('a', '/x', 0)]", "1:14: expected True or False, got '0'"),
        ("[('a', '/x', None)]", "1:14: expected True or False, got 'None'"),
        ("[('a', '/x', 'False')]", '1:14: expected True or False, got "\'"'),
        ("[('a', 1)]", "1:8: expected a file name in quotes, got '1'"),
        ("[(None, '/x')]", "1:3: expected a host name in quotes, got 'None'"),
        ("['a']", f'1:2: {ENTRY}, got "\'"'),
        ("[1, 2]", f"1:2: {ENTRY}, got '1'"),
        ("(('a', '/x'),)", "1:1: expected host=[ file, ... ] or a list [ ... ], got '('"),
        ("{'host': 'a', 'file': '/x'}", "1:1: expected host=[ file, ... ] or a list [ ... ], got '{'"),
        ("[{'hots': 'a', 'file': '/x'}]", f"1:3: {KEYS}, got 'hots'"),
        ("[{host: 'a', 'file': '/x'}]", f"1:3: {KEYS}, got 'host'"),
        ("[{'host': 'a'}]", f"1:2: {ENTRY}, got no file"),
        ("[{'file': '/x', 'skip': True}]", f"1:2: {ENTRY}, got no host"),
        ("[{}]", f"1:2: {ENTRY}, got no host"),
        ("[{'host': 'a', 'host': 'b', 'file': '/x'}]", "1:16: expected each key once, got 'host' twice"),
        ("[{'host' 'a'}]", "1:10: expected ':' after 'host', got \"'\""),
        ("[{'host': 'a', 'file': '/x'", "1:28: expected ',' or '}' after the value of 'file', got end of file"),
        ("[{'host': 'a;b', 'file': '/x'}]", "1:11: expected a host name, got 'a;b'"),
        ("[('-oProxyCommand=x', '/x')]", "1:3: expected a host name, got '-oProxyCommand=x'"),
        ("[('$(x)', '/x')]", "1:3: expected a host name, got '$(x)'"),
        ("[('a', '/x)]", "1:8: expected a closing ' on this line, got none"),
        ("[('a', '/x\n')]", "1:8: expected a closing ' on this line, got none"),
        ("[('a', '/x\\\n')]", "1:8: expected a closing ' on this line, got none"),
        (r"[('a', '/x\q')]", r"1:11: expected an escape that repr() or JSON writes, got \q"),
        (r"[('a', '/x\x1')]", r"1:11: expected an escape that repr() or JSON writes, got \x"),
        (r"[('a', '\U00110000')]", r"1:9: expected an escape that repr() or JSON writes, got \U"),
        (r"[('a', u'\N{DASH}')]", r"1:10: expected an escape that repr() or JSON writes, got \N"),
        (r"[('a', '/x\0')]", r"1:8: expected the name of a file, got '/x\x00'"),
        (r"[('a', '\ud800')]", r"1:8: expected the name of a file, got '\ud800'"),
        ("[('a', b'/x')]", "1:8: expected a file name in quotes, got 'b'"),
        ("[('a', r'/x')]", "1:8: expected a file name in quotes, got 'r'"),
        ("[('a', '''/x''')]", "1:10: expected ',' or ')' after the file, got \"'\""),
        ("[('a', '/x'), ('b', ['/y'])]", "1:15: expected one file as in the first entry, got a list of files"),
        ("[('a', ['/x']), ('b', '/y'), ]", "1:17: expected a list of files as in the first entry, got one file"),
        (
            "[('a', ['/x', '/y'], False, [True])]",
            "1:29: expected as many values in 'file_skip' as in 'file', got 1 and 2",
        ),
        (
            "[{'host': 'a', 'file': '/x', 'file_skip': [True]}]",
            "1:24: expected a list of files beside 'file_skip', got '/x'",
        ),
        (
            "[{'host': 'a', 'file': \"['/x'] + []\", 'file_skip': [True]}]",
            "1:24: expected a list of files beside 'file_skip', got \"['/x'] + []\"",
        ),
        ("[('a', ['/x'], False, True)]", "1:23: expected a list of True and False, got 'True'"),
        ("[('a', ['/x', ['/y']])]", "1:15: expected a file name in quotes, got '['"),
        ("[__import__('os').system('id')]", f"1:2: {ENTRY}, got '__import__'"),
        ("[('a', __import__('os').getcwd())]", "1:8: expected a file name in quotes, got '__import__'"),
        ("[{'host': 'a', 'file': open('/etc/passwd').read()}]", "1:24: expected a file name in quotes, got 'open'"),
        ("[('a', '/x' + '/y')]", "1:13: expected ',' or ')' after the file, got '+'"),
        ("[('a', '/x' % ())]", "1:13: expected ',' or ')' after the file, got '%'"),
        ("[('a', f'{1}')]", "1:8: expected a file name in quotes, got 'f'"),
        ("[('a', '/x') for a in 'ab']", "1:14: expected ',' or ']' after the entry, got 'for'"),
        ("[*[('a', '/x')]]", f"1:2: {ENTRY}, got '*'"),
    ],
)
def test_problem_is_named_by_its_place(text, problem):
    """Where, what was expected, what was found; code is not run but refused."""
    assert problems(text) == [problem]


def test_all_problems_are_reported():
    """One bad entry does not hide the next, nor is an entry told twice."""
    text = "[\n('a' '/x'),\n('b', ['/y'], False, []),\n{'host': 'c'},\n('d', '/z'),\n('$', '/z'),\n('e', '/z', 1),\n]"

    assert [problem.split(":")[0] for problem in problems(text)] == ["2", "3", "4", "6", "7"]


@pytest.mark.parametrize("entry", ["('a',)", "('a;b', '/x')", "('a;b', ['/x'])", "('-', '/x')"])
def test_problems_are_limited(entry):
    """A list of something else does not fill the screen."""
    found = problems("[" + f"{entry},\n" * 1000 + "]")

    assert len(found) == 101
    assert "too many" in found[-1]


@pytest.mark.parametrize(
    ("reader", "text"),
    [
        (ParsetReader, "a=[ 1, 2, 3, 4 ]"),
        (ParsetReader, "a=[ '1', '2', '3', '4' ]"),
        (ParsetReader, "a=[1,2,3]\nb=/4\nc=,"),
        (LiteralReader, "[('a', '1'), ('a', '2'), ('a', '3'), ('a', '4'), x"),
        (LiteralReader, "[('a', ['1', '2', '3', '4', x"),
        (LiteralReader, "[['a', ['1', '2']], ['b', ['3', '4']], x]"),
    ],
)
def test_number_of_files_is_limited(monkeypatch, reader, text):
    """More files than anybody has are refused as soon as they are met, not when memory is full."""
    monkeypatch.setattr(mapfile_reader, "MAX_ENTRIES", 3)
    one = reader(text, "f")
    one.read()

    (problem,) = one.problems
    assert "expected at most 3 files, got more" in problem


def test_five_million_names_are_too_many():
    """Each costs two bytes of the file but a hundred in memory: they are counted first."""
    (problem,) = problems(f"a=[ {'x,' * 5_000_000}x ]")

    assert problem == "1:4: expected at most 5000000 files, got more"


LONG = "x" * 65_537


@pytest.mark.parametrize(
    ("text", "place"),
    [
        (f"a=[ /y, {LONG} ]", "1:9"),
        (f"a=[ '/y', '{LONG}' ]", "1:11"),
        (f"a=/{LONG[1:]}", "1:3"),
        (f"[('a', '{LONG}'), ('b', 'x')]", "1:8"),
        (f"[('a', '{LONG}')]", "1:8"),
        (f"[('a', ['y', '{LONG}'])]", "1:14"),
        (f"[('a', '[\"{LONG}\"]', False, [True])]", "1:8"),
    ],
)
def test_a_name_is_limited(text, place):
    """In every form and place: no file has such a name, and work on it would be lost."""
    (problem,) = problems(text)

    assert problem.startswith(f"{place}: expected a ")


def test_a_name_of_escapes_is_refused_unread():
    """Ten million of them would take seconds."""
    (problem,) = problems("[('a', '" + r"\u00e9" * 200_000 + "',5)]")

    assert problem == "1:8: expected a name of at most 1048576 characters, got 1200000"


def test_the_longest_name_survives_every_form():
    """Also where each character is written with twelve."""
    entry = DataProduct("a", "\U0001f600" * 65_536)

    assert [parse_mapfile(format_mapfile([entry], form)) for form in FORMS] == [[entry]] * 3
    with pytest.raises(MapfileError, match="entry 1: expected a name of at most 65536 characters, got 65537"):
        format_mapfile([DataProduct("a", LONG)])


def test_text_is_limited():
    """What no file could hold is refused whatever is in it."""
    (problem,) = problems(" " * ((64 << 20) + 1))

    assert "expected at most 67108864 characters, got 67108865" in problem


PIECES = [*"[](){},:#'\"\\\n ", "'a'", '"/x"', "host", "'host'", "'file'", "'skip'", "'file_skip'", "True", "false",
          "('a', '/x')", "{'host': 'a', 'file': '/x'}", "['/x']", "\\u", "\0", "\udce9", "u", "1"]  # fmt: skip


@settings(deadline=None)
@given(st.lists(st.sampled_from(PIECES), max_size=15).map("".join) | st.text(max_size=40))
def test_any_list_is_products_or_a_mapfile_error(text):
    """No other exception, and one line for each problem."""
    found: tuple[str, ...] = ()
    try:
        parse_mapfile(f"[{text}")
    except MapfileError as error:
        found = error.problems

    assert [problem for problem in found if len(problem.splitlines()) != 1] == []


@settings(deadline=None)
@given(st.data())
def test_damaged_list_is_products_or_a_mapfile_error(data):
    """A good map in which a piece is cut out, or put in."""
    text = "[{'host': 'a', 'file': '/x', 'skip': False}, ('b', \"/y\"), ['c', '\\u00e9', true], ('d', ['1', '2'])]"
    start, end = data.draw(st.integers(0, len(text))), data.draw(st.integers(0, len(text)))
    with contextlib.suppress(MapfileError):
        parse_mapfile(text[:start] + data.draw(st.sampled_from(["", *PIECES])) + text[end:])


@pytest.mark.parametrize(
    "text",
    [
        "[" * 5_000_000,
        "[{" * 2_000_000,
        "[('a', " + "[" * 5_000_000,
        "[" + " " * 10_000_000,
        "[" + "#\n" * 3_000_000,
        "[('a', '" + "\\" * 1_000_001,
        "[('a', '" + "x" * 10_000_000,
        "[('a', '" + "\\x41" * 1_000_000 + "')]",
        "[" + "('a', '/x', False),\n" * 300_000 + "]",
        "[" + "{'file': '/x', 'host': 'a'}," * 100_000 + "]",
        "[" + "('a', '/x'" * 1_000_000,
        "[" + "] , " * 2_000_000,
        "[('a', [" + "'/x', " * 500_000 + "])]",
        "[{'host': 'a', 'file': \"" + "[" * 3_000_000 + '", \'file_skip\': []}]',
        "[" + ",\n" * 3_000_000,
    ],
    ids=["lists", "dicts", "inner", "blanks", "comments", "backslashes", "text", "escapes", "tuples", "keys", "open",
         "closed", "files", "in text", "commas"],
)  # fmt: skip
def test_time_is_linear(text):
    """Hostile files of some megabytes are done in seconds."""
    start = time.process_time()
    with contextlib.suppress(MapfileError):
        parse_mapfile(text)

    assert time.process_time() - start < 10
