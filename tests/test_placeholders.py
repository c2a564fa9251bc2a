"""Templates filled in for each file of a mapfile."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import InputError
from pipeline.formats.placeholders import PLACEHOLDERS, file_values, parse_template

VALUES = file_values("lce001", "/data/it's {file} a/L1.MS.tar")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ""),
        ("{file}", "/data/it's {file} a/L1.MS.tar"),
        ("{dir}|{name}|{stem}|{host}", "/data/it's {file} a|L1.MS.tar|L1.MS|lce001"),
        ("{{file}}", "{file}"),
        ("{{{host}}}", "{lce001}"),
        ("a\n{host}\n", "a\nlce001\n"),
    ],
)
def test_placeholders_are_replaced(text, expected):
    """Each placeholder becomes its value, a doubled brace a brace."""
    assert parse_template(text).fill(VALUES) == expected


@pytest.mark.parametrize("text", ["{", "}", "a}b", "{file", "file}", "{{file}", "{file}}", "{}", "{0}", "{file!r}",
                                  "{file.x}", "{file:>9}", "{FILE}", "{ file }", "{fi{le}}"])  # fmt: skip
def test_anything_else_in_braces_is_refused(text):
    """There is no format language, and a brace that stands alone is a mistake."""
    with pytest.raises(InputError, match=r"^expected .*, got "):
        parse_template(text)


def test_all_problems_are_told():
    """Two mistakes in one template are two lines."""
    with pytest.raises(InputError) as caught:
        parse_template("{fle}/x}")

    assert caught.value.problems == (
        "expected one of {file}, {stem}, {dir}, {name}, {host}, got '{fle}' in '{fle}/x}'",
        "expected }} for a brace, got a single } at character 8 of '{fle}/x}'",
    )


@given(st.sampled_from(PLACEHOLDERS), st.text())
def test_value_is_never_read_again(name, value):
    """Whatever a file is called, it stands in the result as it is."""
    assert parse_template(f"<{{{name}}}>").fill(dict.fromkeys(PLACEHOLDERS, value)) == f"<{value}>"


@given(st.text())
def test_text_with_doubled_braces_is_itself(text):
    """Doubling the braces is all it takes to write any text."""
    doubled = text.replace("{", "{{").replace("}", "}}")

    assert parse_template(doubled).fill({}) == text


@pytest.mark.parametrize(
    ("file", "directory", "name", "stem"),
    [
        ("/data/L1.MS", "/data", "L1.MS", "L1"),
        ("/data/L1.MS/", "/data", "L1.MS", "L1"),
        ("L1", ".", "L1", "L1"),
        ("/L1.MS", "/", "L1.MS", "L1"),
        ("/data/.hidden", "/data", ".hidden", ".hidden"),
    ],
)
def test_parts_of_a_path(file, directory, name, stem):
    """Folder, last part and last part without its ending, also of a measurement set with a slash at its end."""
    values = file_values("h", file)

    assert (values["file"], values["dir"], values["name"], values["stem"]) == (file, directory, name, stem)
