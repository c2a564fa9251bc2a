"""Values of parsets, recipe fields and pipeline.cfg: strings, numbers, vectors, records, repeats and ranges."""

import contextlib
import json
import math
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import ParsetError
from pipeline.formats.parset import Parset
from pipeline.formats.parset_compact import compact_text
from pipeline.formats.parset_expand import MAX_ELEMENTS, expand_text
from pipeline.formats.parset_values import (
    parse_dict,
    parse_list,
    split_record,
    split_vector,
    to_bool,
    to_float,
    to_int,
    to_string,
    to_time,
)
from pipeline.formats.values import format_list, parse_bool, parse_float, parse_int, quote

REFERENCE = Path(__file__).parents[2] / "shared" / "data" / "parset" / "values.jsonl"
CHARACTERS = "ab0123456789.*[](){},;:'\" \t-x"

# --- lists of recipe fields and pipeline.cfg ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "elements"),
    [
        ("[]", []),
        ("", []),
        ("a", ["a"]),
        ("a, b", ["a", "b"]),
        ("[a, 'b,c', \"d e\"]", ["a", "b,c", "d e"]),
        ("[a,,b]", ["a", "", "b"]),
        ("[a, [d, 'e,f'], {k: v, l: w}]", ["a", "[d, 'e,f']", "{k: v, l: w}"]),
        ("[L001..003]", ["L001", "L002", "L003"]),
        ("[L001..L003, x]", ["L001", "L002", "L003", "x"]),
        ("[3..1]", ["3", "2", "1"]),
        ("[/a9 .. /a11.MS]", ["/a9.MS", "/a10.MS", "/a11.MS"]),
        ("[/s1..2:/d1..2]", ["/s1:/d1", "/s1:/d2", "/s2:/d1", "/s2:/d2"]),
        ("['L1..3', /a/../b, a..c]", ["L1..3", "/a/../b", "a..c"]),
        ("L1..3", ["L1..3"]),
        ("['a'\"b\"c]", ["abc"]),
    ],
)
def test_list_text_gives_elements(text, elements):
    """Quotes, nesting and ranges are as in parsets."""
    assert parse_list(text) == elements


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[a", "expected ']' at the end of the list, got '[a'"),
        ("[a, (b]", "expected a closing ')' in 'a, (b'"),
        ("[a)]", "expected brackets in pairs, got ')' too many in 'a)'"),
        ("['a]", "expected a closing ' in \"['a]\""),
        ("[1..1000001]", "expected at most 1000000 elements, got more with '[1..1000001]'"),
        ("[1..999999, 1..10]", "expected at most 1000000 elements, got more with '[1..999999, 1..10]'"),
        ("[1..9999999999999999999]", "expected a number up to 2147483647"),
        ("[1..1000:1..1000:1..1000]", "got more with '[1..1000:"),
        ("[" * 200 + "]" * 200, "expected brackets at most 100 deep"),
    ],
)
def test_bad_list_is_refused(text, message):
    """Unbalanced text and ranges that would fill the memory are errors."""
    with pytest.raises(ParsetError) as caught:
        parse_list(text)

    assert message in str(caught.value)


@settings(deadline=None)
@given(st.text("ab0123456789.[](){},:'\" ", max_size=30))
def test_any_text_is_a_list_or_a_parset_error(text):
    """No other exception."""
    for parse in (parse_list, parse_dict, parse_int, parse_float, parse_bool):
        try:
            parse(text)
        except ParsetError as error:
            problem = str(error)
            assert "\n" not in problem


@settings(deadline=None)
@given(st.lists(st.text(max_size=10), min_size=1))
def test_formatted_list_comes_back(elements):
    """Commas, quotes, blanks and dots in elements survive."""
    assert parse_list(format_list(elements), expand=False) == elements


@settings(deadline=None)
@given(st.text())
def test_quoted_text_comes_back(text):
    """Quotes of both kinds survive."""
    assert to_string(quote(text)) == (text if text else "")


@pytest.mark.parametrize("text", ["1_000", "٣", "1.0", "0b1", "", "1e3", "9" * 5000])
def test_integer_is_strict(text):
    """What Python takes and a parset does not is refused."""
    with pytest.raises(ParsetError, match="expected an integer, got"):
        parse_int(text)


@pytest.mark.parametrize("text", ["nan", "inf", "1e999", "1_0.0", "", "."])
def test_number_is_finite_and_strict(text):
    """No infinity gets into a time limit."""
    with pytest.raises(ParsetError, match="expected a number, got"):
        parse_float(text)


# --- as the original parameterset ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expanded"),
    [
        ("[1..3]", "[1,2,3]"),
        ("  [1..3]  ", "  [1,2,3]  "),
        ("1..3", "1..3"),
        ("3*x", "3*x"),
        ("[3*x]", "[x,x,x]"),
        ("[ 3 * x]", "[ x,x,x]"),
        ("[3*(1;2)]", "[1,2,1,2,1,2]"),
        ("[3*(1,2)]", "[1,2,1,2,1,2]"),
        ("[3*[1,2]]", "[[1,2],[1,2],[1,2]]"),
        ("[2*(3*1)]", "[1,1,1,1,1,1]"),
        ("[2*3*x]", "[x,x,x,x,x,x]"),
        ("[2*(a(b;c);d)]", "[a(b,c),d,a(b,c),d]"),
        ("[2*(a;2*x)b]", "[a,x,xb,a,x,xb]".replace("x,xb,a", "x,x,a").replace("x,xb]", "xb,xb]")),
        ("[0*x]", "[]"),
        ("[a,0*b,c]", "[a,,c]"),
        ("[10.5*2, x*3, a2*x]", "[10.5*2, x*3, a2*x]"),
        ("['2*x', \"1..3\"]", "['2*x', \"1..3\"]"),
        ("[2*'a,b'c]", "['a,b'c,'a,b'c]"),
        ("[01..3, 10..08]", "[01,02,03, 10,09,08]"),
        ("[a1..a3, a1..b3, ab1..b3]", "[a1,a2,a3, a1..b3, ab1..b3]"),
        ("[/s1..2:/d1..2]", "[/s1:/d1,/s1:/d2,/s2:/d1,/s2:/d2]"),
        ("[1..3..5]", "[1,2,3,4,5,2,3,4,5,3,4,5]"),
        ("[a{1..2}b, {x1..2}]", "[a1b,a2b, {x1},{x2}]"),
        ("[-1..3]", "[-1,-2,-3]"),
        ("[1.5..3]", "[1.5,1.4,1.3]"),
        ("[a..c, 1..b, 1.. , ..3]", "[a..c, 1..b, 1.. , ..3]"),
        ("[1 .. 3, a b1..2]", "[1,2,3, a b1,b2]"),
        ("[[1..2]]", "[[1,2]]"),
        ("[2*(5..7)]", "[5,6,7,5,6,7]"),
        ("[a*1..3]", "[a*1,2,3]"),
        ("[01..02a01..02a..]", "[01a01a..,01a02a..,02a01..02a..]"),
    ],
)
def test_repeats_and_ranges_are_written_out(text, expanded):
    """Repeats come first, in brackets and outside quotes only; what they make is read again."""
    assert expand_text(text) == expanded


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[1..1000000000000]", "expected a number up to 2147483647, got '1000000000000'"),
        ("[1..2000000000]", "expected at most 1000000 elements, got more with '[1..2000000000]'"),
        ("[1000000000*x]", "expected at most 1000000 elements"),
        ("[1000*1000*1000*x]", "expected at most 1000000 elements"),
        ("[1..1000:1..1000:1..1000]", "expected at most 1000000 elements"),
        ("[" + ",".join(["1..999999"] * 2) + "]", "expected at most 1000000 elements"),
        ("[999999*'" + "x" * 100 + "']", "expected at most 67108864 characters"),
        ("[" * 100000 + "2*x" + "]" * 100000, "expected brackets and repeats at most 100 deep"),
        ("[" + "1*" * 100000 + "x]", "expected brackets and repeats at most 100 deep"),
        ("[" + "1*(" * 90 + "1*" * 90 + "x" + ")" * 90 + "]", "at most 100 deep"),
        ("[" + ":".join(["1..1"] * 1000) + "]", "expected at most 100 ranges in an element"),
        ("[2*(x]", "expected a closing ')', got none in '(x]'"),
        ("[2*'x]", "expected a closing ' in"),
        ("[" + "," * MAX_ELEMENTS + "2*x]", "expected at most 1000000 elements"),
    ],
)
def test_expansion_that_is_too_large_is_refused_before_it_is_built(text, message):
    """One line says which limit, at once."""
    start_s = time.process_time()
    with pytest.raises(ParsetError) as caught:
        expand_text(text)

    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert time.process_time() - start_s < 5  # without the limits: minutes, or the memory is full


@pytest.mark.parametrize("text", ["[a1..2000 b1..2000]", "[[a1..2000] [b1..2000]]", "[(a1..2000)(b1..2000)]"])
def test_ranges_one_behind_the_other_add(text):
    """Only those in a suffix multiply."""
    assert len(expand_text(text).split(",")) == 3999


def test_number_may_have_thousands_of_zeros():
    """Python would not convert so many digits."""
    assert expand_text(f"[{'0' * 5000}2*x]") == "[x,x]"


@pytest.mark.parametrize(
    ("text", "elements"),
    [
        ("", []),
        ("[ ]", []),
        ("[ , ]", ["", ""]),
        ("a, b", ["a, b"]),
        ("[\"a,b\",'c]d']", ["a,b", "c]d"]),
        ("[[1,'2,3'],{a:1,b:2}]", ["[1,2,3]", "{a:1,b:2}"]),
        ("'a,b'", ["a,b"]),
    ],
)
def test_vector_splits_at_its_own_commas(text, elements):
    """A scalar is a vector of one; quotes go from nested lists too."""
    assert Parset.from_dict({"k": text}).get_vector("k") == elements


@pytest.mark.parametrize("text", ["[[1]", "[1]]", "[(a])]", "[a],[b]", "[a'b]", "[([a])]", "[({a})]"])
def test_vector_needs_brackets_in_pairs(text):
    """As in the original, parentheses hold no other brackets."""
    with pytest.raises(ParsetError):
        split_vector(text)


def test_record_has_keys_and_raw_values():
    """Quotes go from keys; the first colon divides."""
    assert split_record("{ 'a b' : 'x,y', c:[1,2], d:e:f, g: }") == [
        ("a b", "'x,y'"),
        ("c", "[1,2]"),
        ("d", "e:f"),
        ("g", ""),
    ]


@pytest.mark.parametrize("text", ["{a}", "{a:1,}", "{a:1,a:2}", "{:1}", "a:1", "{a:1]}"])
def test_record_that_is_none_is_refused(text):
    """Each entry has a key of its own and a colon."""
    with pytest.raises(ParsetError):
        split_record(text)


@pytest.mark.parametrize(
    ("convert", "text", "value"),
    [
        (to_string, "  'a'\"b\"c ", "abc"),
        (to_bool, "Tx", True),
        (to_bool, "1.5", True),
        (to_bool, "0x1", False),
        (to_bool, "none", False),
        (to_int, " 08 ", 8),
        (to_int, "0X1f", 31),
        (to_int, "+7", 7),
        (to_int, "-" + "0" * 5000 + "7", -7),
        (to_int, "0x" + "0" * 5000, 0),
        (to_int, "", 0),
        (to_int, "-2147483648", -(2**31)),
        (to_float, "", 0.0),
        (to_float, "0x1.8p1", 3.0),
        (to_float, "-inf", -math.inf),
        (to_float, ".5", 0.5),
        (to_float, "0e999", 0.0),
        (to_time, "15", 15),
        (to_time, "2 hour", 7200),
        (to_time, "5ms", 300),
        (to_time, "1d", 1),
        (to_time, "1.5 hour", 1),
        (to_time, "99999999999999999999", 2**63 - 1),
    ],
)
def test_scalar_has_the_original_value(convert, text, value):
    """Quirks included: the first letter decides, a unit is m or h or it is seconds."""
    assert convert(text) == value


@pytest.mark.parametrize(
    ("convert", "text"),
    [
        *((to_bool, text) for text in ("", "x", " true", "'true'", "-1")),
        *((to_int, text) for text in ("1.0", "2147483648", "0x80000000", "-0x1", "0x", "'5'", "1_0", "9" * 10**5)),
        *((to_float, text) for text in ("1e400", "1e-400", "1e-310", "1.5f", "0x", "0x1p9999", "1_0", "infx")),
        *((to_time, text) for text in ("", "m", ".5", "- 5m", "99999999999999999999h")),
        *((to_string, text) for text in ("it's", 'a"')),
    ],
)
def test_scalar_of_another_type_is_refused(convert, text):
    """One line with what was expected and what was found."""
    with pytest.raises(ParsetError, match=r"^expected .* (got|in) "):
        convert(text)


@pytest.mark.skipif(not REFERENCE.exists(), reason="the reference data are not there")
def test_every_reference_value_has_the_original_answer():
    """181 values, as strings, vectors, numbers and expanded."""
    wrong = []
    for line in REFERENCE.read_text("utf-8").splitlines():
        reference = json.loads(line)
        parset = Parset.from_dict({"k": reference["in"]})
        answers = {
            "expand": parset.expand,
            "string": parset.get_string,
            "stringvector": parset.get_vector,
            "stringvector_expanded": lambda key, parset=parset: parset.get_vector(key, expand=True),
            "bool": parset.get_bool,
            "int": parset.get_int,
            "double": lambda key, parset=parset: parset.get_float(key),
            "time": parset.get_time,
        }
        for name, answer in answers.items():
            wanted = "error" if isinstance(reference[name], dict) else reference[name]
            try:
                found = answer("k")
            except ParsetError:
                found = "error"
            if name == "double" and wanted != "error":
                wanted = float(wanted)
            if found != wanted:
                wrong.append((reference["in"], name, wanted, found))
    assert wrong == []


@settings(deadline=None, max_examples=300)
@given(st.text(CHARACTERS, max_size=40), st.sampled_from(["{}", "[{}]", "{{{}}}", "[2*({})]"]))
def test_any_value_has_an_answer_or_a_parset_error(text, frame):
    """No other exception, and each problem is one line."""
    value = frame.format(text)
    lines: list[str] = []
    n_problems = 0
    for convert in (
        to_string,
        to_bool,
        to_int,
        to_float,
        to_time,
        expand_text,
        compact_text,
        split_vector,
        split_record,
    ):
        try:
            convert(value)
        except ParsetError as error:
            lines += str(error).splitlines()
            n_problems += len(error.problems)
    assert len(lines) == n_problems


@settings(deadline=None, max_examples=200)
@given(st.lists(st.sampled_from(["a", "x", "L001", "L002", "L003", "L2", "L1", "L0", "9", "10", "11", "b-1"])))
def test_compact_form_expands_to_the_same_elements(elements):
    """Runs of equal elements and of numbers are folded, and nothing else changes."""
    text = f"[{','.join(elements)}]"

    assert split_vector(expand_text(compact_text(text))) == elements


def test_compact_form_is_short():
    """Both kinds of runs."""
    assert compact_text("[L001,L002,L003,x,x,9,8,7,a,b]") == "[L001..003,2*x,9..7,a,b]"


@pytest.mark.parametrize("unit", ["[", "'", "1", "..", "1..", "2*", "a,", "(", "{a:", "1 ", "*", "1..1:", " "])
def test_time_grows_linearly(unit):
    """Ten times the text takes about ten times as long, not a hundred times."""

    def seconds(n):
        text = f"[{unit * n}]"
        start_s = time.process_time()
        for convert in (expand_text, split_vector, to_string):
            with contextlib.suppress(ParsetError):
                convert(text)
        return time.process_time() - start_s

    assert seconds(200_000) < 60 * max(seconds(20_000), 0.01)
