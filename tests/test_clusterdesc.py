"""Cluster descriptions: nodes, disks, sub-clusters, and what a file can be wrong about."""

import contextlib
import logging
import os
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline import read_clusterdesc
from pipeline.errors import HostNameError, ParsetError, PipelineError
from pipeline.formats.clusterdesc import ClusterDesc, ClusterNode, parse_clusterdesc
from pipeline.model.hosts import expand_hosts

REAL = Path(__file__).parents[2] / "shared/data/parset/files/CEP/LMWCommon"

SUB = """\
ClusterName = sub{n}
Compute.Nodes = [ lce{n}01..{n}03 ]
Compute.LocalDisks = [ /data ]
Storage.Nodes = [ lse{n}01 ]
"""


def cluster_of(text: str) -> ClusterDesc:
    """Return the cluster that a text describes, without warnings."""
    parsed = parse_clusterdesc(text, "c")
    assert parsed.warnings == ()
    return parsed.cluster


def problems_of(text: str) -> list[str]:
    """Return what is wrong with a text."""
    with pytest.raises(ParsetError) as caught:
        parse_clusterdesc(text, "c")
    return list(caught.value.problems)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder to work in, with the files sub1 and sub2."""
    monkeypatch.chdir(tmp_path)
    for n in (1, 2):
        (tmp_path / f"sub{n}.clusterdesc").write_text(SUB.format(n=n))
    return tmp_path


def read_problems(path: str) -> list[str]:
    """Return what is wrong with a description on disk."""
    with pytest.raises(ParsetError) as caught:
        read_clusterdesc(path)
    return list(caught.value.problems)


# -- one file


def test_nodes_of_each_kind_are_named_in_order():
    """Ranges of names are expanded, and a single name is a list of one."""
    cluster = cluster_of(
        "ClusterName=c\nCompute.Nodes=[lce010..8, lce001]\nStorage.Nodes=lse1\nHead.Nodes=[ lfe001..lfe002 ]\n"
    )

    assert cluster.name == "c"
    assert cluster.compute == ["lce010", "lce009", "lce008", "lce001"]
    assert cluster.storage == ["lse1"]
    assert cluster.head == ["lfe001", "lfe002"]


@pytest.mark.parametrize(
    "written",
    ["lce[001-003,007]", "[lce[001-003,007]]", "[lce[001-002], lce003, lce007]", "[lce[001..003], 'lce[007]']",
     "lce[001-003],lce007", "lce001,lce002,lce003,lce007"],
)  # fmt: skip
def test_folded_lists_are_accepted(written):
    """A folded list is the same as its names, also where it stands in brackets itself."""
    cluster = cluster_of(f"ClusterName=c\nCompute.Nodes={written}\n")

    assert cluster.compute == ["lce001", "lce002", "lce003", "lce007"]


def test_nodes_of_a_kind_have_the_same_disks():
    """A remote disk without a file system is its own file system."""
    cluster = cluster_of(
        "ClusterName=c\nCompute.Nodes=[a,b]\nCompute.LocalDisks=[/data]\nCompute.RemoteDisks=[/net/lse1..2/data1..2]\n"
        "Storage.Nodes=lse1\nStorage.LocalDisks=/data1\nStorage.RemoteDisks=/net/x\nStorage.RemoteFileSys=y:/x\n"
    )

    remote = ("/net/lse1/data1", "/net/lse1/data2", "/net/lse2/data1", "/net/lse2/data2")
    assert cluster.nodes == (
        ClusterNode("a", "compute", ("/data",), remote, remote),
        ClusterNode("b", "compute", ("/data",), remote, remote),
        ClusterNode("lse1", "storage", ("/data1",), ("/net/x",), ("y:/x",)),
    )


def test_a_node_can_have_disks_of_its_own():
    """A key that ends with its name counts instead of that of its kind."""
    cluster = cluster_of(
        "ClusterName=c\nCompute.Nodes=[a,b,c.d,e]\nCompute.LocalDisks=/data\nCompute.RemoteDisks=/r\nCompute.RemoteFileSys=f\n"
        "Compute.LocalDisks.b=[]\nCompute.RemoteDisks.c.d=[/r1..2]\nCompute.RemoteFileSys.c.d=[f1..2]\n"
        "Compute.RemoteFileSys.e=g\n"
    )

    assert cluster.nodes == (
        ClusterNode("a", "compute", ("/data",), ("/r",), ("f",)),
        ClusterNode("b", "compute", (), ("/r",), ("f",)),
        ClusterNode("c.d", "compute", ("/data",), ("/r1", "/r2"), ("f1", "f2")),
        ClusterNode("e", "compute", ("/data",), ("/r",), ("g",)),
    )


def test_nodes_can_be_described_one_by_one():
    """In the form with NNodes a node serves as each kind, and a disk of its own is a local one."""
    cluster = cluster_of(
        "ClusterName=c\nNNodes=2\nNode0.NodeName=n0\nNode0.NodeFileSys=[n0:/data,/any]\nNode0.NodeMountPoints=[/data,/]\n"
        "Node1.NodeName=n1\n"
    )

    assert cluster.nodes == (ClusterNode("n0", "any", ("/data",), ("/",), ("/any",)), ClusterNode("n1", "any"))
    assert cluster.compute == cluster.storage == cluster.head == ["n0", "n1"]


def test_nodes_without_a_kind_serve_as_each():
    """`Nodes` without a word in front is the short form of that."""
    assert cluster_of("ClusterName=c\nNodes=[a,b]\nLocalDisks.b=/d\n").nodes == (
        ClusterNode("a", "any"),
        ClusterNode("b", "any", ("/d",)),
    )


def test_a_node_can_be_of_several_kinds():
    """Once as each."""
    cluster = cluster_of("ClusterName=c\nCompute.Nodes=[a,b]\nStorage.Nodes=[b]\n")

    assert (cluster.compute, cluster.storage) == (["a", "b"], ["b"])


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "c: expected a key ClusterName, got none"),
        ("ClusterName=\n", "c:1:1: ClusterName: expected a name, got nothing"),
        ("Compute.Nodes=['-oProxyCommand=x']",
         "Compute.Nodes: host '-oProxyCommand=x': expected a host name (letters, digits, '.', '_', '-', "),
        ("Compute.Nodes=[a,,b]", "Compute.Nodes: host '': expected a host name"),
        ("Compute.Nodes=[a,b,a]", "Compute.Nodes: expected each node once, got 'a' again"),
        ("Compute.Nodes=[a]\nNodes=[b,a]", "c:3:1: Nodes: expected each node once, got 'a' again"),
        ("Node0.NodeName=a\nNode1.NodeName=a", "c:3:1: Node1.NodeName: expected each node once, got 'a' again"),
        ("Compute.Nodes=[-oProxyCommand=x]", "c:2:30: expected one '=' outside quotes, got another"),
        ("Compute.Nodes=[lce[1-3]", ""),
        ("Compute.Nodes=['lce[1-']", "Compute.Nodes: host list 'lce[1-': missing bracket"),
        ("Compute.Nodes=lce[1-1000000000000]", "host list 'lce[1-1000000000000]': expected at most 100000 names"),
        ("Compute.Nodes=[a1..1000000000000]", ""),
        ("Compute.LocalDisks=/d", "Compute.LocalDisks: expected Compute.Nodes beside it, got none"),
        ("LocalDisks.a=/d", "LocalDisks.a: expected Nodes beside it, got none"),
        (f"Head.LocalDisks.{'a' * 300}=/d", f"Head.LocalDisks.{'a' * 44}'... (316 characters): expected Head.Nodes"),
        (f"Head.Nodes=a\nHead.LocalDisks={'d' * 100}", f"absolute paths, got '{'d' * 60}'... (100 characters)"),
        ("Head.Nodes=a\nHead.LocalDisks=[data]", "Head.LocalDisks: expected absolute paths, got 'data'"),
        ("Head.Nodes=a\nHead.RemoteDisks.a=[/x]\nHead.RemoteFileSys.a=[y,z]",
         "Head.RemoteFileSys.a: expected none or one for each of RemoteDisks, 1, got 2"),
        ("NNodes=two", "got 'two'"),
        ("NNodes=2\nNode0.NodeName=a", "NNodes: expected the number of nodes from Node0.NodeName on, 1, got 2"),
        ("Node0.NodeName=a b", "Node0.NodeName: host 'a b': expected a host name"),
        ("Node0.NodeName=a\nNode0.NodeFileSys=[x,y]\nNode0.NodeMountPoints=/",
         "Node0.NodeFileSys: expected as many mount points as file systems, got 1 and 2"),
        ("SubClusters=[a,'']", "SubClusters: expected names of files, got an empty one"),
        ("SubClusters=[a1..2000]", "SubClusters: expected at most 1000 files, got 2000"),
    ],
)  # fmt: skip
def test_a_mistake_is_one_line_with_its_place(text, problem):
    """What is wrong is told with file, line, column and key."""
    given = text if not text or text.startswith("ClusterName") else f"ClusterName=c\n{text}\n"

    (told,) = problems_of(given)

    assert problem in told
    assert told.startswith("c:" if text else "c: ")
    assert "\n" not in told


def test_all_mistakes_of_a_file_are_told():
    """Each with its own line."""
    told = problems_of("Compute.Nodes=[a,a]\n\nHead.Nodes=['b c']\n")

    assert [line.partition(": ")[0] for line in told] == ["c", "c:1:1", "c:3:1"]


def test_many_long_lists_are_refused():
    """Each list alone is within its limits; together they are not, and the rest is not expanded."""
    overrides = "".join(f"Compute.LocalDisks.a{i}=[/d1..100000]\n" for i in range(100))
    began_s = time.monotonic()

    told = problems_of(f"ClusterName=c\nCompute.Nodes=[a0..99]\n{overrides}")

    assert len(told) == 1
    assert told[0].endswith("expected at most 1000000 elements in all lists of the file, got more")
    assert time.monotonic() - began_s < 10


def test_an_unknown_key_is_a_warning():
    """It has no effect; the warning says where it is and which key may have been meant."""
    parsed = parse_clusterdesc("ClusterName=c\nCompute.Nodes=a\nCompute.LocalDisk=/d\nCompute.LocalDisks.b=/d\n", "c")

    assert parsed.cluster == ClusterDesc("c", (ClusterNode("a", "compute"),))
    assert parsed.warnings == (
        "c:3:1: Compute.LocalDisk: expected a key of a cluster description; did you mean 'Compute.LocalDisks'?",
        "c:4:1: Compute.LocalDisks.b: expected the name of one of Compute.Nodes, got 'b'",
    )


LINES = st.sampled_from(
    ["ClusterName=", "Compute.Nodes=", "SubClusters=", "NNodes=", "Node0.NodeName=", "Head.LocalDisks.a=", "a", "[",
     "]", "1..3", "[1-3]", ",", "\n", "'", "/d", "2*x", "{", "}", "#", "\\", "\udce9", "="]
)  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(st.lists(LINES | st.text(max_size=5), max_size=30).map("".join))
def test_any_text_is_a_cluster_or_an_error_of_ours(text):
    """Nothing else comes out, whatever goes in."""
    with contextlib.suppress(PipelineError):
        parse_clusterdesc(text.replace("\0", ""))


@settings(max_examples=150, deadline=None)
@given(st.text(alphabet="ab019[]-,/ @*!&^%", max_size=20))
def test_any_folded_list_is_names_or_an_error_of_ours(text):
    """ClusterShell's own exceptions never come out."""
    with contextlib.suppress(HostNameError):
        expand_hosts(text)


# -- sub-clusters


def test_sub_clusters_are_read_beside_their_parent(folder):
    """Their files are looked for in the folder of the one that names them; ranges count."""
    (folder / "full").write_text("ClusterName=Full\nSubClusters=[sub1..2.clusterdesc]\nHead.Nodes=lfe1\n")

    cluster = read_clusterdesc(os.path.relpath(folder / "full", folder))
    elsewhere = read_clusterdesc(folder / "full")

    assert cluster == elsewhere
    assert list(cluster.subclusters) == ["sub1", "sub2"]
    assert cluster.compute == []
    assert cluster.subclusters["sub2"].compute == ["lce201", "lce202", "lce203"]
    assert cluster.all_nodes("compute") == ["lce101", "lce102", "lce103", "lce201", "lce202", "lce203"]
    assert cluster.all_nodes("storage") == ["lse101", "lse201"]
    assert cluster.all_nodes("head") == ["lfe1"]


def test_sub_clusters_can_have_sub_clusters(folder):
    """Each file names its own; a cluster that two of them share is the same one, and its nodes come once."""
    (folder / "deep").mkdir()
    (folder / "deep" / "mid").write_text("ClusterName=mid\nSubClusters=../sub1.clusterdesc\nCompute.Nodes=m\n")
    (folder / "full").write_text(f"ClusterName=Full\nSubClusters=[deep/mid, {folder}/sub1.clusterdesc]\n")

    cluster = read_clusterdesc("full")

    assert cluster.subclusters["mid"].subclusters["sub1"] is cluster.subclusters["sub1"]
    assert cluster.all_nodes("compute") == ["m", "lce101", "lce102", "lce103"]


def test_a_missing_sub_cluster_comes_with_its_chain(folder):
    """The line names the file that is not there and every place that led to it."""
    (folder / "mid").write_text("ClusterName=mid\n\nSubClusters=[gone]\n")
    (folder / "full").write_text("ClusterName=Full\nSubClusters=[mid, sub1.clusterdesc]\n")

    assert read_problems("full") == [
        "gone: expected a cluster description, found nothing there, named in mid:3:1, named in full:2:1"
    ]


def test_a_circle_is_told_with_its_files(folder):
    """Also where a link gives a file another name."""
    (folder / "mid").write_text("ClusterName=mid\nSubClusters=[link]\n")
    (folder / "full").write_text("ClusterName=Full\nSubClusters=[mid]\n")
    (folder / "link").symlink_to("full")

    assert read_problems("full") == ["mid:2:1: SubClusters: expected no circle, got full > mid > link"]


def test_a_file_that_names_itself_is_a_circle(folder):
    """The shortest one."""
    (folder / "full").write_text("ClusterName=Full\nSubClusters=[full]\n")

    assert read_problems("full") == ["full:2:1: SubClusters: expected no circle, got full > full"]


def test_the_same_sub_cluster_twice_is_an_error(folder):
    """One name could mean two clusters, or its nodes would get twice the work."""
    (folder / "full").write_text("ClusterName=Full\nSubClusters=[sub1.clusterdesc, sub1.clusterdesc]\n")

    assert read_problems("full") == [
        "full:2:1: SubClusters: expected each cluster once, got 'sub1' again from sub1.clusterdesc"
    ]


def test_problems_of_all_files_are_told_at_once(folder):
    """What is wrong in one sub-cluster does not hide what is wrong in the next."""
    (folder / "sub1.clusterdesc").write_text("ClusterName=sub1\nCompute.Nodes=['a b']\n")
    (folder / "sub2.clusterdesc").write_text("Compute.Nodes=[a]\n")
    (folder / "full").write_text("ClusterName=Full\nSubClusters=[sub1..3.clusterdesc]\n")

    told = read_problems("full")

    assert [line.partition(": ")[0] for line in told] == [
        "sub1.clusterdesc:2:1", "sub2.clusterdesc", "sub3.clusterdesc"
    ]  # fmt: skip
    assert all(line.endswith(", named in full:2:1") for line in told)


def test_a_long_chain_is_refused(folder):
    """Twenty levels are enough."""
    for i in range(30):
        (folder / f"c{i}").write_text(f"ClusterName=c{i}\nSubClusters=c{i + 1}\n")

    (told,) = read_problems("c0")

    assert told.startswith("c20:2:1: SubClusters: expected at most 20 levels of them, got c0 > c1 > ")


def test_shared_sub_clusters_do_not_multiply(folder):
    """Two files a level, each naming both of the next, are read once each, not two to the power of levels."""
    for i in range(18):
        for side in "ab":
            below = f"SubClusters=[{i + 1}a,{i + 1}b]\n" if i < 17 else "Compute.Nodes=n\n"
            (folder / f"{i}{side}").write_text(f"ClusterName={i}{side}\n{below}")
    began_s = time.monotonic()

    assert read_clusterdesc("0a").all_nodes("compute") == ["n"]

    assert time.monotonic() - began_s < 5


def test_too_many_nodes_are_refused(folder):
    """The limit holds for all files together."""
    for i in range(3):
        (folder / f"c{i}").write_text(f"ClusterName=c{i}\nCompute.Nodes=[n{i}x00001..40000]\n")
    (folder / "full").write_text("ClusterName=Full\nSubClusters=[c0..2]\n")

    assert read_problems("full") == ["expected at most 100000 nodes in all sub-clusters, got more"]


def test_warnings_are_logged(folder, caplog):
    """An unknown key of a sub-cluster is told, and the cluster is read."""
    (folder / "c").write_text("ClusterName=c\nCompute.Node=a\nCompute.Nodes=a\n")
    (folder / "full").write_text("ClusterName=Full\nSubClusters=c\n")

    with caplog.at_level(logging.WARNING):
        assert read_clusterdesc("full").all_nodes("compute") == ["a"]

    assert [record.getMessage() for record in caplog.records] == [
        "c:2:1: Compute.Node: expected a key of a cluster description; did you mean 'Compute.Nodes'?"
    ]


def make_fifo(path: Path) -> None:
    """Nobody ever writes to it."""
    os.mkfifo(path)


def make_large(path: Path) -> None:
    """100 MiB of zeros, which take no room on the disk."""
    path.touch()
    os.truncate(path, 100 << 20)


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (make_fifo, "expected a regular file, found a FIFO"),
        (lambda path: path.mkdir(), "expected a regular file, found a directory"),
        (lambda path: path.symlink_to("/dev/zero"), "expected a regular file, found a character device"),
        (lambda path: path.write_bytes(b"a\0b"), ":1:2: expected text, found a NUL byte"),
        (make_large, "expected at most 1048576 bytes"),
        (lambda path: path.write_text("[" * 100_000), ""),
        (lambda path: path.write_text("ClusterName=c\nCompute.Nodes=" + "[" * 100_000 + "]" * 100_000), ""),
        (lambda path: path.write_text("ClusterName=c\nCompute.Nodes=[1000000000*x]\n"), ""),
    ],
)
def test_a_bad_file_is_one_line_at_once(folder, make, reason):
    """No file can hold the reader up."""
    make(folder / "bad")
    began_s = time.monotonic()

    (told,) = read_problems("bad")

    assert told.startswith("bad:")
    assert reason in told
    assert time.monotonic() - began_s < 1


# -- the original's files


@pytest.fixture(scope="module")
def real():
    """Folder of the original's cluster descriptions."""
    if not REAL.is_dir():
        pytest.skip("the reference data are not there")
    return REAL


def test_the_originals_full_cluster(real):
    """Eight sub-clusters, 72 compute and 24 storage nodes, two head nodes they share."""
    cluster = read_clusterdesc(real / "share/full.clusterdesc")

    assert list(cluster.subclusters) == [f"sub{n}" for n in range(1, 9)]
    assert cluster.all_nodes("compute") == [f"lce{n:03d}" for n in range(1, 73)]
    assert cluster.all_nodes("storage") == [f"lse{n:03d}" for n in range(1, 25)]
    assert cluster.all_nodes("head") == ["lfe001", "lfe002"]
    node = next(one for one in cluster.subclusters["sub3"].nodes if one.name == "lce027")
    assert (node.kind, node.local_disks, len(node.remote_disks)) == ("compute", ("/data",), 12)
    assert (node.remote_disks[4], node.remote_file_systems[4]) == ("/net/sub1/lse008/data1", "/lse008:/data1")


@pytest.mark.parametrize(
    ("file", "compute", "head"),
    [
        ("share/cep2.clusterdesc", [f"locus{n:03d}" for n in range(1, 101)], ["lhn001", "lhn002"]),
        ("share/local.clusterdesc", ["localhost"], ["localhost"]),
        ("test/tstartdproc.in_cd", ["node1", "node2"], ["node1", "node2"]),
        ("test/tClusterDesc.parset", ["lifs001", "lifs002", "lifs003"], ["lifsfen"]),
    ],
)
def test_the_originals_other_clusters(real, file, compute, head):
    """Each is read without a word."""
    cluster = read_clusterdesc(real / file)

    assert (cluster.compute, cluster.head) == (compute, head)
