"""`pipeline mapfile`: what its subcommands read, write and tell."""

import io
import json
import os
import subprocess
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from pipeline.cli.main import main
from pipeline.formats.mapfile import format_mapfile, parse_mapfile
from pipeline.formats.mapfile_stream import format_in_pieces
from pipeline.maps.deal import deal
from pipeline.model.products import DataProduct, MultiDataProduct

ODD_NAMES = ["/-x", "/$(touch x)", '/it\'s "a" name', "/new\nline", "/\udcff\udc80", "/ends ", "/a,b]#c", "/ü\u2028\r"]
PROGRAM = [sys.executable, "-m", "pipeline.cli.main", "mapfile"]
NIGHT = "lce001=[ /data/L1.MS, /data/L2.MS ]\nlce002=[ /data/L3.MS ]\n"


@dataclass
class Done:
    """How a command ended."""

    status: int
    out: str
    err: str

    @property
    def entries(self):
        """The map that it wrote."""
        return parse_mapfile(self.out)


@pytest.fixture
def mapfile(tmp_path, monkeypatch, capfdbinary):
    """Run `pipeline mapfile WORDS` in an empty folder, with text as its standard input."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))

    def run(*words, stdin=""):
        data = stdin.encode("utf-8", "surrogateescape")
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))
        status = main(["mapfile", *map(str, words)])
        out, err = capfdbinary.readouterr()
        return Done(status, out.decode("utf-8", "surrogateescape"), err.decode("utf-8", "surrogateescape"))

    return run


@pytest.fixture
def night(tmp_path):
    """A folder as on NFS: files, measurement sets, something hidden."""
    folder = tmp_path / "a night"
    for name in ("b/L2.MS/table.dat", "a/L1.MS/table.dat", "a/L1.MS/DATA/table.f0", "a/cal.h5", ".hidden/x", "notes"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)
    return folder


# -- make


def test_a_directory_is_dealt_sorted(mapfile, night):
    """Files at any depth, a measurement set as one, nothing hidden; names are absolute."""
    done = mapfile("make", "a night", "--hosts", "lce[001-003]")

    assert done.entries == deal(
        [f"{night}/{name}" for name in ("a/L1.MS", "a/cal.h5", "b/L2.MS", "notes")], ["lce001", "lce002", "lce003"]
    )


@pytest.mark.parametrize(
    ("words", "names"),
    [
        (["--pattern", "*.MS", "."], ["a/L1.MS", "b/L2.MS"]),
        (["*/*.MS"], ["a/L1.MS", "b/L2.MS"]),
        (["**/L[2-3].MS"], ["b/L2.MS"]),
        (["notes", "./a/cal.h5"], ["notes", "a/cal.h5"]),
        (["--pattern", "*.h5", "b/L2.MS", "a"], ["b/L2.MS", "a/cal.h5"]),
        (["--pattern", "table*", "a/L1.MS/DATA"], ["a/L1.MS/DATA/table.f0"]),
        (["--pattern", "b", "."], ["b"]),
    ],
)
def test_names_come_from_files_patterns_and_directories(mapfile, night, monkeypatch, words, names):
    """In the order in which they are given, what one word stands for sorted."""
    monkeypatch.chdir(night)

    done = mapfile("make", *words, "--hosts", "h")

    assert [one.file for one in done.entries] == [f"{night}/{name}" for name in names]


def test_links_are_taken_and_not_followed(mapfile, night):
    """A link to a file counts, a link to a directory does not, a loop ends."""
    (night / "a" / "loop").symlink_to(night)
    (night / "a" / "link").symlink_to(night / "notes")

    done = mapfile("make", night / "a", "--hosts", "h")

    assert [Path(one.file).name for one in done.entries] == ["L1.MS", "cal.h5", "link"]


def test_what_is_no_file_is_left_out_of_a_directory(mapfile, night):
    """A FIFO, and a link to nothing."""
    os.mkfifo(night / "a" / "fifo")
    (night / "a" / "lost").symlink_to("nowhere")

    done = mapfile("make", night / "a", "--hosts", "h")

    assert [Path(one.file).name for one in done.entries] == ["L1.MS", "cal.h5"]


def test_all_files_that_are_not_there_are_told(mapfile, night):
    """A line each, and no map; --no-check takes them as they are."""
    words = ["make", "nope", "*.h6", night / "notes", "empty", "--hosts", "h"]
    Path("empty").mkdir()

    done = mapfile(*words)

    assert (done.status, done.out) == (2, "")
    assert [line.partition(":")[0] for line in done.err.splitlines()] == ["nope", "*.h6", "empty"]
    assert [Path(one.file).name for one in mapfile(*words, "--no-check").entries] == ["nope", "*.h6", "notes", "empty"]


@pytest.mark.parametrize("form", ["literal", "json"])
def test_names_of_a_list_are_kept_exactly(mapfile, form):
    """Quotes, newlines, control characters and bytes that are no UTF-8 come through a list into a map."""
    done = mapfile("make", "-0", "--from-file", "-", "--hosts", "h", "--form", form, stdin="\0".join(ODD_NAMES) + "\0")

    assert [one.file for one in done.entries] == ODD_NAMES


def test_a_list_may_be_a_file(mapfile, tmp_path):
    """Empty lines count for nothing, a relative name starts here, the last line needs no end."""
    Path("list").write_text("/x\n\n  ./y z \nlast")

    done = mapfile("make", "--from-file", "list", "--hosts", "h")

    assert [one.file for one in done.entries] == ["/x", f"{tmp_path}/  ./y z ", f"{tmp_path}/last"]


def test_a_list_may_come_from_another_system(mapfile):
    """A byte order mark and carriage returns at the ends of lines belong to no name; with -0 they do."""
    text = "\ufeff/a\r\n\r\n/b \rc\r\n/d"

    lines = mapfile("make", "--from-file", "-", "--hosts", "h", stdin=text)
    exact = mapfile("make", "-0", "--from-file", "-", "--hosts", "h", stdin="/a\r\n\0")

    assert [one.file for one in lines.entries] == ["/a", "/b \rc", "/d"]
    assert [one.file for one in exact.entries] == ["/a\r\n"]


def test_a_list_is_checked_when_asked(mapfile, night):
    """Then every name must be visible here."""
    done = mapfile("make", "--from-file", "-", "--check", "--hosts", "h", stdin=f"/nope\n{night}/notes\n/no'pe\n")

    assert done.status == 2
    assert done.err.splitlines() == [
        "'/nope': expected a file, found nothing there",
        '"/no\'pe": expected a file, found nothing there',
    ]


def test_hosts_come_from_everywhere(mapfile):
    """Options, a file with comments, a cluster description: all that are named, each once."""
    Path("hosts").write_text("lce003 # the third\n\n# none\nlce[004-005],lce001\n")
    Path("c.clusterdesc").write_text(
        "ClusterName = c\nCompute.Nodes = [lce005, lce006]\nSubClusters = [s.clusterdesc]\n"
    )
    Path("s.clusterdesc").write_text("ClusterName = s\nCompute.Nodes = [lce007]\n")
    names = "".join(f"/{i}\n" for i in range(9))

    done = mapfile(
        *("make", "--from-file", "-", "--hosts", "lce[001-002]", "--hosts", "lce002"),
        *("--hosts-from", "hosts", "--clusterdesc", "c.clusterdesc"),
        stdin=names,
    )

    assert Counter(one.host for one in done.entries) == {
        "lce001": 2,
        "lce002": 2,
        **{f"lce00{i}": 1 for i in range(3, 8)},
    }


def test_files_are_dealt_by_their_size_here(mapfile, night):
    """The size of a measurement set is that of the files in it."""
    (night / "notes").write_text("x" * 20)

    done = mapfile("make", night, "--by", "size", "--hosts", "h1,h2")

    # 38 bytes in L1.MS, 20 in notes, 17 in L2.MS, 8 in cal.h5
    assert [(one.host, Path(one.file).name) for one in done.entries] == [
        *(("h1", "L1.MS"), ("h2", "cal.h5"), ("h2", "L2.MS"), ("h2", "notes")),
    ]


@pytest.mark.parametrize("key", [["--key", r"L(\d+)_"], ["--key-glob", "L*_SB*.MS"]])
def test_files_are_dealt_by_key(mapfile, key):
    """Subbands of an observation are on one host."""
    names = "/L1_SB0.MS\n/L2_SB0.MS\n/L1_SB1.MS\n/L2_SB1.MS\n"

    done = mapfile("make", "--from-file", "-", "--hosts", "h[1-5]", *key, stdin=names)

    assert [one.host for one in done.entries] == ["h1", "h2", "h1", "h2"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["x"], "name hosts"),
        (["--hosts", "h"], "name files"),
        (["x", "-0", "--hosts", "h"], "-0 goes with --from-file"),
        (["x", "--hosts", "-oProxyCommand=x"], "--hosts"),
        (["x", "--hosts=-oProxyCommand=x"], "host"),
        (["x", "--hosts", "lce[1-"], "host list 'lce[1-'"),
        (["x", "--hosts", "h", "--by", "key"], "--by key goes with --key"),
        (["x", "--hosts", "h", "--by", "size", "--key", "x"], "--by key goes with --key"),
        (["x", "--hosts", "h", "--key", "("], "expected a regular expression"),
        (["x", "--hosts", "h", "--key", "y{99}", "--no-check"], "has no key"),
        (["x", "--hosts", "h", "--by", "size", "--no-check"], "not visible here"),
        (["x", "y", "--hosts", "h", "--max-per-host", "1", "--no-check"], "y': no room left"),
        (["x", "--hosts", "h", "--max-per-host", "0", "--no-check"], "expected at least 1, got 0"),
        (["--from-file", "nope", "--hosts", "h"], "nope: cannot be read: No such file"),
        (["--from-file", "/dev/zero", "--hosts", "h"], "/dev/zero: expected a regular file"),
        (["--from-file", "-", "--hosts", "h"], "<stdin>: expected names on lines, got a NUL byte"),
        (["--hosts-from", "hosts", "x"], "hosts:2: host list 'lce002,[9'"),
        (["--hosts-from", "nope", "x"], "nope: expected a list of hosts"),
        (["--clusterdesc", "nope", "x"], "nope: "),
    ],
)
def test_what_cannot_be_made_is_told_in_one_line(mapfile, words, message):
    """Status 2 and nothing written."""
    Path("hosts").write_text("lce001\nlce002,[9 # odd\n")

    done = mapfile("make", *words, "-o", "map", stdin="/a\0/b\n")

    assert (done.status, done.out, done.err.count("\n")) == (2, "", 1), done.err
    assert message in done.err
    assert not Path("map").exists()


def test_a_fifo_is_no_list(mapfile):
    """Opening one that nobody writes to does not wait."""
    os.mkfifo("fifo")

    assert "fifo: expected a regular file" in mapfile("make", "--from-file", "fifo", "--hosts", "h").err


def test_an_old_map_stays_when_a_new_one_cannot_be_made(mapfile):
    """A file is written at once or not at all, also when what is wrong comes last."""
    Path("map").write_text("old")
    names = "".join(f"/{i}\n" for i in range(20_001))

    done = mapfile("make", "--from-file", "-", "--hosts", "h", "--max-per-host", "20000", "-o", "map", stdin=names)

    assert done.err.startswith("file '/20000': no room left")
    assert Path("map").read_text() == "old"
    assert os.listdir() == ["map"]


@pytest.mark.parametrize("form", ["literal", "json", "parset"])
@pytest.mark.parametrize("n", [0, 1, 4999, 5000, 5001, 10_000])
def test_pieces_are_the_text(form, n):
    """What is written piece by piece is what is written at once."""
    entries = deal([f"/{i}" for i in range(n)], ["a", "b"])

    assert "".join(format_in_pieces(iter(entries), form)) == format_mapfile(entries, form)


def test_a_list_is_dealt_as_it_comes():
    """The first entries are written before the list is complete, and when nobody reads on, it ends."""
    words = [*PROGRAM, "make", "--from-file", "-", "--hosts", "h[1-3]"]
    names = b"".join(b"/data/%070d\n" % i for i in range(40_000))
    pipe = subprocess.PIPE
    with ThreadPoolExecutor(1) as pool, subprocess.Popen(words, stdin=pipe, stdout=pipe, stderr=pipe) as process:
        writing = pool.submit(process.stdin.write, names)
        assert process.stdout.readline() == b"[\n"
        process.stdout.close()
        with suppress(BrokenPipeError):
            writing.result(30)
            process.stdin.flush()
        assert (process.wait(30), process.stderr.read()) == (0, b"")
        with suppress(BrokenPipeError):
            process.stdin.close()


# -- show, diff


def test_show_folds_hosts(mapfile):
    """Hosts with as many files share a line; the last line has all."""
    entries = deal([f"/{i}" for i in range(5)], ["lce001", "lce002", "lce003"])

    done = mapfile("show", "-", stdin=format_mapfile([*entries, DataProduct("lce003", "/x", True)], "json"))

    assert done.out.splitlines() == [
        "HOSTS         ENTRIES  FILES  SKIPPED",
        "lce[001-002]        2      2        0",
        "lce003              2      2        1",
        "3 hosts             6      6        1",
    ]


def test_show_tells_bytes_of_what_is_here(mapfile, night):
    """Files that are not are counted."""
    Path("map").write_text(f"a=[ '{night}/notes', '{night}/a/L1.MS', /nope ]\n")

    done = mapfile("show", "map", "--bytes")
    page = json.loads(mapfile("show", "map", "--bytes", "--json").out)

    assert done.out.splitlines()[1].split(maxsplit=4)[4] == "43 and 1 not seen"
    assert page == {
        **{"hosts": "a", "entries": 3, "files": 3, "skipped": 0, "bytes": 43, "not_seen": 1},
        "by_hosts": [{"hosts": "a", "entries": 3, "files": 3, "skipped": 0, "bytes": 43, "not_seen": 1}],
    }


def test_show_of_an_empty_map(mapfile):
    """No host and no file is a map, too."""
    assert mapfile("show", "-", stdin="[]").out.splitlines()[1].split() == ["0", "hosts", "0", "0", "0"]


def test_diff_tells_and_has_a_status(mapfile):
    """0 for equal maps of any form, 1 for others; lines as of diff(1)."""
    Path("a").write_text(NIGHT)
    changed = [
        DataProduct("lce001", "/data/L1.MS", True),
        DataProduct("lce002", "/data/L3.MS"),
        DataProduct("x", "/\n"),
    ]
    entries = parse_mapfile(NIGHT)

    assert mapfile("diff", "a", "-", stdin=format_mapfile(entries, "json")) == Done(0, "", "")
    other = mapfile("diff", "a", "-", stdin=format_mapfile(changed, "literal"))
    shuffled = mapfile("diff", "a", "-", stdin=format_mapfile(entries[::-1], "literal"))
    as_json = mapfile("diff", "a", "-", "--json", stdin=format_mapfile(changed, "literal"))

    assert other.status == shuffled.status == as_json.status == 1
    assert other.out.splitlines() == [
        *("- lce001 /data/L2.MS", "+ x /\\n", "~ lce001 /data/L1.MS: skipped in the second"),
    ]
    assert shuffled.out == "the same entries in another order, from entry 1 on\n"
    assert json.loads(as_json.out)["added"] == [{"host": "x", "file": "/\n", "skip": False}]


def test_diff_tells_which_files_of_an_entry_are_skipped(mapfile):
    """The mark of the entry may be the same in both."""
    Path("a").write_text(format_mapfile([MultiDataProduct("h", ["/1", "/2"])], "literal"))
    second = format_mapfile([MultiDataProduct("h", ["/1", "/2"], False, [False, True])], "literal")

    done = mapfile("diff", "a", "-", stdin=second)
    as_json = mapfile("diff", "a", "-", "--json", stdin=second)

    assert done.out == "~ h /1, /2: not skipped in the second; its skipped files: /2\n"
    assert json.loads(as_json.out)["skip_changed"][0]["file_skip"] == [False, True]


# -- the subcommands that change


@pytest.mark.parametrize("form", ["literal", "json"])
def test_every_form_keeps_every_name(mapfile, form):
    """From form to form and back, through pipes, nothing changes."""
    entries = [DataProduct("h", name, number % 2 == 0) for number, name in enumerate(ODD_NAMES)]

    done = mapfile("convert", "-", "--form", form, stdin=format_mapfile(entries, "literal"))

    assert (done.status, done.entries) == (0, entries)


@pytest.mark.parametrize(
    ("words", "begins"),
    [
        (["convert", "-"], "lce001=["),
        (["convert", "-", "--form", "json"], '[\n{"host"'),
        (["skip", "-", "--hosts", "lce001"], "[\n{'host'"),
        (["group", "-"], "[\n{'host'"),
    ],
)
def test_the_form_is_parset_where_that_is_exact(mapfile, words, begins):
    """Otherwise it is literal, and whatever is asked for."""
    assert mapfile(*words, stdin=NIGHT).out.startswith(begins)


def test_what_a_form_cannot_hold_is_told(mapfile):
    """A skip, or a newline, is nothing for a parset."""
    entries = [DataProduct("a", "/x", True), DataProduct("a", "/\n")]

    done = mapfile("convert", "-", "--form", "parset", stdin=format_mapfile(entries, "literal"))

    assert (done.status, done.out, done.err.count("\n")) == (2, "", 2)


@pytest.mark.parametrize(
    ("words", "files"),
    [
        (["merge", "-", "other"], ["/data/L1.MS", "/data/L2.MS", "/data/L3.MS", "/x"]),
        (["split", "-", "2", "--part", "2"], ["/data/L3.MS"]),
        (["select", "-", "--hosts", "lce[001-009]", "--files", "L[23].*"], ["/data/L2.MS", "/data/L3.MS"]),
        (["select", "-", "--files", "/data/L2.MS", "--not"], ["/data/L1.MS", "/data/L3.MS"]),
        (["select", "-", "--skipped-in", "done"], ["/data/L2.MS", "/data/L3.MS"]),
        (["select", "-", "--skipped-in", "done", "--hosts", "lce002"], ["/data/L3.MS"]),
        (["select", "-", "--skipped-in", "done", "--not"], ["/data/L1.MS"]),
        (["select", "-", "--skipped-in", "done", "--hosts", "lce001", "--not"], ["/data/L1.MS", "/data/L3.MS"]),
        (["select", "-", "--skipped-in", "copies"], ["/data/L2.MS"]),
        (["split", "-", "9", "--part", "3"], ["/data/L3.MS"]),
        (["split", "-", "1000000000000000000", "--part", "7"], []),
        (["prune", "-"], ["/data/L1.MS", "/data/L2.MS", "/data/L3.MS"]),
        (["rename", "-", "--folder", "/o ut", "--suffix", ".h5"], ["/o ut/L1.h5", "/o ut/L2.h5", "/o ut/L3.h5"]),
        (["rename", "-", "--add-suffix=-x"], ["/data/L1.MS-x", "/data/L2.MS-x", "/data/L3.MS-x"]),
        (["group", "-", "1"], [["/data/L1.MS"], ["/data/L2.MS"], ["/data/L3.MS"]]),
        (["group", "-"], [["/data/L1.MS", "/data/L2.MS"], ["/data/L3.MS"]]),
        (["expand", "-"], ["/data/L1.MS", "/data/L2.MS", "/data/L3.MS"]),
        (["zip", "-", "same"], [[f"/data/L{i}.MS", f"/out/{i}"] for i in (1, 2, 3)]),
    ],
)
def test_maps_become_maps(mapfile, words, files):
    """Each subcommand on standard input, to standard output."""
    Path("other").write_text("lce009=[ /x ]\n")
    hosts = ["lce001", "lce001", "lce002"]
    Path("done").write_text(format_mapfile([DataProduct(host, f"/{i}", i > 0) for i, host in enumerate(hosts)], "json"))
    Path("copies").write_text("[('x', '/1'), ('y', '/2', True), ('x', '/3')]")
    Path("same").write_text("lce001=[ /out/1, /out/2 ]\nlce002=[ /out/3 ]")

    done = mapfile(*words, stdin=NIGHT)

    assert [one.file for one in done.entries] == files


def test_split_writes_a_file_for_each_part(mapfile):
    """The braces in the name are the number."""
    assert mapfile("split", "-", "2", "-o", "part {}.map", stdin=NIGHT) == Done(0, "", "")

    assert [one.file for one in parse_mapfile(Path("part 2.map").read_text())] == ["/data/L3.MS"]
    assert sorted(os.listdir()) == ["part 1.map", "part 2.map"]


def test_split_writes_nothing_if_one_part_cannot_be(mapfile):
    """The line names the part."""
    text = "[('a', '/1'), ('a', '/2', True)]"

    done = mapfile("split", "-", "2", "-o", "p{}.map", "--form", "parset", stdin=text)

    assert (done.status, os.listdir()) == (2, [])
    assert done.err.startswith("p2.map: entry 1: expected no skipped entry")


def test_a_folder_is_one_of_here(mapfile, tmp_path):
    """Names in a map are absolute, those that `rename` makes too."""
    done = mapfile("rename", "-", "--folder", "out", stdin="a=[ /data/x ]")

    assert [one.file for one in done.entries] == [f"{tmp_path}/out/x"]


def test_a_map_written_is_for_those_whom_the_umask_allows(mapfile):
    """As a file made with `>` is."""
    before = os.umask(0o022)
    try:
        mapfile("convert", "-", "-o", "map", stdin=NIGHT)
    finally:
        os.umask(before)

    assert os.stat("map").st_mode & 0o777 == 0o644


def test_groups_can_be_expanded_again(mapfile):
    """Skips included; prune leaves them out."""
    entries = [MultiDataProduct("a", ["/1", "/2"], False, [True, False]), MultiDataProduct("b", ["/3"], True)]
    text = format_mapfile(entries, "json")

    assert [(one.file, one.skip) for one in mapfile("expand", "-", stdin=text).entries] == [
        *(("/1", True), ("/2", False), ("/3", True)),
    ]
    assert mapfile("prune", "-", stdin=text).entries == [MultiDataProduct("a", ["/2"])]


def test_skipped_entries_can_be_taken_back(mapfile):
    """The map is then what it was."""
    skipped = mapfile("skip", "-", "--files", "L2.MS", stdin=NIGHT)

    assert [one.skip for one in skipped.entries] == [False, True, False]
    assert mapfile("skip", "-", "--undo", stdin=skipped.out).out == NIGHT


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["merge", "-", "-"], "-: expected standard input once, got it twice"),
        (
            ["merge", "several", "-"],
            "maps of one kind, got one file in an entry of <stdin> and several in those of several",
        ),
        (["convert", "several", "--form", "parset"], "<stdout>: entry 1: expected one file"),
        (["convert", "several", "--form", "parset", "-o", "p"], "p: entry 1: expected one file"),
        (["select", "-", "--hosts", ""], "--hosts: expected the name of a host, got none"),
        (["make", "", "--no-check", "--hosts", "a"], "expected a name, got an empty one"),
        (["rename", "-", "--folder", ""], "<stdin>: expected a name, got an empty one"),
        (
            ["split", "-", "1000000000000", "-o", "{}"],
            "expected at most as many parts as entries, 3, got 1000000000000",
        ),
        (["group", "several"], "several: expected one file in an entry, got several"),
        (["zip", "-", "other"], "<stdin> and other: expected maps of equal length, got 3, 1 entries"),
        (["select", "-", "--skipped-in", "other"], "<stdin> and other: expected maps of equal length"),
        (["split", "-", "0"], "number of parts: expected at least 1, got 0"),
        (["split", "-", "2"], "name the parts with -o"),
        (["split", "-", "2", "--part", "3"], "--part: expected a number from 1 to 2, got 3"),
        (["rename", "-", "--folder", "/x", "--suffix", ".y", "--add-suffix", ".z"], "not allowed with"),
        (["select", "-", "--hosts", "a;b"], "a;b"),
        (["convert", "nope"], "nope: expected a mapfile, found nothing there"),
        (["convert", "/dev/zero"], "/dev/zero: expected a regular file"),
        (["convert", "-", "-o", "/dev/full"], "/dev/full: expected a regular file"),
        (["convert", "-", "-o", "no/where"], "no/where: cannot be written"),
        (["diff", "bad", "other"], "bad:1:"),
    ],
)
def test_mistakes_are_one_line(mapfile, words, message):
    """With status 2, and nothing on standard output."""
    Path("other").write_text("lce009=[ /x ]\n")
    Path("several").write_text("[{'host': 'a', 'file': ['/x', '/y']}]")
    Path("bad").write_text("a=[ __import__('os') ")

    done = mapfile(*words, stdin=NIGHT)

    assert (done.status, done.out, done.err.count("\n")) == (2, "", 1), done.err
    assert message in done.err


# -- real processes


def test_commands_pipe(tmp_path):
    """Bytes that are no UTF-8 go through three of them in a C locale; the one that is left alone says nothing."""
    names = b"".join(b"/data/\xff %d\n" % i for i in range(30_000))
    script = (
        '"$@" make --from-file - --hosts h[1-3] | "$@" convert - --form json | "$@" select - --form literal | head -3'
    )

    done = subprocess.run(
        ["bash", "-c", script, "bash", *PROGRAM],
        input=names,
        capture_output=True,
        cwd=tmp_path,
        env={**os.environ, "LC_ALL": "C"},
        timeout=60,
    )

    assert done.stderr == b""
    second = done.stdout.decode("utf-8", "surrogateescape").splitlines()[2]
    assert parse_mapfile(f"[{second}]") == [DataProduct("h2", "/data/\udcff 1")]


@pytest.mark.parametrize(
    ("command", "out", "status", "err"),
    [
        ("convert", ">/dev/full", 1, b"stdout: cannot be written: No space left on device\n"),
        ("convert", ">&-", 1, b"stdout: cannot be written: it is closed\n"),
        ("show", ">&-", 0, b""),
    ],
)
def test_output_that_nobody_takes_is_no_traceback(tmp_path, command, out, status, err):
    """A map that is lost is one line; of a table that nobody wants to see nothing is said."""
    (tmp_path / "map").write_text(NIGHT)
    script = f'"$@" {command} map {out}'

    done = subprocess.run(["bash", "-c", script, "bash", *PROGRAM], capture_output=True, cwd=tmp_path, timeout=60)

    assert (done.returncode, done.stderr) == (status, err)


@pytest.mark.parametrize(
    ("redirection", "message"),
    [
        ("<&-", b"<stdin>: "),
        ("</dev/zero", b"<stdin>:1:1: expected text, found a NUL byte"),
        ("< <(yes | head -c 70M)", b"<stdin>: expected at most 67108864 bytes"),
    ],
)
def test_input_that_is_no_map_is_one_line(tmp_path, redirection, message):
    """A closed, endless, odd or too large standard input."""
    words = ["bash", "-c", f'"$@" show - {redirection}', "bash", *PROGRAM]

    done = subprocess.run(words, capture_output=True, cwd=tmp_path, timeout=60)

    assert (done.returncode, done.stderr.count(b"\n")) == (2, 1), done.stderr
    assert done.stderr.startswith(message)


# -- check


def test_check_warns_of_doubtful_paths(mapfile):
    """It stays a map, so the status is 0."""
    done = mapfile("check", "-", stdin="lce001=[ /swinban k/x, y ]")

    assert done.status == 0
    assert done.out.splitlines() == [
        "<stdin>: warning: file 1, '/swinban k/x' on lce001: has a blank in it",
        "<stdin>: warning: file 2, 'y' on lce001: is no absolute path",
        "<stdin>: ok: 2 entries on lce001",
    ]


def test_check_tells_all_problems_of_a_map(mapfile):
    """Each with its line, as the damaged sample of the original manual has two hosts on one line."""
    done = mapfile("check", "-", stdin="lce001=[ /x ] lce002=[ /y ]\nlce003=[ /z\n")

    assert done.status == 2
    assert [line.split(" ")[0] for line in done.err.splitlines()] == ["<stdin>:1:15:", "<stdin>:2:12:"]


def test_many_warnings_are_cut(mapfile):
    """After a hundred comes how many more there are."""
    done = mapfile("check", "-", "--json", stdin="a=[ " + ", ".join(f"/b c/{i}" for i in range(150)) + " ]")

    warnings = json.loads(done.out)["warnings"]
    assert (len(warnings), warnings[-1]) == (101, "and 50 more")


@pytest.fixture
def ssh_config(mapfile, ssh_pair, tmp_path):
    """A pipeline.cfg for the throw-away hosts, in the current folder."""
    (tmp_path / "pipeline.cfg").write_text(ssh_pair.config_text())


def test_check_asks_the_hosts(mapfile, ssh_config, tmp_path):
    """Files are looked for where the map says they are, except skipped ones; a name of any bytes is understood."""
    odd = tmp_path / "it's \udcff\n"
    odd.write_text("x")
    entries = [DataProduct("node1", str(odd)), DataProduct("node2", str(tmp_path)), DataProduct("node2", "/nope", True)]

    good = mapfile("check", "-", "--exists", "--json", stdin=format_mapfile(entries, "literal"))
    entries[2].skip = False
    bad = mapfile("check", "-", "--exists", stdin=format_mapfile(entries, "literal"))

    assert (good.status, json.loads(good.out)["missing"]) == (0, [])
    assert bad.status == 1
    assert bad.out.splitlines()[-2:] == ["node2: missing: /nope", "<stdin>: 1 files missing, 0 hosts not reached"]


def test_show_asks_the_hosts_for_sizes(mapfile, ssh_config, tmp_path):
    """Of files: a directory and a missing one have none, and a host that cannot be asked is told, with status 3."""
    (tmp_path / "seven").write_text("x" * 7)
    names = [f"{tmp_path}/seven", str(tmp_path), "/nope"]
    entries = [DataProduct("node1", name) for name in names] + [DataProduct("node1", names[0], True)]
    text = format_mapfile([*entries, DataProduct("nowhere.invalid", "/x")], "literal")

    done = mapfile("show", "-", "--ask-hosts", stdin=text)

    assert done.status == 3
    assert done.err.startswith("nowhere.invalid: ")
    assert done.out.splitlines()[1].split(maxsplit=4) == ["node1", "4", "4", "1", "14 and 2 not seen"]


def test_check_tells_of_hosts_that_cannot_be_asked(mapfile, ssh_config, tmp_path):
    """Status 3 wins over 1; what the others say is told all the same."""
    text = "nowhere.invalid=[ /x ]\nnode1=[ /nope ]\n"

    done = mapfile("check", "-", "--exists", "--json", stdin=text)

    page = json.loads(done.out)
    assert (done.status, page["missing"]) == (3, [["node1", "/nope"]])
    assert list(page["unreachable"]) == ["nowhere.invalid"]


def test_check_asks_about_any_number_of_files(mapfile, ssh_config, tmp_path):
    """More than fit into one question, two of them long; the answer is for each."""
    names = [f"{tmp_path}/{i}" for i in range(12_000)] + ["/" + c * 60_000 for c in "xy"]
    (tmp_path / "7000").write_text("x")

    done = mapfile("check", "-", "--exists", "--json", stdin=format_mapfile([DataProduct("node1", n) for n in names]))

    assert done.status == 1
    assert [file for _, file in json.loads(done.out)["missing"]] == [n for n in names if not n.endswith("/7000")]
