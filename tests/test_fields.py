"""Fields of a recipe: conversion, options, inputs and outputs."""

import argparse
import os
import sys

import pytest

from pipeline.errors import InputError
from pipeline.recipe.fields import (
    BoolField,
    DictField,
    DirectoryField,
    ExecField,
    Field,
    FileField,
    FileList,
    FloatField,
    IntField,
    ListField,
    StringField,
)
from pipeline.recipe.inputs import (
    Inputs,
    Outputs,
    Setting,
    add_options,
    collect_fields,
    default_option,
    given_options,
)

# --- fields ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("field", "value", "expected"),
    [
        (StringField(), "a", "a"),
        (IntField(), "007", 7),
        (IntField(), "0x1f", 31),
        (IntField(), 5, 5),
        (FloatField(), "1.5e3", 1500.0),
        (FloatField(), 2, 2.0),
        (BoolField(), "YES", True),
        (BoolField(), "0", False),
        (BoolField(), True, True),
        (ListField(), "[a, b]", ["a", "b"]),
        (ListField(), (1, 2), [1, 2]),
        (DictField(), "{a: 1, 'b c': [x, y]}", {"a": "1", "b c": "[x, y]"}),
        (DictField(), {"a": 1}, {"a": 1}),
        (Field(), object, object),
        (StringField(optional=True), None, None),
        (IntField(default=None), None, None),
    ],
)
def test_value_is_converted(field, value, expected):
    """Text and Python values become the field's type."""
    assert field.convert(value) == expected


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        (StringField(), 5, "expected text, got 5"),
        (StringField(), None, "expected text, got None"),
        (IntField(), "eight", "expected an integer, got 'eight'"),
        (IntField(), True, "expected an integer, got True"),
        (IntField(), 1.5, "expected an integer, got 1.5"),
        (FloatField(), "x", "expected a number, got 'x'"),
        (BoolField(), "maybe", "expected true, yes, 1, false, no or 0, got 'maybe'"),
        (BoolField(), 2, "expected true, yes, 1, false, no or 0, got 2"),
        (ListField(), 5, "expected a list, e.g. [a, b], got 5"),
        (ListField(), "['a", "expected ']' at the end of the list, got \"['a\""),
        (DictField(), "a", "expected {key: value, ...}, got 'a'"),
        (DictField(), "{a}", "expected key: value in {...}, got 'a'"),
        (DictField(), "{a: 1, a: 2}", "expected each key once in {...}, got 'a' twice"),
        (FileField(), "/no/such/file", "expected an existing file, got '/no/such/file'"),
        (FileField(), "", "expected an existing file, got ''"),
        (FileList(), "[/no/such/file]", "expected an existing file, got '/no/such/file'"),
        (DirectoryField(), __file__, f"expected a directory, got {__file__!r}"[:60]),
        (ExecField(), "no-such-program", "expected an executable file or a program on PATH, got 'no-such-program'"),
        (ExecField(), "a\0b", "expected an executable file or a program on PATH, got 'a\\x00b'"),
    ],
)
def test_bad_value_is_refused(field, value, message):
    """Expected and found, on one line."""
    with pytest.raises(InputError) as caught:
        field.convert(value)

    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


def test_files_and_directories_become_absolute(tmp_path, monkeypatch):
    """A job on a host starts elsewhere, so a relative path would mean another file there."""
    path = tmp_path / "it's a\nfile, really"
    path.write_text("")
    (tmp_path / "L1.MS").mkdir()
    monkeypatch.chdir(tmp_path)

    assert FileField().convert(path.name) == str(path)
    assert FileField().convert("L1.MS") == str(tmp_path / "L1.MS")
    assert FileList().convert([path, "L1.MS"]) == [str(path), str(tmp_path / "L1.MS")]
    assert DirectoryField().convert("new") == str(tmp_path / "new")


def test_checking_a_directory_does_not_create_it(tmp_path):
    """Validation has no side effect."""
    DirectoryField().convert(tmp_path / "new")

    assert list(tmp_path.iterdir()) == []


def test_program_is_found_by_path_or_name(tmp_path, monkeypatch):
    """A name is looked up on PATH; a file must be executable."""
    program = tmp_path / "my program"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o700)
    plain = tmp_path / "plain"
    plain.write_text("")
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)

    assert ExecField().convert("my program") == str(program)
    assert ExecField().convert(str(program)) == str(program)
    assert ExecField().convert(sys.executable) == sys.executable
    with pytest.raises(InputError, match="expected an executable file"):
        ExecField().convert(str(plain))


def test_own_field_needs_only_a_conversion():
    """A recipe's own field class reports like the others."""

    class Even(Field):
        expected = "an even number"

        def _convert(self, value):
            if int(value) % 2:
                raise ValueError
            return int(value)

    assert Even().convert("4") == 4
    with pytest.raises(InputError, match="expected an even number, got '3'"):
        Even().convert("3")


# --- recipes --------------------------------------------------------------------------------------------------


class Base:
    inputs = {"a": IntField(default=1), "b": StringField()}  # noqa: RUF012


class MixIn:
    inputs = {"max_per_node": IntField("-m", "--max", optional=True)}  # noqa: RUF012


class Recipe(MixIn, Base):
    inputs = {"a": StringField(default="x"), "names": ListField(default=["n"])}  # noqa: RUF012
    outputs = {"mapfile": StringField(), "note": StringField(optional=True)}  # noqa: RUF012


FIELDS = collect_fields(Recipe, "inputs")


@pytest.fixture
def inputs() -> Inputs:
    return Inputs("executable", FIELDS)


def test_fields_are_inherited_and_overridden():
    """Every class along the hierarchy adds its fields; the subclass wins."""
    assert set(FIELDS) == {"a", "b", "max_per_node", "names"}
    assert FIELDS["a"].default == "x"


@pytest.mark.parametrize("entry", [{"a": 5}, {"args": StringField()}])
def test_entry_that_is_no_field_is_named(entry):
    """A slip in the recipe's class is told as such."""
    with pytest.raises(InputError, match=r"^Broken: inputs\['(a|args)'\]: expected"):
        collect_fields(type("Broken", (), {"inputs": entry}), "inputs")


def _parsed(*words):
    parser = argparse.ArgumentParser(prog="executable")
    add_options(parser, FIELDS)
    return given_options(parser.parse_args(words), FIELDS)


@pytest.mark.parametrize("option", ["--max-per-node", "--max_per_node", "--max", "-m"])
def test_option_is_taken_with_dash_underscore_or_its_own_name(option):
    """All spellings set the same input."""
    assert _parsed(option, "8") == {"max_per_node": Setting("8", "command line")}


def test_options_not_given_are_absent():
    """What the command line does not say leaves room for a parset."""
    assert _parsed() == {}


def test_help_shows_percent_and_default(capsys):
    """A percent in a field's help is no format of argparse."""
    parser = argparse.ArgumentParser()
    add_options(parser, {"a": IntField(help="100 % sure", default=3)})

    parser.print_help()

    assert "100 % sure (default: 3)" in capsys.readouterr().out


def test_clashing_options_are_named():
    """Two fields with one option are the recipe author's mistake, told in one line."""
    with pytest.raises(InputError, match=r"input 'b': .*conflicting option string: -x"):
        add_options(argparse.ArgumentParser(), {"a": IntField("-x"), "b": IntField("-x")})


def test_default_option_has_dashes():
    """The documented form of an option."""
    assert default_option("max_per_node") == "--max-per-node"


def test_bad_input_names_recipe_option_value_and_source(inputs):
    """One line says all there is to know."""
    with pytest.raises(InputError) as caught:
        inputs.assign({"max-per-node": Setting("eight", "command line"), "a": Setting(5, "tasks.cfg:3")})

    assert caught.value.problems == (
        "executable: --max-per-node (command line): expected an integer, got 'eight'",
        "executable: --a (tasks.cfg:3): expected text, got 5",
    )


def test_unknown_input_gets_a_proposal(inputs):
    """A typing error is met with the nearest name, anything else with all names."""
    with pytest.raises(InputError, match=r"'max_per_nod' \(recipe code\): .*; did you mean 'max_per_node'\?"):
        inputs["max_per_nod"] = 3
    with pytest.raises(InputError, match="known: a, b, max_per_node, names"):
        inputs["xyz"]


def test_inputs_behave_like_a_dictionary(inputs):
    """Iteration, `in`, get and update see values and defaults."""
    inputs.update({"b": "text"})

    assert dict(inputs) == {"a": "x", "b": "text", "names": ["n"], "args": []}
    assert "b" in inputs
    assert "max_per_node" not in inputs
    assert inputs["max_per_node"] is None
    assert inputs.get("max_per_node", 4) == 4
    assert len(inputs) == 4


def test_source_of_a_value_is_known(inputs):
    """Where a value came from can be told."""
    inputs.set("a", "y", "tasks.cfg:7")

    assert (inputs.source("a"), inputs.source("names")) == ("tasks.cfg:7", "default")


def test_default_is_not_shared(inputs):
    """A list that one recipe appends to is not the next one's default."""
    inputs["names"].append("m")

    assert inputs["names"] == ["n", "m"]
    assert Inputs("other", FIELDS)["names"] == ["n"]


def test_missing_inputs_are_named(inputs):
    """All required inputs that were not given are reported."""
    assert inputs.missing() == ["b"]
    with pytest.raises(InputError, match=r"^executable: --b: expected text, got nothing; give the option or set 'b'$"):
        inputs.check()


def test_default_is_checked_when_used():
    """A default that does not hold is reported before the recipe begins."""
    inputs = Inputs("r", {"file": FileField(default="/no/such/file")})

    with pytest.raises(InputError, match=r"r: --file \(default\): expected an existing file, got '/no/such/file'"):
        inputs.check()


def test_positionals_are_args():
    """`inputs['args']` is the list of positionals."""
    inputs = Inputs("r", {}, ["x", "y"])

    assert inputs["args"] == ["x", "y"]
    inputs["args"] = ("z",)
    assert inputs["args"] == ["z"]
    with pytest.raises(InputError, match="expected a list"):
        inputs["args"] = "z"


def test_outputs_are_complete_when_all_required_are_set():
    """Optional outputs may stay away."""
    outputs = Outputs("r", collect_fields(Recipe, "outputs"))
    assert not outputs.complete()

    outputs["mapfile"] = "/x"

    assert outputs.complete()
    assert dict(outputs) == {"mapfile": "/x"}


def test_unknown_output_is_refused():
    """An output that nobody declared is a mistake."""
    with pytest.raises(InputError, match="expected an output of this recipe; did you mean 'mapfile'"):
        Outputs("r", collect_fields(Recipe, "outputs"))["mapfiles"] = "x"
