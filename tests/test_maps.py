"""Map algebra: dealing, combining, grouping, picking, renaming, counting."""

from collections import Counter
from contextlib import suppress
from itertools import combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import MapfileError
from pipeline.maps.combine import diff, merge, part, split, zip_maps
from pipeline.maps.deal import deal, deal_in_stream
from pipeline.maps.groups import expand, group, pair
from pipeline.maps.keys import key_by_glob, key_by_regex
from pipeline.maps.names import add_suffix, make_absolute, with_folder, with_suffix
from pipeline.maps.pick import matcher, prune, select, skip
from pipeline.maps.tally import HostTally, add_up, doubts, fold_tallies, tally_hosts
from pipeline.model.products import DataProduct, MultiDataProduct

FEW = settings(max_examples=60, deadline=None)
WAYS = ("turn", "size", "hash", "key")
FILES = st.lists(st.text(max_size=8), max_size=40)
HOSTS = st.lists(st.sampled_from([f"lce{i:03d}" for i in range(1, 13)]), min_size=1, max_size=12, unique=True)
PRODUCTS = st.lists(
    st.builds(DataProduct, st.sampled_from(["a", "b", "c"]), st.sampled_from(["/x", "/y", "/z'\n"]), st.booleans()),
    max_size=20,
)


def dealt(files, hosts, **how):
    """Deal by any way, with sizes and keys made of the names."""
    return deal(files, hosts, sizes=[len(file) for file in files], key=lambda file: file[:1], **how)


def products(*entries):
    """Entries from (host, file) or (host, file, skip)."""
    return [DataProduct(*entry) for entry in entries]


def by_host(entries):
    """The files of each host."""
    found = {}
    for one in entries:
        found.setdefault(one.host, []).append(one.file)
    return found


# -- deal


@FEW
@given(files=FILES, hosts=HOSTS, by=st.sampled_from(WAYS))
def test_each_file_is_dealt_once_and_in_order(files, hosts, by):
    """Whatever the way, the files come back in their order, each on one of the hosts, none skipped."""
    got = dealt(files, hosts, by=by)

    assert [one.file for one in got] == files
    assert {one.host for one in got} <= set(hosts)
    assert not any(one.skip for one in got)


@FEW
@given(files=FILES, hosts=HOSTS, by=st.sampled_from(["turn", "size", "hash"]), limit=st.integers(1, 5))
def test_no_host_gets_more_than_the_limit(files, hosts, by, limit):
    """With a limit there is room for all that fit, and an error names the first one that does not."""
    room = limit * len(hosts)

    got = dealt(files[:room], hosts, by=by, max_per_host=limit)

    assert max(Counter(one.host for one in got).values(), default=0) <= limit
    if len(files) > room:
        with pytest.raises(MapfileError) as caught:
            dealt(files, hosts, by=by, max_per_host=limit)
        assert caught.value.problems[0].startswith(f"file {files[room]!r}: no room left for it")


def test_in_turn_the_first_hosts_get_one_more():
    """Five files on two hosts are three and two, every other one."""
    got = deal(list("abcde"), ["h1", "h2"])

    assert by_host(got) == {"h1": ["a", "c", "e"], "h2": ["b", "d"]}


def test_a_host_named_twice_counts_once():
    """Naming a host again gives it no second share."""
    assert by_host(deal(list("abcd"), ["h1", "h2", "h1"])) == {"h1": ["a", "c"], "h2": ["b", "d"]}


def test_by_size_the_longest_go_first():
    """The largest file has a host alone, the rest share the other."""
    sizes = {"/small": 1, "/huge": 100, "/middle": 60, "/also": 39}

    got = deal(list(sizes), ["h1", "h2"], by="size", sizes=sizes)

    assert by_host(got) == {"h1": ["/huge"], "h2": ["/small", "/middle", "/also"]}


@FEW
@given(sizes=st.lists(st.integers(0, 1000), min_size=1, max_size=40), n_hosts=st.integers(1, 6))
def test_by_size_no_host_has_much_more_than_another(sizes, n_hosts):
    """Two hosts differ by no more than the largest file."""
    files = [str(i) for i in range(len(sizes))]
    hosts = [f"h{i}" for i in range(n_hosts)]

    got = deal(files, hosts, by="size", sizes=sizes)

    loads = [sum(sizes[int(one.file)] for one in got if one.host == host) for host in hosts]
    assert max(loads) - min(loads) <= max(sizes)


@FEW
@given(files=FILES, hosts=HOSTS)
def test_by_hash_a_file_keeps_its_host(files, hosts):
    """Neither the order of the files, nor what else there is, nor the order of the hosts matters."""
    once = {one.file: one.host for one in deal(files, hosts, by="hash")}

    again = deal(files[::-1][: len(files) // 2], hosts[::-1], by="hash")

    assert all(once[one.file] == one.host for one in again)


def test_by_hash_only_files_of_a_new_host_move():
    """When an eleventh host comes, about an eleventh of the files move, and all of them to it."""
    files = [f"/data/L{i}.MS" for i in range(5000)]
    hosts = [f"lce{i:03d}" for i in range(10)]

    before, after = deal(files, hosts, by="hash"), deal(files, [*hosts, "new"], by="hash")

    moved = [new.host for old, new in zip(before, after, strict=True) if old.host != new.host]
    assert set(moved) == {"new"}
    assert 0.7 * 5000 / 11 < len(moved) < 1.3 * 5000 / 11


def test_by_hash_hosts_get_about_the_same():
    """No host has half as much, or twice as much, as its share."""
    counts = Counter(one.host for one in deal([str(i) for i in range(20000)], "abcdefghij", by="hash"))

    assert len(counts) == 10
    assert min(counts.values()) > 1700
    assert max(counts.values()) < 2300


def test_by_hash_is_the_same_for_ever():
    """The hosts of these files are written down here: maps of different days, versions and machines agree."""
    got = deal(["/a", "/b", "/c", "/d\udcff"], ["lce001", "lce002", "lce003"], by="hash")

    assert [one.host for one in got] == ["lce002", "lce003", "lce001", "lce001"]


@FEW
@given(files=FILES, hosts=HOSTS)
def test_by_key_files_with_a_key_stay_together(files, hosts):
    """Two files with the same key are on the same host, and there are hosts without a key only if keys are few."""
    got = dealt(files, hosts, by="key")

    assert all(one.host == other.host for one, other in combinations(got, 2) if one.file[:1] == other.file[:1])
    keys = {file[:1] for file in files}
    assert len({one.host for one in got}) == min(len(hosts), len(keys))


def test_by_key_a_new_key_goes_to_the_host_with_fewest_files():
    """Host h1 has three files of the first key, so the next two keys go to h2."""
    got = deal(["a1", "a2", "a3", "b1", "c1"], ["h1", "h2"], by="key", key=lambda file: file[0])

    assert by_host(got) == {"h1": ["a1", "a2", "a3"], "h2": ["b1", "c1"]}


def test_by_key_a_full_host_is_an_error():
    """The files of one key cannot go to two hosts: the first one left over is named."""
    with pytest.raises(MapfileError, match="file 'a3': no room left for it: 2 hosts with at most 2 files each"):
        deal(["a1", "a2", "a3"], ["h1", "h2"], by="key", key=lambda file: file[0], max_per_host=2)


def test_dealing_asks_for_one_file_at_a_time():
    """A list that never ends can be dealt."""
    asked = []

    def names():
        while True:
            asked.append("x")
            yield f"/data/{len(asked)}"

    for by in ("turn", "hash", "key"):
        entries = deal_in_stream(names(), ["h1", "h2"], by=by, key=str.lower)
        asked.clear()
        assert next(entries).file == "/data/1"
        assert len(asked) == 1


@pytest.mark.parametrize(
    ("hosts", "how", "message"),
    [
        ([], {}, "hosts: expected at least one"),
        (["h"], {"max_per_host": 0}, "expected at least 1, got 0"),
        (["h"], {"by": "luck"}, "deal by 'luck': expected turn, size, hash or key"),
        (["h"], {"by": "key"}, "expected a key for every file"),
        (["h"], {"by": "size"}, "expected the sizes of 2 files, got none"),
        (["h"], {"by": "size", "sizes": [1]}, "expected the sizes of 2 files, got 1"),
        (["h"], {"by": "size", "sizes": {"/a": 1}}, "got none of '/b'"),
    ],
)
def test_what_cannot_be_dealt_is_told(hosts, how, message):
    """A way that lacks what it needs is an error that says what."""
    with pytest.raises(MapfileError, match=message):
        deal(["/a", "/b"], hosts, **how)


# -- keys


@pytest.mark.parametrize(
    ("regex", "key"),
    [(r"SB\d+", "SB012"), (r"L(\d+)_SB(\d+)", "7"), (r"(x)?L(?P<key>\d)", "7"), ("^/data/[^/]*", "/data/night 1")],
)
def test_the_key_is_a_group(regex, key):
    """The group named key, else the first group, else the whole match."""
    assert key_by_regex(regex)("/data/night 1/L7_SB012.MS") == key


@pytest.mark.parametrize(
    ("glob", "file", "key"),
    [
        ("L*_SB???.MS", "/data/L12_SB003.MS", "12"),
        ("*.MS", "/data/a.b.MS/", "a.b"),
        ("*_*", "/x_y/L1_2_3", "L1"),
        ("a[*]*b", "a*cb", "c"),
    ],
)
def test_the_key_is_what_the_first_star_stands_for(glob, file, key):
    """As short as possible, in the last part of the path."""
    assert key_by_glob(glob)(file) == key


@pytest.mark.parametrize(
    ("make", "text", "message"),
    [
        (key_by_regex, "(", "expected a regular expression"),
        (key_by_regex, "(a)|x", "file '/x': has no key"),
        (key_by_regex, "b", "file '/x': has no key"),
        (key_by_glob, "L.MS", r"expected a pattern with a '\*'"),
        (key_by_glob, "L*", "file '/x': has no key"),
    ],
)
def test_a_key_that_cannot_be_is_told(make, text, message):
    """So is a file that has none."""
    with pytest.raises(MapfileError, match=message):
        make(text)("/x")


@pytest.mark.filterwarnings("ignore:Possible:FutureWarning")  # `[[` will mean something else in a future Python
@FEW
@given(
    text=st.text("*?[]!-()\\\\{}L1.$^|", max_size=12),
    make=st.sampled_from([key_by_glob, key_by_regex]),
    file=st.text("L1.[]*/\n", max_size=8),
)
def test_any_text_as_a_key_works_or_is_told(text, make, file):
    """No other exception than ours, whatever it is and whatever file it meets."""
    with suppress(MapfileError):
        assert isinstance(make(text)(file), str)


# -- combine


@FEW
@given(entries=PRODUCTS, n=st.integers(1, 25))
def test_split_and_merge_are_inverse(entries, n):
    """The parts put together are the map; their lengths differ by one at most, the longer ones first."""
    parts = split(entries, n)

    assert merge(*parts) == entries
    lengths = [len(part) for part in parts]
    assert len(parts) == n
    assert lengths == sorted(lengths, reverse=True)
    assert lengths[0] - lengths[-1] <= 1


def test_no_parts_cannot_be():
    """A map is split into at least one part."""
    with pytest.raises(MapfileError, match="number of parts: expected at least 1, got 0"):
        split([], 0)


def test_one_part_is_made_however_many_there_are():
    """Nothing is made of the others."""
    assert part(products(("a", "/1"), ("b", "/2")), 2, 10**18) == products(("b", "/2"))
    assert part(products(("a", "/1"), ("b", "/2")), 10**18, 10**18) == []


def test_zip_pairs_by_index_with_skipped_ones():
    """A skipped entry shifts nothing."""
    first = products(("a", "/1", True), ("b", "/2"))
    second = products(("a", "/x"), ("b", "/y"))

    assert zip_maps(first, second) == [(first[0], second[0]), (first[1], second[1])]


@pytest.mark.parametrize(
    ("second", "message"),
    [
        (products(("a", "/x")), "expected maps of equal length, got 2, 1 entries"),
        (products(("a", "/x"), ("c", "/y")), "entry 2: expected the same host in all maps, got 'b', 'c'"),
    ],
)
def test_maps_that_do_not_match_are_not_paired(second, message):
    """Another length or another host is an error that says where."""
    with pytest.raises(MapfileError, match=message):
        zip_maps(products(("a", "/1"), ("b", "/2")), second)


def test_copies_are_paired_with_their_sources():
    """On any hosts, if so told."""
    assert zip_maps(products(("a", "/1")), products(("b", "/1")), any_host=True) == [
        (DataProduct("a", "/1"), DataProduct("b", "/1"))
    ]


def test_diff_tells_what_is_gone_new_and_changed():
    """By host and file, as often as they are there."""
    first = products(("a", "/1"), ("a", "/1"), ("b", "/2"), ("c", "/3", True))
    second = products(("c", "/3"), ("a", "/1"), ("b", "/new"))

    assert diff(first, second) == (
        products(("a", "/1"), ("b", "/2")),
        products(("b", "/new")),
        products(("c", "/3")),
    )


def test_equal_entries_are_no_difference():
    """Of two entries with the same file, one of them skipped, the one that is gone is told."""
    first, second = products(("a", "/1")), products(("a", "/1", True), ("a", "/1"))

    assert diff(first, second) == ([], second[:1], [])
    assert diff(second, first) == (second[:1], [], [])


@FEW
@given(entries=PRODUCTS, order=st.randoms(use_true_random=False))
def test_diff_of_a_shuffled_map_is_empty(entries, order):
    """Order is no difference."""
    shuffled = [DataProduct(one.host, one.file, one.skip) for one in entries]
    order.shuffle(shuffled)

    assert diff(entries, shuffled) == ([], [], [])


# -- groups


@FEW
@given(entries=PRODUCTS, n=st.none() | st.integers(1, 5))
def test_expand_is_the_inverse_of_group(entries, n):
    """Host by host all files come back with their marks, and no group is too large."""
    grouped = group(entries, n)

    hosts = list(dict.fromkeys(one.host for one in entries))
    assert expand(grouped) == sorted(entries, key=lambda one: hosts.index(one.host))
    assert all(0 < len(one.file) <= (n or 100) for one in grouped)


def test_a_group_is_skipped_if_all_its_files_are():
    """Otherwise its skipped files keep their place and mark."""
    grouped = group(products(("a", "/1", True), ("a", "/2"), ("a", "/3", True), ("a", "/4", True)), 2)

    assert grouped == [
        MultiDataProduct("a", ["/1", "/2"], False, [True, False]),
        MultiDataProduct("a", ["/3", "/4"], True, [True, True]),
    ]


def test_groups_of_none_cannot_be():
    """A group has at least one file."""
    with pytest.raises(MapfileError, match="files in a group: expected at least 1, got 0"):
        group([], 0)


def test_a_pair_is_skipped_if_one_of_its_entries_is():
    """Two files of one host become one entry."""
    pairs = zip_maps(products(("a", "/1", True), ("b", "/2")), products(("a", "/x"), ("b", "/y")))

    assert pair(pairs) == [
        MultiDataProduct("a", ["/1", "/x"], True, [True, False]),
        MultiDataProduct("b", ["/2", "/y"], False, [False, False]),
    ]


# -- pick


NIGHT = products(("a", "/data/L1.MS"), ("b", "/data/L2.MS"), ("a", "/other/L3.h5", True))


@pytest.mark.parametrize(
    ("how", "numbers"),
    [
        ({}, [0, 1, 2]),
        ({"hosts": {"a"}}, [0, 2]),
        ({"glob": "*.MS"}, [0, 1]),
        ({"glob": "/data/*"}, [0, 1]),
        ({"glob": "L[!1].*"}, [1, 2]),
        ({"hosts": {"a"}, "glob": "*.MS"}, [0]),
        ({"hosts": {"a"}, "glob": "*.MS", "negate": True}, [1, 2]),
        ({"hosts": ()}, []),
    ],
)
def test_entries_are_picked_by_host_and_name(how, numbers):
    """A glob without a slash is for the last part; both conditions must hold."""
    assert select(NIGHT, matcher(**how)) == [NIGHT[number] for number in numbers]


def test_an_entry_with_several_files_is_picked_by_one():
    """One of its files must match."""
    both = MultiDataProduct("a", ["/1.MS", "/1.h5"])

    assert select([both], matcher(glob="*.h5")) == [both]


def test_skipping_marks_and_keeps_places():
    """The marked entries are new ones: the map that went in is as it was."""
    got = skip(NIGHT, matcher({"a"}))

    assert [one.skip for one in got] == [True, False, True]
    assert [one.skip for one in NIGHT] == [False, False, True]
    assert [one.skip for one in skip(got, matcher({"a"}), to=False)] == [False, False, False]


@pytest.mark.parametrize(
    ("before", "after"), [([True, True], [False, False]), ([True, False], [True, False]), ([False, False],) * 2]
)
def test_marks_of_all_files_are_taken_away_with_that_of_the_entry(before, after):
    """Reading a map that does not name them has set them all; those of some files are somebody's own."""
    (one,) = skip([MultiDataProduct("a", ["/1", "/2"], True, before)], matcher(), to=False)

    assert (one.skip, one.file_skip) == (False, after)


def test_prune_leaves_out_what_is_skipped():
    """Entries, and files of entries with several."""
    several = [
        MultiDataProduct("a", ["/1", "/2"], False, [True, False]),
        MultiDataProduct("a", ["/3"], False, [True]),
        MultiDataProduct("a", ["/4"], True, [False]),
    ]

    assert prune(NIGHT) == NIGHT[:2]
    assert prune(several) == [MultiDataProduct("a", ["/2"])]


# -- names


@pytest.mark.parametrize(
    ("rename", "value", "name"),
    [
        (add_suffix, ".flags", "/data/it's L1.MS.flags"),
        (with_suffix, ".h5", "/data/it's L1.h5"),
        (with_suffix, "", "/data/it's L1"),
        (with_folder, "/out put", "/out put/it's L1.MS"),
        (with_folder, "/out/", "/out/it's L1.MS"),
    ],
)
@pytest.mark.parametrize("end", ["", "/"])
def test_files_get_other_names(rename, value, name, end):
    """A slash at the end of a name does not count; hosts and skips stay."""
    assert rename(products(("a", "/data/it's L1.MS" + end, True)), value) == products(("a", name, True))


def test_all_files_of_an_entry_get_other_names():
    """Their marks stay."""
    got = with_folder([MultiDataProduct("a", ["/1/x", "/2/y"], False, [True, False])], "/out")

    assert got == [MultiDataProduct("a", ["/out/x", "/out/y"], False, [True, False])]


def test_two_files_must_not_become_one():
    """On one host it is an error, on two it is none."""
    with pytest.raises(MapfileError, match=r"files '/1/x' and '/2/x' of a: both would become '/out/x'"):
        with_folder(products(("a", "/1/x"), ("a", "/2/x")), "/out")

    assert len(with_folder(products(("a", "/1/x"), ("b", "/2/x"), ("a", "/1/x")), "/out")) == 3


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("/x//y/../z", "/x//y/../z"),
        ("x", "/here/x"),
        ("./x", "/here/x"),
        (".//./x y", "/here/x y"),
        ("../x", "/here/../x"),
        (".", "/here"),
        ("-x", "/here/-x"),
        ("..x", "/here/..x"),
    ],
)
def test_names_become_absolute(name, path):
    """What starts at the root stays as it is."""
    assert make_absolute(name, "/here") == path


def test_an_empty_name_is_no_name_of_the_folder():
    """It is a variable that was not set."""
    with pytest.raises(MapfileError, match="expected a name, got an empty one"):
        make_absolute("", "/here")


# -- tally


def test_hosts_with_the_same_are_folded():
    """A line for hosts that have as much, with how much each has."""
    entries = deal([str(i) for i in range(11)], [f"lce{i:03d}" for i in range(1, 6)])

    assert fold_tallies(tally_hosts(entries)) == [
        ("lce001", HostTally(entries=3, files=3, unsized=3)),
        ("lce[002-005]", HostTally(entries=2, files=2, unsized=2)),
    ]


def test_sizes_are_added_where_they_are_known():
    """The others are counted."""
    sizes = {"/data/L1.MS": 5, "/other/L3.h5": 0}

    tallies = tally_hosts(NIGHT, lambda _, file: sizes.get(file))

    assert tallies["a"] == HostTally(entries=2, files=2, skipped=1, n_bytes=5, unsized=0)
    assert add_up(tallies.values()) == HostTally(entries=3, files=3, skipped=1, n_bytes=5, unsized=1)


def test_files_of_a_skipped_entry_are_skipped():
    """So are the files of an entry that are marked."""
    several = [MultiDataProduct("a", ["/1", "/2"], True, [False, False]), MultiDataProduct("a", ["/3"], False, [True])]

    assert tally_hosts(several)["a"] == HostTally(entries=2, files=3, skipped=3, unsized=3)


def test_doubtful_paths_are_told():
    """A blank, a relative path, an entry that is there twice; the same file on two hosts is no mistake."""
    entries = products(("a", "/swinban k/x"), ("a", "x"), ("b", "/x"), ("a", "/x"), ("b", "/x"))

    assert list(doubts(entries)) == [
        "file 1, '/swinban k/x' on a: has a blank in it",
        "file 2, 'x' on a: is no absolute path",
        "file 5, '/x' on b: is there twice",
    ]
