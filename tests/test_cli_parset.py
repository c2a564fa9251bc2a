"""`pipeline parset`: what its subcommands may print and write."""

import pytest

from pipeline.cli.main import main


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty folder to work in."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


def test_set_refuses_an_empty_name(folder, capfd):
    """It is not taken for no name: the file stays as it was."""
    (folder / "f").write_text("a=0\n")

    assert main(["parset", "set", "f", "a=1", "-o", ""]) == 2

    assert (folder / "f").read_text() == "a=0\n"
    assert capfd.readouterr() == ("", "pipeline parset set: expected a file to write, got an empty name\n")


def test_expand_has_one_limit_for_all_values(folder, capfd):
    """Each value alone is within its limits; nothing is printed, and the rest is not expanded."""
    (folder / "f").write_text(f"a=[900*{'x' * 60_000}]\n" + f"b=[900*{'x' * 60_000}]\n" + "c=[(]\n")

    assert main(["parset", "expand", "f"]) == 2

    assert capfd.readouterr() == ("", "f:2:1: expected at most 67108864 characters in all values, got more\n")


def test_expand_prints_a_key_once(folder, capfd):
    """Also where it is named twice."""
    (folder / "f").write_text("a=[2*x]\n")

    assert main(["parset", "expand", "f", "a", "a"]) == 0

    assert capfd.readouterr().out == "a=[x,x]\n"


def test_json_keeps_bytes_that_are_no_text(folder, capfd):
    """As escaped lone surrogates, as Python reads and writes names of files."""
    (folder / "f").write_bytes(b"a=\xe9\n")

    assert main(["parset", "show", "f", "--json"]) == 0

    assert capfd.readouterr().out == '{\n  "a": "\\udce9"\n}\n'
