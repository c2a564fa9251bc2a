"""DataMap and MultiDataMap: what recipes do with mapfiles, and the traps of the original."""

from pathlib import Path

import pytest

from pipeline import (
    DataMap,
    DataProduct,
    MultiDataMap,
    MultiDataProduct,
    align_data_maps,
    load_data_map,
    store_data_map,
    tally_data_map,
    validate_data_maps,
)
from pipeline.errors import MapfileError
from pipeline.formats.mapfile import FORMS

THREE = [("a", "/1", False), ("b", "/2", True), ("a", "/3", False)]
ODD_NAMES = [
    *("it's", 'say "x"', "'\"", "a, b", "[x]", "{x}", "#1", " blanks ", "back\\slash", "\\", "tab\t", "\r", "", "é"),
    *("\udce9\udcff", "[1..3]", "3*x", "k=v", "%s", "{file}", "-oProxyCommand=x", "$(x)", "True", "...", "\u2028"),
]


# -- products


@pytest.mark.parametrize(
    "product", [DataProduct("h", "f"), DataMap([("h", "f")])[0], DataMap([{"host": "h", "file": "f"}])[0]]
)
def test_nothing_is_skipped_unless_told(product):
    """The constructor, tuples and dictionaries agree."""
    assert product.skip is False


def test_nothing_of_several_files_is_skipped_unless_told():
    """Neither the entry nor one of its files."""
    product = MultiDataProduct("h", ["f", "g"])

    assert (product.skip, product.file_skip) == (False, [False, False])
    assert MultiDataMap([("h", ["f"])])[0] == MultiDataProduct("h", ["f"], False, [False])


def test_files_are_skipped_with_their_entry():
    """Without values of their own they have its."""
    assert MultiDataProduct("h", ["f", "g"], skip=True).file_skip == [True, True]


def test_products_share_no_lists():
    """What is added to one is not in another, nor in what it was made of."""
    files, file_skip = ["f"], [True]
    first, second, third = MultiDataProduct("h"), MultiDataProduct("h"), MultiDataProduct("h", files, False, file_skip)

    first.file.append("x")
    third.file.append("y")
    third.file_skip.append(False)

    assert (second.file, files, file_skip) == ([], ["f"], [True])


def test_lists_of_a_product_are_of_one_length():
    """Each file is skipped or not."""
    with pytest.raises(MapfileError, match="expected as many values in 'file_skip' as in 'file', got 1 and 2"):
        MultiDataProduct("h", ["f", "g"], False, [True])


def test_text_is_no_list_of_files():
    """It would be a list of letters."""
    with pytest.raises(MapfileError, match="expected a list of files, got 'abc'"):
        MultiDataProduct("h", "abc")


def test_product_as_text():
    """For messages."""
    assert str(DataProduct("h", "/f", True)) == "h:/f"


# -- maps


@pytest.mark.parametrize(
    "data",
    [
        THREE,
        [list(one) for one in THREE],
        [{"host": host, "file": file, "skip": skip} for host, file, skip in THREE],
        [DataProduct(*one) for one in THREE],
        (DataProduct(*one) for one in THREE),
        [THREE[0], {"host": "b", "file": Path("/2"), "skip": True}, DataProduct("a", "/3")],
    ],
)
def test_what_a_map_can_be_made_of(data):
    """Products, or their values as tuples or dictionaries, or some of each."""
    assert DataMap(data).tuples() == THREE


@pytest.mark.parametrize(
    ("item", "message"),
    [
        (("h",), "expected DataProduct, a tuple or a dictionary of its values, got ('h',)"),
        (("h", "f", False, 1), "expected DataProduct, a tuple or a dictionary of its values, got ('h', 'f', False, 1)"),
        ({"host": "h", "fiel": "f"}, "expected DataProduct, a tuple or a dictionary of its values, got {'host': 'h',"),
        ("hf", "expected DataProduct, a tuple or a dictionary of its values, got 'hf'"),
        (None, "expected DataProduct, a tuple or a dictionary of its values, got None"),
        (("h", ["f"]), "expected text for the file, got ['f']"),
        (("h", b"f"), "expected text for the file, got b'f'"),
        ((1, "f"), "expected text for the host, got 1"),
        (("h", "f", "False"), "expected True or False for skip, got 'False'"),
        (DataProduct(1, "f"), "expected text for the host, got 1"),
        (DataProduct("h", "f", 3), "expected True or False for skip, got 3"),
        (MultiDataProduct("h", ["f"]), "expected DataProduct, a tuple or a dictionary of its values, got MultiData"),
    ],
)
def test_what_is_no_product_is_told(item, message):
    """Its number and what was expected, in one line; by the constructor and by append."""
    with pytest.raises(MapfileError) as caught:
        DataMap([("h", "f"), item])
    assert str(caught.value).startswith(f"entry 2: {message}")

    with pytest.raises(MapfileError) as caught:
        DataMap().append(item)
    assert str(caught.value).startswith(message)


def test_maps_share_no_list():
    """What is added to one is not in another, nor in what it was made of."""
    products = [DataProduct("h", "f")]
    first, second, third = DataMap(), DataMap(), DataMap(products)

    first.append(("h", "x"))
    third.append(DataProduct("h", "y"))

    assert (len(first), len(second), len(third), len(products)) == (1, 0, 2, 1)


def test_maps_share_no_product():
    """What is skipped in one is not in another, nor in what it was made of."""
    product, several = DataProduct("h", "f"), MultiDataProduct("h", ["f"])
    first, multi = DataMap([product]), MultiDataMap([several])
    second = DataMap(first)

    second[0].skip = True
    multi[0].file.append("g")

    assert (product.skip, first[0].skip, second[0].skip) == (False, False, True)
    assert several.file == ["f"]


def test_a_slice_has_the_products_of_its_map():
    """As a slice of a list: marking its products marks those of the map."""
    three = DataMap(THREE)

    three[:1][0].skip = True

    assert three[0].skip is True


def test_nothing_is_no_map():
    """A recipe that got no list is told so."""
    with pytest.raises(MapfileError, match="expected a list of data products, got None"):
        DataMap(None)


def test_marks_of_files_are_true_or_false():
    """Text is always true."""
    with pytest.raises(MapfileError, match="entry 1: expected True or False in file_skip, got 'no'"):
        MultiDataMap([("h", ["f"], False, ["no"])])


def test_index_and_slice():
    """An index gives a product, a slice a map."""
    three = DataMap(THREE)

    assert three[-1] == DataProduct("a", "/3")
    assert three[:2] == DataMap(THREE[:2])
    with pytest.raises(IndexError):
        three[3]


def test_maps_of_unequal_length_are_not_equal():
    """In both directions; nor is a part equal to the whole."""
    whole, part, empty = DataMap(THREE), DataMap(THREE[:2]), DataMap()

    assert whole == DataMap(THREE)
    assert not whole != DataMap(THREE)  # noqa: SIM202  # the original had both
    assert whole != part
    assert part != whole
    assert empty != whole
    assert whole != empty


def test_maps_of_different_kinds_are_not_equal():
    """Not even without entries."""
    assert DataMap() != MultiDataMap()
    assert DataMap() != []


def test_skip_counts_for_equality():
    """So do host and file."""
    assert DataMap([("h", "f", True)]) != DataMap([("h", "f")])
    assert DataMap([("h", "f")]) != DataMap([("h", "g")])
    assert DataMap([("h", "f")]) != DataMap([("g", "f")])


def test_iteration():
    """Over all; over those not to be skipped; as tuples."""
    three = DataMap(THREE)

    assert [one.file for one in three] == ["/1", "/2", "/3"]
    assert [one.file for one in three.not_skipped()] == ["/1", "/3"]
    assert three.tuples() == THREE


def test_iterators_of_the_original():
    """`iterator` changes what a loop sees, and nothing else."""
    three = DataMap(THREE)

    three.iterator = DataMap.SkipIterator
    assert [one.file for one in three] == ["/1", "/3"]
    assert (len(three), three[1].file, three == DataMap(THREE), len(three.tuples())) == (3, "/2", True, 3)

    three.iterator = DataMap.TupleIterator
    assert list(three) == [("a", "/1"), ("b", "/2"), ("a", "/3")]


def test_data_is_checked_when_it_is_assigned():
    """The old products stay if the new are none."""
    one = DataMap(THREE)

    with pytest.raises(MapfileError, match=r"^entry 1: expected DataProduct"):
        one.data = ["x"]
    assert one.tuples() == THREE

    one.data = [("h", "f")]
    assert one.data == [DataProduct("h", "f")]


# -- files


@pytest.mark.parametrize("form", FORMS)
def test_odd_names_survive_each_form(tmp_path, form):
    """Quotes, commas, brackets, `#`, blanks at ends, backslashes and bytes that are no UTF-8."""
    path = tmp_path / "it's a\nmapfile"
    odd = DataMap(("lce001", f"/data/{name}") for name in ODD_NAMES)
    odd.append(("lce002", "".join(ODD_NAMES)))
    bare = DataMap(("lce001", name) for name in ODD_NAMES)

    for one in (odd, bare):
        one.save(path, form)
        assert DataMap.load(path) == one


@pytest.mark.parametrize("form", ["literal", "json", None])
def test_newline_in_a_name_survives(tmp_path, form):
    """The form that is chosen can hold it."""
    one = DataMap([("h", "a\nb"), ("h", "\n")])

    one.save(tmp_path / "m", form)

    assert DataMap.load(tmp_path / "m") == one


@pytest.mark.parametrize(
    ("data", "first_line"),
    [
        ([("a", "/1"), ("a", "/2"), ("b", "/3")], "a=[ /1, /2 ]"),
        ([("a", "/1"), ("b", "/2"), ("a", "/3")], "["),
        ([("a", "/1"), ("a", "/2", True)], "["),
        ([("a", "/1\n")], "["),
    ],
)
def test_form_is_the_simplest_that_holds_all(tmp_path, data, first_line):
    """Lines of hosts, unless that would lose the order, a skip or a name."""
    DataMap(data).save(tmp_path / "m")

    assert (tmp_path / "m").read_text().splitlines()[0] == first_line
    assert DataMap.load(tmp_path / "m") == DataMap(data)


def test_empty_map_survives(tmp_path):
    """In each form, as either kind."""
    for form in (None, *FORMS):
        DataMap().save(tmp_path / "m", form)
        assert DataMap.load(tmp_path / "m") == DataMap()
        assert MultiDataMap.load(tmp_path / "m") == MultiDataMap()


def test_lists_of_files_survive(tmp_path):
    """The form is chosen too."""
    one = MultiDataMap([("h", ["it's", "\n"], False, [True, False]), ("g", [], True)])

    one.save(tmp_path / "m")

    assert MultiDataMap.load(tmp_path / "m") == one


def test_kind_of_map_must_fit(tmp_path):
    """A list of files is not one file, nor the other way round."""
    store_data_map(tmp_path / "one", [("h", "f")])
    store_data_map(tmp_path / "many", MultiDataMap([("h", ["f"])]))

    with pytest.raises(MapfileError, match="many: expected one file per entry, got a list of files"):
        DataMap.load(tmp_path / "many")
    with pytest.raises(MapfileError, match="one: expected a list of files per entry, got one file"):
        MultiDataMap.load(tmp_path / "one")


def test_load_data_map_gives_pairs(tmp_path):
    """Of the entries that are not to be skipped, in order; what is stored are tuples, dictionaries or a map."""
    for data in (THREE, DataMap(THREE), [{"host": host, "file": file, "skip": skip} for host, file, skip in THREE]):
        store_data_map(tmp_path / "m", data)
        assert load_data_map(tmp_path / "m") == [("a", "/1"), ("a", "/3")]


def test_files_written_by_the_original_are_read(tmp_path):
    """Lists of dictionaries on one line, and older ones of tuples."""
    (tmp_path / "m").write_text(
        "[{'host': 'a', 'file': '/1', 'skip': False}, {'host': 'b', 'file': '/2', 'skip': True}]"
    )
    assert DataMap.load(tmp_path / "m").tuples() == [("a", "/1", False), ("b", "/2", True)]

    (tmp_path / "m").write_text("[('a', '/1'), ('b', '/2')]")
    assert load_data_map(tmp_path / "m") == [("a", "/1"), ("b", "/2")]


def test_failed_save_leaves_the_old_file(tmp_path):
    """A name that cannot be written is told before anything is."""
    store_data_map(tmp_path / "m", [("a", "/1")])

    with pytest.raises(MapfileError, match="entry 2: "):
        store_data_map(tmp_path / "m", [("a", "/1"), ("a b", "/2")])
    with pytest.raises(MapfileError, match="cannot be written"):
        store_data_map(tmp_path / "no such folder/m", [("a", "/1")])

    assert load_data_map(tmp_path / "m") == [("a", "/1")]
    assert [path.name for path in tmp_path.iterdir()] == ["m"]


def test_map_too_large_to_be_read_again_is_not_written(tmp_path):
    """What was saved can be loaded."""
    with pytest.raises(MapfileError, match="m: expected a mapfile of at most 67108864 bytes, got 67142243"):
        store_data_map(tmp_path / "m", [("a", "x" * 60_000)] * 1_119)
    assert not (tmp_path / "m").exists()


# -- several maps


def test_valid_maps_match_by_index():
    """Equal length, the same host at each index; files and skips do not matter."""
    maps = [DataMap(THREE), DataMap([("a", "/x"), ("b", "/y"), ("a", "/z")])]

    assert validate_data_maps(*maps)
    assert validate_data_maps(maps[0])
    assert validate_data_maps(DataMap(), DataMap())
    assert validate_data_maps(DataMap([("h", "f")]), MultiDataMap([("h", ["g"])]))


def test_maps_that_do_not_match_are_invalid():
    """Another length, another host, or no map at all."""
    assert not validate_data_maps(DataMap(THREE), DataMap(THREE[:2]))
    assert not validate_data_maps(DataMap(THREE), DataMap([("a", "/x"), ("a", "/y"), ("a", "/z")]))
    assert not validate_data_maps()


def test_aligned_maps_skip_the_same():
    """What one skips all skip, and no entry moves."""
    one = DataMap([("a", "/1"), ("b", "/2", True), ("c", "/3")])
    two = DataMap([("a", "/x"), ("b", "/y"), ("c", "/z", True)])
    two.iterator = DataMap.SkipIterator  # must not shift anything
    lists = MultiDataMap([("a", ["/p"]), ("b", ["/q"]), ("c", ["/r"])])

    align_data_maps(one, two, lists)

    assert [[product.skip for product in each.data] for each in (one, two, lists)] == [[False, True, True]] * 3
    assert [product.file for product in two.data] == ["/x", "/y", "/z"]
    pairs = [(a.file, b.file) for a, b in zip(one.not_skipped(), two.not_skipped(), strict=True)]
    assert pairs == [("/1", "/x")]


@pytest.mark.parametrize(
    ("maps", "message"),
    [
        ([DataMap()], "expected at least two maps to align, got 1"),
        ([DataMap(THREE), DataMap(THREE[:1])], "expected maps of equal length, got 3, 1 entries"),
        (
            [DataMap(THREE), DataMap([*THREE[:2], ("c", "/3")])],
            "entry 3: expected the same host in all maps, got 'a', 'c'",
        ),
    ],
)
def test_maps_that_cannot_be_aligned(maps, message):
    """The first difference is named, and nothing is changed."""
    before = [one.tuples() for one in maps]

    with pytest.raises(MapfileError) as caught:
        align_data_maps(*maps)

    assert str(caught.value) == message
    assert [one.tuples() for one in maps] == before


def test_tally_asks_each_host_once():
    """True for each entry whose file is there, in the order of the map."""
    asked = []

    def exist(host, files):
        asked.append((host, files))
        return [file != "/1" for file in files]

    assert tally_data_map(DataMap(THREE), exist) == [False, True, True]
    assert asked == [("a", ["/1", "/3"]), ("b", ["/2"])]


def test_tally_of_lists_wants_all_files():
    """An entry of which one file is missing is not there."""
    lists = MultiDataMap([("a", ["/1", "/2"]), ("a", ["/3", "/1"]), ("a", ["/2", "/3"]), ("b", [])])

    assert tally_data_map(lists, lambda host, files: [file != "/1" for file in files]) == [False, False, True, True]
