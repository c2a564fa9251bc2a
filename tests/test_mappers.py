"""The recipes `datamapper` and `storagemapper`, and the rules they go by."""

import contextlib
import os
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
from harness import with_warm
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline import DataMap, load_data_map
from pipeline.errors import MapfileError
from pipeline.maps.rules import WHOLE_CLUSTER, Rule, map_files

PROJECT = Path(__file__).resolve().parents[1]
POOLS = {WHOLE_CLUSTER: ["a", "b", "c"], "sub1": ["a", "b"], "sub3": ["c"], "empty": []}


def mapped(rule: str, *files: str, pools=POOLS, **options) -> list[tuple[str, str]]:
    """Return (host, file) of each file."""
    return [(one.host, one.file) for one in map_files(files, Rule(rule), pools, **options)]


# -- rules


def test_subcluster_rule_deals_by_turns():
    """The third part is the sub-cluster; its compute nodes take turns, whatever comes between."""
    files = [f"/net/{sub}/lse001/data/{i}" for i, sub in enumerate(["sub1", "sub3", "sub1", "sub3", "sub1"])]

    assert mapped("subcluster", *files) == [
        ("a", files[0]), ("a", files[4]), ("c", files[1]), ("c", files[3]), ("b", files[2])
    ]  # fmt: skip


def test_storage_rule_takes_the_path_apart():
    """The fourth part is the host, and what follows the file; a host's name further on does no harm."""
    assert mapped("storage", "/net/sub3/lse007/data2/lse007/x", "/net/sub3/lse007/d\n'\udce9 [1..3]/") == [
        ("lse007", "/data2/lse007/x"),
        ("lse007", "/d\n'\udce9 [1..3]/"),
    ]


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        (r"/(?P<host>lce\d+)/", [("lce007", "/data/lce007/L1_sub3.MS")]),
        (r"^/data/(?P<host>\w+)(?P<file>/.*)", [("lce007", "/L1_sub3.MS")]),
        (r"_(?P<subcluster>\w+)\.MS$", [("c", "/data/lce007/L1_sub3.MS")]),
        (r"(?P<host>locus\d+)|_(?P<subcluster>sub\d)", [("c", "/data/lce007/L1_sub3.MS")]),
        (r"(?P<host>lce\d+)(?P<file>/never)?", [("lce007", "/data/lce007/L1_sub3.MS")]),
    ],
)
def test_a_regular_expression_can_be_the_rule(rule, expected):
    """It is looked for in the path; its groups tell host or sub-cluster, and the file if there is that group."""
    assert mapped(rule, "/data/lce007/L1_sub3.MS") == expected


def test_nfs_rule_takes_every_node():
    """Any file can go to any compute node of the cluster."""
    assert mapped("nfs", "/1", "/2", "/3", "/4") == [("a", "/1"), ("a", "/4"), ("b", "/2"), ("c", "/3")]


def test_dealing_by_size_balances_each_pool():
    """The largest files are dealt first, each to the node with the fewest bytes."""
    files = [f"/net/sub1/x/{i}" for i in range(4)]

    got = mapped("subcluster", *files, by="size", sizes=[1, 2, 3, 6])

    assert sorted(got) == [("a", files[3]), ("b", files[0]), ("b", files[1]), ("b", files[2])]


def test_without_subclusters_all_nodes_serve():
    """A name of a sub-cluster then means the cluster."""
    pools = {WHOLE_CLUSTER: ["a", "b"]}

    assert mapped("subcluster", "/net/x/y/1", "/net/z/y/2", pools=pools) == [("a", "/net/x/y/1"), ("b", "/net/z/y/2")]


@pytest.mark.parametrize(
    ("rule", "file", "reason"),
    [
        ("subcluster", "/data/x", "expected a path like /net/<sub-cluster>/..."),
        ("subcluster", "/net/sub3", "expected a path like /net/<sub-cluster>/..."),
        ("subcluster", "/net/sub9/x", "expected a sub-cluster, sub1, sub3, empty, got 'sub9'"),
        ("subcluster", "/net/empty/x", "expected compute nodes, sub-cluster 'empty' has none"),
        ("storage", "/net/sub3/lse007", "expected a path like /net/<sub-cluster>/<host>/<file>"),
        ("storage", "/net/sub3/-oProxyCommand=x/data", "host '-oProxyCommand=x': expected a host name (letters, "
         "digits, '.', '_', '-', not first '-')"),
        ("storage", "/net/sub3/$(x)/data", "host '$(x)': expected a host name (letters, digits, '.', '_', '-', not "
         "first '-')"),
        (r"(?P<host>lce\d)", "/x", r"expected a path in which '(?P<host>lce\\d)' is found"),
        (r"(?P<host>lce\d)(?P<file>_)", "/lce1_", "expected an absolute path, got '_'"),
    ],
)  # fmt: skip
def test_a_file_that_fits_no_rule_is_one_line(rule, file, reason):
    """The line says what was expected."""
    with pytest.raises(MapfileError) as caught:
        mapped(rule, file)

    assert caught.value.problems == (f"file {file!r}: not mapped: {reason}",)


def test_all_unmapped_files_are_told_at_once():
    """A hundred of them a line each, the others as a number."""
    with pytest.raises(MapfileError) as caught:
        mapped("subcluster", "/net/sub1/x/1", *(f"/{i}" for i in range(150)))

    told = caught.value.problems
    assert [line.split("'")[1] for line in told[:-1]] == [f"/{i}" for i in range(100)]
    assert told[-1] == "... and 50 more files that are not mapped"


@pytest.mark.parametrize(
    ("rule", "problem"),
    [
        ("(", "expected subcluster, storage, nfs or a regular expression, got an error: missing ), unterminated "
         "subpattern at position 0"),
        (r"(?P<hots>x)", "expected a group (?P<host>...) or (?P<subcluster>...), got neither"),
        ("NFS", "expected a group (?P<host>...) or (?P<subcluster>...), got neither"),
    ],
)  # fmt: skip
def test_a_rule_that_is_none_is_one_line(rule, problem):
    """Whether it is a regular expression, and says where, is known before any file is looked at."""
    with pytest.raises(MapfileError) as caught:
        Rule(rule)

    assert caught.value.problems == (f"rule {rule!r}: {problem}",)


PARTS = st.text(st.characters(exclude_characters="/\0"), min_size=1, max_size=6)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(["sub1", "sub3"]), PARTS), max_size=40), st.booleans())
def test_each_file_is_mapped_once_and_evenly(names, by_size):
    """No file is lost or doubled, each goes to a node of its sub-cluster, and no node has two more than another."""
    files = [f"/net/{sub}/lse/{i}{part}" for i, (sub, part) in enumerate(names)]
    options = {"by": "size", "sizes": [1] * len(files)} if by_size else {}

    got = mapped("subcluster", *files, **options)

    assert sorted(file for _, file in got) == sorted(files)
    assert all(host in POOLS[file.split("/")[2]] for host, file in got)
    counts = Counter(host for host, _ in got)
    assert abs(counts["a"] - counts["b"]) <= 1


@settings(max_examples=100, deadline=None)
@given(st.text(st.sampled_from("/ab\n"), max_size=30), st.sampled_from(["subcluster", "storage", "nfs"]))
def test_any_name_is_mapped_or_an_error_of_ours(file, rule):
    """Nothing else comes out of a rule."""
    with contextlib.suppress(MapfileError):
        ((host, seen),) = mapped(rule, file)
        assert host
        assert file.endswith(seen)


@pytest.mark.parametrize("rule", ["subcluster", "storage"])
def test_a_hostile_name_takes_no_time(rule):
    """The time of the classic rules is linear in the length of a name."""
    began_s = time.monotonic()

    for name in ("/" * 1_000_000, "a" * 1_000_000, "/a/" + "b" * 1_000_000):
        with pytest.raises(MapfileError):
            mapped(rule, name, pools={WHOLE_CLUSTER: [], "x": []})

    assert time.monotonic() - began_s < 2


# -- recipes


class Mapper:
    """Runs the recipes in a directory with a cluster of two sub-clusters, one node each."""

    def __init__(self, directory: Path, config: str) -> None:
        self.directory = directory
        self.mapfile = directory / "out.mapfile"
        (directory / "empty.cfg").touch()
        (directory / "full").write_text("ClusterName=Full\nSubClusters=[sub1..2]\n")
        for n in (1, 2):
            (directory / f"sub{n}").write_text(f"ClusterName=sub{n}\nCompute.Nodes=node{n}\n")
        (directory / "pipeline.cfg").write_text(f"[cluster]\nclusterdesc = full\n{with_warm(config)}")

    def run(self, recipe: str, *words: str) -> "subprocess.CompletedProcess[str]":
        """Run a recipe; its map goes to `mapfile`."""
        command = [sys.executable, str(PROJECT / f"recipes/master/{recipe}.py"), "--mapfile", "out.mapfile", *words]
        return subprocess.run(
            command, cwd=self.directory, text=True, timeout=100, check=False, errors="surrogateescape",
            env={**os.environ, "PYTHONPATH": str(PROJECT), "HOME": str(self.directory)},
            stdin=subprocess.DEVNULL, capture_output=True,
        )  # fmt: skip

    def pairs(self) -> list[tuple[str, str]]:
        """Return the map that was written, without what is skipped."""
        return load_data_map(self.mapfile)


@pytest.fixture
def mapper(tmp_path):
    """The recipes, with everything on this machine."""
    return Mapper(tmp_path, "[remote]\nmethod = local\n")


@pytest.fixture
def ssh_mapper(tmp_path, ssh_pair):
    """The recipes, with two hosts over SSH."""
    return Mapper(tmp_path, ssh_pair.config_text())


def test_datamapper_maps_to_subclusters(mapper):
    """The cluster description is that of the configuration, and the file names are kept as they are."""
    names = ["/net/sub2/x/it's, a [file] #1.MS", "/net/sub1/x/\u00e9\udce9", "/net/sub2/x/2"]

    done = mapper.run("datamapper", *names)

    assert (done.returncode, done.stderr) == (0, "")
    assert mapper.pairs() == [("node2", names[0]), ("node2", names[2]), ("node1", names[1])]
    assert done.stdout == f"Results:\nmapfile = {mapper.mapfile}\n"
    assert mapper.mapfile.read_text(errors="surrogateescape").startswith("node2=[")


def test_datamapper_deals_to_a_cluster_without_subclusters(mapper):
    """One cycle for the whole cluster; an option goes before the configuration."""
    (mapper.directory / "flat").write_text("ClusterName=flat\nCompute.Nodes=lce[1-2]\n")

    done = mapper.run("datamapper", "--clusterdesc", "flat", "/a", "/b", "c")

    assert done.returncode == 0, done.stderr
    assert mapper.pairs() == [("lce1", "/a"), ("lce1", str(mapper.directory / "c")), ("lce2", "/b")]


def test_datamapper_tells_all_unmapped_files(mapper):
    """Status 2, a line for each, and no map."""
    done = mapper.run("datamapper", "/net/sub1/x/1", "/net/sub3/x/2", "/data")

    assert (done.returncode, done.stderr.splitlines()) == (2, [
        "file '/net/sub3/x/2': not mapped: expected a sub-cluster, sub1, sub2, got 'sub3'",
        "file '/data': not mapped: expected a path like /net/<sub-cluster>/...",
    ])  # fmt: skip
    assert not mapper.mapfile.exists()


def test_names_stay_as_they_are(mapper):
    """`..` too: what is above a link is not known here. Only slashes at the end go."""
    done = mapper.run("datamapper", "--rule=nfs", "/d/link/../x/", "../y")

    assert done.returncode == 0, done.stderr
    assert mapper.pairs() == [("node1", "/d/link/../x"), ("node2", f"{mapper.directory}/../y")]


def test_map_that_cannot_be_written_is_told_before(mapper):
    """No host is asked for it."""
    done = mapper.run("datamapper", "--rule=nfs", "--check", "/x", "--mapfile", "no such/map")

    assert (done.returncode, done.stderr) == (2, "no such/map: cannot be written: No such file or directory\n")


def test_storagemapper_needs_no_cluster(mapper):
    """Hosts come from the names alone; names can come from a file too."""
    (mapper.directory / "full").unlink()
    (mapper.directory / "names").write_bytes(b"/net/sub3/lse008/data1/\xe9 b \n\n/net/sub3/lse007/data2/c\n")

    done = mapper.run("storagemapper", "/net/sub3/lse007/data2/x", "--from-file", "names")

    assert done.returncode == 0, done.stderr
    assert mapper.pairs() == [("lse007", "/data2/x"), ("lse007", "/data2/c"), ("lse008", "/data1/\udce9 b ")]


def test_rule_is_an_option(mapper):
    """A regular expression, or nfs, takes the place of the classic rule."""
    done = mapper.run("storagemapper", "--rule", r"L(?P<subcluster>sub\d)", "/data/Lsub2", "/data/Lsub1")

    assert done.returncode == 0, done.stderr
    assert mapper.pairs() == [("node2", "/data/Lsub2"), ("node1", "/data/Lsub1")]


def test_files_can_be_dealt_by_size(mapper):
    """What is visible here is measured, a measurement set with all that is in it."""
    big = mapper.directory / "big.MS" / "table"
    big.mkdir(parents=True)
    (big / "f0").write_bytes(b"x" * 5000)
    files = [str(big.parent)]
    for name in "abc":
        (mapper.directory / name).write_bytes(b"x" * 1000)
        files.append(str(mapper.directory / name))

    done = mapper.run("datamapper", "--rule=nfs", "--by=size", *files)

    assert done.returncode == 0, done.stderr
    assert mapper.pairs() == [("node1", files[0]), *(("node2", file) for file in files[1:])]


def test_dealing_by_size_needs_visible_files(mapper):
    """What cannot be measured is told, and nothing is written."""
    done = mapper.run("datamapper", "--rule=nfs", "--by=size", "/no/such", str(mapper.directory))

    assert (done.returncode, done.stderr) == (
        2, "datamapper: --by size: expected files that are visible on this machine, got '/no/such'\n"
    )  # fmt: skip


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ([], "datamapper: expected at least one file, got none; name files or give --from-file"),
        ([""], "datamapper: expected names of files, got an empty one"),
        (["/x", "--by", "weight"], "datamapper: --by (command line): expected count or size, got 'weight'"),
        (["/x", "--rule", "("], "rule '(': expected subcluster, storage, nfs or a regular expression, got an error: "
         "missing ), unterminated subpattern at position 0"),
        (["/x", "--from-file", "none"], "none: cannot be read: No such file or directory"),
        (["/x", "--config", "empty.cfg"], "datamapper: --clusterdesc: expected a cluster description, got nothing; "
         "give the option or set clusterdesc in section [cluster] of pipeline.cfg"),
    ],
)  # fmt: skip
def test_mistake_is_one_line(mapper, words, line):
    """Status 2, and no map."""
    done = mapper.run("datamapper", *words)

    assert (done.returncode, done.stderr) == (2, line + "\n")
    assert not mapper.mapfile.exists()


def test_broken_cluster_description_is_told(mapper):
    """The line says which of its files."""
    (mapper.directory / "sub2").unlink()

    done = mapper.run("datamapper", "/net/sub1/x/1")

    told = f"{mapper.directory}/sub2: expected a cluster description, found nothing there, named in "
    assert (done.returncode, done.stderr) == (2, f"{told}{mapper.directory}/full:2:1\n")


def test_hosts_are_asked_over_ssh(ssh_mapper):
    """With --check, what is not on its host is told and skipped in the map, and sizes are added up."""
    folder = ssh_mapper.directory / "it's data"
    (folder / "a.MS" / "sub").mkdir(parents=True)
    (folder / "a.MS" / "sub" / "t").write_bytes(b"x" * 300)
    (folder / "b\udce9").write_bytes(b"x" * 20)
    names = [f"/net/sub{n}{folder}/{name}" for n, name in ((1, "a.MS"), (2, "b\udce9"), (2, "gone, \u00e9"))]

    done = ssh_mapper.run("datamapper", "--check", "-v", "--rule", r"/net/(?P<subcluster>sub\d)(?P<file>/.*)", *names)

    assert done.returncode == 0, done.stderr
    assert DataMap.load(ssh_mapper.mapfile).tuples() == [
        ("node1", f"{folder}/a.MS", False),
        ("node2", f"{folder}/b\udce9", False),
        ("node2", f"{folder}/gone, \u00e9", True),
    ]
    assert "bytes = 320\n" in done.stdout
    assert "node1: 1 files are there, 300 bytes\n" in done.stderr
    assert f'node2: 1 of 2 files are not there: "{folder}/gone, \u00e9"' in done.stderr


def test_storagemapper_asks_its_hosts(ssh_mapper):
    """Its own node script is the one that looks; without any file the recipe fails."""
    words = [f"/net/sub1/{host}{ssh_mapper.directory}/none" for host in ("node1", "node2")]

    done = ssh_mapper.run("storagemapper", "--check", "-v", *words)

    assert done.returncode == 1
    assert "job 1 (storagemapper)" in done.stderr
    assert load_data_map(ssh_mapper.mapfile) == []
    assert [one.skip for one in DataMap.load(ssh_mapper.mapfile)] == [True, True]


def test_many_files_of_a_host_are_asked_for_in_parts(mapper):
    """Each job answers for ten thousand at most, and every answer is for the file that was asked for."""
    there = [mapper.directory / name for name in ("0", "9999", "10000")]
    for path in there:
        path.touch()
    (mapper.directory / "names").write_text("".join(f"/x/y/host{mapper.directory}/{i}\n" for i in range(10_001)))

    done = mapper.run("storagemapper", "--check", "-v", "--from-file", "names")

    assert done.returncode == 0, done.stderr
    assert "Waiting for 2 jobs" in done.stderr
    assert load_data_map(mapper.mapfile) == [("host", str(path)) for path in there]
    assert len(DataMap.load(mapper.mapfile)) == 10_001


def test_host_that_cannot_be_asked_is_told(ssh_mapper):
    """Its files are skipped, the others are mapped, and the status says that a host is not there."""
    here = str(ssh_mapper.directory)

    done = ssh_mapper.run("storagemapper", "--check", f"/net/a/node1{here}/full", f"/net/a/no-such-host{here}/full")

    assert done.returncode == 3, done.stderr
    assert f"no-such-host: 1 of 1 files could not be looked for: '{here}/full'" in done.stderr
    assert load_data_map(ssh_mapper.mapfile) == [("node1", f"{here}/full")]


def test_dry_run_writes_nothing(mapper):
    """It shows which host would be asked for what."""
    done = mapper.run("datamapper", "--dry-run", "--check", "/net/sub2/x/1")

    assert done.returncode == 0, done.stderr
    assert "job 1 (datamapper) on node2" in done.stdout
    assert not mapper.mapfile.exists()
