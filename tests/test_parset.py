"""Parsets: lines, quirks, sets of keys, round trip, files and the command."""

import contextlib
import json
import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline import Parset, ParsetError, read_parset, write_parset

REFERENCE = Path(__file__).parents[2] / "shared" / "data" / "parset"
TEXT = """\
# an observation
Obs.name = 'L1 x'    # its name

Obs.files = [L001..003,
             2*x]    # two lines
Obs.n = 3
Other=1
"""


def raw_values(parset: Parset) -> dict[str, str]:
    return {key: parset.raw(key) for key in parset}


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("", {}),
        ("# only\n\n   # comments\r\n", {}),
        ("a=1", {"a": "1"}),
        (" a \t= 1 2 # c\r\n", {"a": "1 2"}),
        ("a='x # y' # c\n", {"a": "'x # y'"}),
        ("'a b'=1\na'='b=2\n", {"a b": "1", "a=b": "2"}),
        ("a=1\n 2\n", {"a": "1 2"}),
        ("a='x'\n'y'\n \"z\" w\n", {"a": "'x''y'\"z\" w"}),
        ("a=[1, \\\n# between\n\n2] \\ # c\n", {"a": "[1, 2]"}),
        ("a=\n\n1\n", {"a": "1"}),
        ("b=1\na=2\nb=3\n", {"b": "3", "a": "2"}),
        ("i=b=c\n", {"i": "", "b": "c"}),
        ("k = a=b\n", {"k": "", " a": "b"}),
        ("lead\n\na=1\n", {"a": "lead 1"}),
        ("no key at all\n", {}),
        ("a=x\\\\\n", {"a": "x\\"}),
        ("a\u00a0=\u00a01\n", {"a\u00a0": "\u00a01"}),
    ],
)
def test_lines_have_the_original_meaning(text, values):
    """Comments, quotes, lines that go on, and the quirks of the default mode."""
    parset = Parset.parse(text)

    assert raw_values(parset) == values
    assert parset.keys() == list(values)
    assert parset.format() == text


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("a=1\ni=b=c\n", "night.parset:2:4: expected one '=' outside quotes, got another; put the value in quotes"),
        ("\n lead\na=1\n", "night.parset:2:1: expected key = value, got 'lead' before the first key"),
        ("lead\n", "night.parset:1:1: expected key = value, got 'lead' and no key"),
    ],
)
def test_quirk_is_an_error_in_strict_mode_only(text, problem):
    """The default mode warns with the same words."""
    assert Parset.parse(text, source="night.parset").warnings == (problem,)
    with pytest.raises(ParsetError) as caught:
        Parset.parse(text, strict=True, source="night.parset")

    assert caught.value.problems == (problem,)


def test_all_problems_of_a_text_are_reported():
    """Each with its line and column, also in the default mode."""
    with pytest.raises(ParsetError) as caught:
        Parset.parse("a=it's\n=2\nb=1\n ''=3\nc=\"\n", source="p")

    assert caught.value.problems == (
        "p:1:5: expected a closing ' on this line, got none",
        "p:2:1: expected a key before '='",
        "p:4:2: expected a key before '='",
        'p:5:3: expected a closing " on this line, got none',
    )


def test_problems_of_a_long_text_are_capped():
    """A hundred are enough."""
    with pytest.raises(ParsetError) as caught:
        Parset.parse("a='\n" * 100_000)

    assert len(caught.value.problems) == 100


def test_repeated_key_is_warned_about_with_both_lines():
    """The last value counts."""
    parset = Parset.parse("a=1\nb=2\n a=3\n", source="p")

    assert parset.warnings == ("p:3:2: expected 'a' once, got it again (before at 1:1); the last counts",)


def test_error_of_a_getter_names_place_and_key():
    """One line says where, what was expected and what was found."""
    parset = Parset.parse(TEXT, source="night.parset")

    with pytest.raises(ParsetError) as caught:
        parset.get_int("Obs.name")
    assert str(caught.value) == "night.parset:2:1: Obs.name: expected an integer, got \"'L1 x'\""


def test_unknown_key_gets_a_proposal():
    """Unless there is a default."""
    parset = Parset.parse(TEXT, source="p")

    assert parset.get_int("Obs.m", 7) == 7
    with pytest.raises(ParsetError, match=r"^p: expected a key 'Obs.nam'; did you mean 'Obs.name'\?$"):
        parset.get_string("Obs.nam")


def test_vectors_have_the_type_asked_for():
    """Expanded only if asked for."""
    parset = Parset.from_dict({"i": "[1..3,2*0x10]", "b": "[T, no]", "f": "[1, .5]", "t": "[1m,2 h]", "s": "['a,b']"})

    assert parset.get_int_vector("i", expand=True) == [1, 2, 3, 16, 16]
    assert parset.get_vector("i") == ["1..3", "2*0x10"]
    assert parset.get_bool_vector("b") == [True, False]
    assert parset.get_float_vector("f") == [1.0, 0.5]
    assert parset.get_time_vector("t") == [60, 7200]
    assert parset.get_string_vector("s") == ["a,b"]
    assert parset.get_int_vector("none", [1]) == [1]


def test_default_vector_is_not_shared():
    """Changing what comes back does not change the default."""
    default = [1]
    Parset().get_int_vector("none", default).append(2)

    assert default == [1]


def test_default_that_is_no_list_comes_back():
    """None is not taken apart."""
    assert Parset().get_vector("none", None) is None


@pytest.mark.parametrize(
    ("action", "message"),
    [
        (lambda: Parset.from_dict({3: "3"}), "<dict>: expected a key and text, got 3, '3'"),
        (lambda: Parset.from_dict({"a\nb": "x"}).get_int("a\nb"), r"<dict>: 'a\nb': expected an integer, got 'x'"),
        (
            lambda: Parset.from_dict({"r": "{a: 1, A: 2}"}, ignore_case=True).get_record("r"),
            "<dict>: r: expected each key once in {...}, got 'A' twice",
        ),
    ],
)
def test_error_is_one_line_with_one_place(action, message):
    """Whatever the key."""
    with pytest.raises(ParsetError) as caught:
        action()

    assert str(caught.value) == message


def test_record_is_a_parset():
    """Its values are raw, and its errors say whose they are."""
    record = Parset.from_dict({"r": "{a: 1, b: [x, 'y,z'], c: {d: 2}}"}).get_record("r")

    assert record.keys() == ["a", "b", "c"]
    assert record.get_vector("b") == ["x", "y,z"]
    assert record.get_record("c").get_int("d") == 2
    with pytest.raises(ParsetError, match=r"^<dict>: r: b: expected an integer"):
        record.get_int("b")


def test_sets_of_keys():
    """Subset, subtract and adopt."""
    parset = Parset.parse(TEXT)

    subset = parset.subset("Obs.")
    parset.subtract("Obs.")
    parset.adopt(subset, "New.")

    assert subset.keys() == ["name", "files", "n"]
    assert parset.keys() == ["Other", "New.name", "New.files", "New.n"]
    assert parset.get_int("New.n") == 3


def test_key_is_added_once():
    """Replacing is another thing."""
    parset = Parset.from_dict({"a": "1"})
    parset.replace("a", "2")

    with pytest.raises(ParsetError, match=r"^<dict>: a: expected a new key"):
        parset.add("a", "3")
    assert parset.raw("a") == "2"
    parset.remove("a")
    assert "a" not in parset
    with pytest.raises(ParsetError, match="expected a key 'a'"):
        parset.remove("a")


def test_unused_keys_are_those_nobody_asked_for():
    """Whether a key is there is no question about its value."""
    parset = Parset.parse("a=1\nb=2\nc=3\n")
    parset.get_int("a")
    assert "b" in parset

    assert parset.unused() == ["b", "c"]


def test_key_asked_for_in_a_subset_is_used():
    """Of the subset of a subset too."""
    parset = Parset.parse("O.P.a=1\nO.P.b=2\nc=3\n")
    parset.subset("O.").subset("P.").get_int("a")

    assert parset.unused() == ["O.P.b", "c"]
    assert parset.subset("O.").unused() == ["P.b"]


def test_compact_folds_a_value_for_reading():
    """The value in its shortest form; the parset keeps it as it stands."""
    parset = Parset.parse("a=[x01,x02,x03,y,y]\nb=plain\n")

    assert (parset.compact("a"), parset.compact("b")) == ("[x01..03,2*y]", "plain")
    assert parset.raw("a") == "[x01,x02,x03,y,y]"


def test_module_is_located_by_its_keys():
    """As in the original: the first by name, whole names between dots only."""
    parset = Parset.from_dict(dict.fromkeys(["L.Sw.Observation.name", "Z.Observation.y", "A.Observationx.q"], ""))

    assert parset.locate_module("Observation") == "L.Sw."
    assert parset.full_module_name("Observation") == "L.Sw.Observation"
    assert parset.full_module_name("Sw.Observation") == "L.Sw.Observation"
    assert parset.full_module_name("name") == ""
    assert Parset.from_dict({"M.M.a": ""}).full_module_name("M") == "M.M"


def test_case_of_keys_is_ignored_if_asked_for():
    """The last spelling counts, as the last value does; the text stays as it was read."""
    parset = Parset.parse("Key=1\nB=2\nkEY=3\n", ignore_case=True)

    assert parset.get_int("KEY") == 3
    assert sorted(parset.keys()) == ["B", "kEY"]
    assert parset == Parset.from_dict({"key": "3", "b": "2"}, ignore_case=True)
    assert parset.format() == "Key=1\nB=2\nkEY=3\n"
    assert parset.warnings == ("<text>:3:1: expected 'kEY' once, got it again (before at 1:1); the last counts",)
    assert Parset.parse("M.q=1\nm.Q=2\nM.q=3\n", ignore_case=True).raw("m.q") == "3"


@pytest.mark.parametrize(
    ("text", "what"), [("=".join(["a"] * 1_000_002), "keys"), ("a=1\n" + "b\n" * 10**6, "lines")], ids=["keys", "lines"]
)
def test_text_of_too_many_keys_or_lines_is_refused(text, what):
    """One line says so, before they fill the memory."""
    with pytest.raises(ParsetError, match=rf"^<text>:[0-9]+:1: expected at most 1000000 {what}, got more$"):
        Parset.parse(text)


def test_arguments_are_keys_and_values():
    """What is none is named, all at once."""
    assert raw_values(Parset.from_argv(["a=1", "b = [x, y] ", "c=d=e # f", "a=2"])) == {
        "a": "2",
        "b": "[x, y]",
        "c": "d=e # f",
    }
    with pytest.raises(ParsetError) as caught:
        Parset.from_argv(["a", "=b", "c=1"])
    assert caught.value.problems == (
        "<arguments>: expected key=value, got 'a'",
        "<arguments>: expected key=value, got '=b'",
    )


@pytest.mark.parametrize("line_feed", ["\n", "\r\n"])
def test_edit_changes_only_the_lines_of_its_key(line_feed):
    """Comments, blanks and the other lines stay as they are."""
    parset = Parset.parse(TEXT.replace("\n", line_feed))
    parset.replace("Obs.name", "x")
    parset.replace("Obs.files", "[]")
    parset.remove("Obs.n")
    parset.add("new", "1")

    assert parset.format().split(line_feed) == [
        "# an observation",
        "Obs.name = x    # its name",
        "",
        "Obs.files = []",
        "Other=1",
        "new=1",
        "",
    ]


def test_edit_of_an_odd_line_writes_it_anew():
    """Keys that share a line get one each; all lines of a repeated key go with it."""
    parset = Parset.parse("a=1\ni=b=c # c\na=2\nd=")
    parset.replace("i", "x")
    parset.remove("a")
    parset.add("e", "5")

    assert parset.format() == "i=x\nb=c\nd=\ne=5\n"


@pytest.mark.parametrize(
    ("text", "edit", "edited"),
    [
        ("a=1 # keep\nb=2\n", lambda p: (p.add("n", "x"), p.replace("n", "y")), "a=1 # keep\nb=2\nn=y\n"),
        ("a=1 # keep\n", lambda p: (p.remove("a"), p.add("a", "1")), "a=1 # keep\n"),
        ("a=b=1\nb=2\n", lambda p: p.remove("a"), "b=2\n"),
        ("\nglue\nk=b=1\n", lambda p: p.remove("b"), "\nk=glue\n"),
        ("a=1\na=2 # c\n", lambda p: p.replace("a", "3"), "a=1\na=3 # c\n"),
        ("# c\nno key\n", lambda p: p.add("a", "1"), "a=1\n"),
    ],
)
def test_text_follows_what_the_edits_come_to(text, edit, edited):
    """How the keys got their values does not matter."""
    parset = Parset.parse(text)
    edit(parset)

    assert parset.format() == edited


def test_subset_is_written_as_what_it_holds():
    """Not as the file it comes from, whose places its messages still name."""
    parset = Parset.parse("O.a=1\nb=2\nO.c=x # c\n", source="p")
    subset = parset.subset("O.")
    subset.replace("a", "3")

    assert subset.format() == "a=3\nc=x\n"
    assert parset.format() == "O.a=1\nb=2\nO.c=x # c\n"
    assert subset.where("c") == "p:3:1"


@pytest.mark.parametrize("value", ["a\nb", "a # b", "a=b", "it's", "x\\"])
def test_value_that_no_line_can_hold_is_refused(value):
    """Better than a file that says something else."""
    with pytest.raises(ParsetError, match=r"^k: expected a value that can stand on one line"):
        Parset.from_dict({"k": value}).format()


@settings(deadline=None, max_examples=200)
@given(
    st.text("ab= \n\t#'\"\\[],1\r", max_size=40),
    st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from(["", "1", "'# x'", "[a, b]"])), max_size=3),
    st.booleans(),
)
def test_any_text_is_read_edited_and_read_back(text, edits, strict):
    """Either ParsetError, or what is written is what was there, byte for byte without edits."""
    try:
        parset = Parset.parse(text, strict=strict)
    except ParsetError as error:
        assert error.problems  # noqa: PT017 - either is right
        return
    assert parset.format() == text
    assert Parset.parse(parset.format()) == parset
    for key, value in edits:
        parset.replace(key, value)
    read_back = Parset.parse(parset.format())
    assert {key: read_back.raw(key) for key, _ in edits} == {key: parset.raw(key) for key, _ in edits}


_EDITS = st.one_of(
    st.tuples(
        st.sampled_from(["add", "replace"]), st.sampled_from(["a", "b", "ab", "n", "B ="]), st.sampled_from("12")
    ),
    st.tuples(st.sampled_from(["remove", "subtract", "subset"]), st.sampled_from(["a", "b", "ab"])),
    st.tuples(st.just("adopt"), st.sampled_from(["a", "c"]).map(lambda key: Parset.from_dict({key: "[x, 'y']"}))),
)


@settings(deadline=None, max_examples=300)
@given(
    st.lists(st.sampled_from(["a=1\n", "b = 2 # c\n", "\n", "# c\n", "go on\n", "A=b=c\n", " ab=[1,\r\n2]\r\n"])),
    st.lists(_EDITS, max_size=6),
    st.booleans(),
)
def test_any_edits_are_read_back(lines, edits, ignore_case):
    """Whatever was added, replaced, removed or taken out of whichever text."""
    parset = Parset.parse("".join(lines), ignore_case=ignore_case)
    for name, *arguments in edits:
        with contextlib.suppress(ParsetError):
            parset = getattr(parset, name)(*arguments) or parset
        assert Parset.parse(parset.format(), ignore_case=ignore_case) == parset


def test_file_comes_back_byte_for_byte(tmp_path):
    """Bytes that are no UTF-8, a path with a newline."""
    path = tmp_path / "it's a\nparset"
    path.write_bytes(b"name = /data/\xe9.MS # \xff\r\n")

    parset = read_parset(path)
    write_parset(path, parset)

    assert parset.get_string("name") == "/data/\udce9.MS"
    assert path.read_bytes() == b"name = /data/\xe9.MS # \xff\r\n"


def test_warnings_of_a_file_are_logged(tmp_path, caplog):
    """Each with its place."""
    path = tmp_path / "a.parset"
    path.write_text("a=1\na=2\n")

    with caplog.at_level(logging.WARNING):
        read_parset(path)

    assert [record.getMessage() for record in caplog.records] == [
        f"{path}:2:1: expected 'a' once, got it again (before at 1:1); the last counts"
    ]


def test_special_file_is_refused(tmp_path):
    """A FIFO is not waited for."""
    os.mkfifo(tmp_path / "fifo")

    with pytest.raises(ParsetError, match="expected a regular file, found a FIFO"):
        read_parset(tmp_path / "fifo")


@pytest.mark.skipif(not REFERENCE.exists(), reason="the reference data are not there")
def test_every_reference_file_has_the_original_keys_and_values():
    """25 real files and those made up with quirks, each written back as it was."""
    for dump in REFERENCE.glob("golden/**/*.json"):
        path = REFERENCE / "files" / dump.relative_to(REFERENCE / "golden").with_suffix("")
        parset = read_parset(path)
        assert raw_values(parset) == json.loads(dump.read_text("utf-8")), path
        assert parset.format().encode("utf-8", "surrogateescape") == path.read_bytes()
    for made_up in json.loads((REFERENCE / "synthetic.json").read_text("utf-8")):
        assert raw_values(Parset.parse(made_up["text"])) == made_up["dump"]


# --- the command --------------------------------------------------------------------------------------------------


@pytest.fixture
def run(tmp_path):
    """Return a function that runs `pipeline parset ...` beside night.parset: status, stdout, stderr."""
    (tmp_path / "night.parset").write_text(TEXT)

    def call(*words, stdin=""):
        done = subprocess.run(
            [sys.executable, "-m", "pipeline.cli.main", "parset", *words],
            cwd=tmp_path,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=60,
        )
        return done.returncode, done.stdout, done.stderr

    return call


def test_command_gets_a_value_of_a_type(run):
    """Lists a line each, or JSON; a default where there is no key."""
    assert run("get", "night.parset", "Obs.name") == (0, "L1 x\n", "")
    assert run("get", "night.parset", "Obs.files", "--type", "vector") == (0, "L001\nL002\nL003\nx\nx\n", "")
    assert run("get", "-", "a", "--type", "bool", "--json", stdin="a=yes\n") == (0, "true\n", "")
    assert run("get", "night.parset", "none", "--type", "int", "--default", "7") == (0, "7\n", "")


def test_command_shows_and_expands(run):
    """All keys, those that begin with a prefix, those that are named."""
    assert run("show", "night.parset", "Obs.n")[1] == "Obs.name='L1 x'\nObs.n=3\n"
    assert json.loads(run("show", "night.parset", "--json")[1])["Other"] == "1"
    assert run("expand", "night.parset", "Obs.files")[1] == "Obs.files=[L001,L002,L003, x,x]\n"


def test_command_sets_and_compares(run, tmp_path):
    """The comments stay; status 1 says that there are differences."""
    assert run("set", "night.parset", "Obs.n=4", "new=[a, b]", "-o", "new.parset") == (0, "", "")
    assert run("diff", "night.parset", "night.parset") == (0, "", "")
    assert run("diff", "night.parset", "new.parset") == (1, "- Obs.n=3\n+ Obs.n=4\n+ new=[a, b]\n", "")
    assert run("set", "-", "a=2", stdin="a = 1 # c\n")[1] == "a = 2 # c\n"
    assert (tmp_path / "night.parset").read_text() == TEXT


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["get", "night.parset", "Obs.nam"], "night.parset: expected a key 'Obs.nam'; did you mean 'Obs.name'?"),
        (["get", "none", "a"], "none: expected a parset, found nothing there"),
        (["get", "-oProxyCommand=x", "a"], "pipeline parset"),
        (["set", "night.parset", "x"], "<arguments>: expected key=value, got 'x'"),
        (["set", "night.parset", "x=a # b"], "x: expected a value that can stand on one line"),
        (["show", "night.parset", "Zz"], "night.parset: expected keys that begin with 'Zz', got none"),
        (["get", "/dev/zero", "a"], "/dev/zero: expected a regular file, found a character device"),
        (["diff", "-", "-"], "pipeline parset diff: expected standard input once, got - twice"),
        (["expand", "night.parset", "Obs.x", "Obs.y"], "night.parset: expected a key 'Obs.x'"),
    ],
)
def test_mistake_is_one_clear_line(run, words, message):
    """Status 2, no traceback."""
    status, out, err = run(*words)

    assert (status, out) == (2, "")
    assert err.splitlines()[0].startswith(message)
    assert "Traceback" not in err
