"""The recipe `find_files`: real hosts, or this one under several names, asked for what is in real folders."""

import base64
import os
import subprocess
import sys
import zlib
from pathlib import Path

import pytest
from harness import with_warm

from pipeline import DataMap, store_data_map

PROJECT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(PROJECT / "recipes" / "master"))
NAMES = [
    "a b.MS",
    "it's.MS",
    'say "x".MS',
    "a;b.MS",
    "$(x).MS",
    "-rf.MS",
    "\u00e9\udce9.MS",
    "[1..3], #1.MS",
    "n\nl.MS",
]


class FindFiles:
    """Runs the recipe over the folder `data`, with two names of this machine as hosts."""

    def __init__(self, directory):
        self.directory = directory
        self.data = directory / "it's data"
        self.data.mkdir()
        (directory / "pipeline.cfg").write_text(with_warm("[remote]\nmethod = local\n"))

    def make(self, *names, at=""):
        """Make files; a name that ends in / is a folder."""
        for name in names:
            path = self.data / at / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.mkdir() if name.endswith("/") else path.touch()

    def run(self, *words, hosts="node[1-2]"):
        """Run the recipe; with hosts=None they are among the words."""
        command = [sys.executable, PROJECT / "recipes/master/find_files.py", *words, "--mapfile", "found"]
        return subprocess.run(
            [*command, *([] if hosts is None else ["--hosts", hosts])],
            cwd=self.directory, env={**os.environ, "PYTHONPATH": str(PROJECT), "HOME": str(self.directory)},
            text=True, timeout=60, check=False, stdin=subprocess.DEVNULL, capture_output=True,
        )  # fmt: skip

    def found(self, host="node1"):
        """Return what the mapfile has of a host, relative to the data folder."""
        products = DataMap.load(self.directory / "found").not_skipped()
        return [os.path.relpath(product.file, self.data) for product in products if product.host == host]


@pytest.fixture
def find_files(tmp_path):
    """The recipe, with folders of its own."""
    return FindFiles(tmp_path)


def test_names_are_exact_and_sorted(find_files):
    """Whatever bytes a name holds, the mapfile has it, hosts in the order given and names in that of their bytes."""
    find_files.make(*NAMES, "other")

    done = find_files.run(find_files.data, "--pattern", "*.MS", hosts="node[1-2]")

    assert (done.returncode, done.stderr) == (0, "")
    assert find_files.found("node1") == sorted(NAMES, key=os.fsencode)
    assert find_files.found("node2") == find_files.found("node1")
    assert [product.host for product in DataMap.load(find_files.directory / "found").data] == (
        ["node1"] * len(NAMES) + ["node2"] * len(NAMES)
    )
    assert f"found = {2 * len(NAMES)}\nsearched = 2\n" in done.stdout


def test_hosts_are_asked_over_ssh(find_files, ssh_pair):
    """Each host searches its own folders, here below its home directory."""
    (find_files.directory / "pipeline.cfg").write_text(with_warm(ssh_pair.config_text()))
    for host in ssh_pair.hosts:
        (host.home / "data").mkdir()
        (host.home / "data" / f"{host.name}.MS").mkdir()
    try:
        done = find_files.run("data", "~/data", "--pattern", "*.MS")
    finally:
        for host in ssh_pair.hosts:
            (host.home / "data" / f"{host.name}.MS").rmdir()
            (host.home / "data").rmdir()

    assert (done.returncode, done.stderr) == (0, "")
    products = DataMap.load(find_files.directory / "found").tuples()
    assert products == [(host.name, str(host.home / "data" / f"{host.name}.MS"), False) for host in ssh_pair.hosts]


@pytest.mark.parametrize(
    ("kind", "names"), [("file", ["f"]), ("directory", ["d", "to d"]), ("any", ["d", "f", "to d"])]
)
def test_kinds(find_files, kind, names):
    """A link counts as what it leads to; one that leads nowhere or in a circle is nothing, a FIFO neither."""
    find_files.make("f", "d/")
    (find_files.data / "to d").symlink_to("d")
    (find_files.data / "nowhere").symlink_to("nothing")
    (find_files.data / "circle").symlink_to("circle")
    os.mkfifo(find_files.data / "fifo")

    done = find_files.run(find_files.data, "--kind", kind)

    assert (done.returncode, done.stderr) == (0, "")
    assert find_files.found() == names


def test_folder_named_like_a_pattern_is_searched(find_files):
    """What is there is meant, before what it would match."""
    find_files.make("d[12]/x", "d1/y")

    done = find_files.run(find_files.data / "d[12]")

    assert (done.returncode, done.stderr) == (0, "")
    assert find_files.found() == ["d[12]/x"]


def test_recursive_search_ends(find_files):
    """It goes down as far as there are folders, but not into links: one that leads up makes no circle."""
    find_files.make("a/b/c/x.dat", "x.dat", "a/other")
    (find_files.data / "a" / "b" / "up").symlink_to("..")

    done = find_files.run(find_files.data, "--pattern", "*.dat", "--recursive", "true")

    assert (done.returncode, done.stderr) == (0, "")
    assert find_files.found() == ["a/b/c/x.dat", "x.dat"]


def test_what_was_found_is_not_searched(find_files):
    """A measurement set is one thing, whatever is in it."""
    find_files.make("L1.MS/sub.MS/x", "L1.MS/table.f0")

    find_files.run(find_files.data, "--pattern", "*.MS", "--recursive", "true")

    assert find_files.found() == ["L1.MS"]


def test_hidden_names_are_left_out(find_files):
    """As in a shell * does not match them, so half a copy is not found; a pattern that begins with a dot does."""
    find_files.make(".pipeline-1-ab.partial/new/L1.MS/x", "L2.MS/", ".L3.MS/")

    find_files.run(find_files.data, "--pattern", "*.MS", "--recursive", "true")
    assert find_files.found() == ["L2.MS"]

    find_files.run(find_files.data, "--pattern", ".*.MS")
    assert find_files.found() == [".L3.MS"]


def test_folders_may_be_patterns(find_files):
    """All that match are searched, each once; on a host that has none of them nothing is wrong."""
    find_files.make("data1/a", "data2/b", "data2/sub/c", "data3")
    patterns = [find_files.data / "data*", find_files.data / "data2", find_files.data / "other*"]

    done = find_files.run(*patterns, "--kind", "file")

    assert (done.returncode, done.stderr) == (0, "")
    assert find_files.found() == ["data1/a", "data2/b"]


def test_a_missing_folder_is_told(find_files):
    """The status is 1, a line says which folder on which host, and the mapfile has what was found elsewhere."""
    find_files.make("a")

    done = find_files.run(find_files.data / "missing", find_files.data)

    assert done.returncode == 1
    for host in ("node1", "node2"):
        assert f") on {host}: exit status 1" in done.stderr
    assert "missing: No such file or directory" in done.stderr
    assert "2 of 2 hosts were not searched completely" in done.stderr
    assert find_files.found() == ["a"]


def test_an_unreachable_host_does_not_hold_up_the_others(find_files, ssh_pair):
    """It is told, the status is that of a lost host, and the mapfile has what the others found."""
    (find_files.directory / "pipeline.cfg").write_text(with_warm(ssh_pair.config_text()) + "connect_retries = 0\n")
    find_files.make("a")

    done = find_files.run(find_files.data, hosts="node1,nobody.invalid")

    assert done.returncode == 3
    assert "nobody.invalid" in done.stderr
    assert "1 of 2 hosts were not searched completely" in done.stderr
    assert find_files.found() == ["a"]


def test_an_unreadable_folder_is_told(find_files):
    """What cannot be searched is not taken for empty; lost+found, which is never a user's, is left out."""
    if os.geteuid() == 0:
        pytest.skip("root may read everything")
    find_files.make("a", "closed/b", "lost+found/c")
    for name in ("closed", "lost+found"):
        (find_files.data / name).chmod(0)

    done = find_files.run(find_files.data, "--recursive", "true", "--kind", "file")

    for name in ("closed", "lost+found"):
        (find_files.data / name).chmod(0o700)
    assert done.returncode == 1
    assert "closed: Permission denied" in done.stderr
    assert "lost+found" not in done.stderr
    assert find_files.found() == ["a"]


def test_nothing_found_is_a_warning(find_files):
    """The mapfile is written, without entries."""
    done = find_files.run(find_files.data)

    assert done.returncode == 0
    assert "WARNING find_files: nothing was found" in done.stderr
    assert find_files.found() == []


def test_many_names_come_in_one_piece(find_files):
    """What is found is packed on its way: 10 MB of names, more than an output may have, are no problem."""
    folder = find_files.data.joinpath(*["x" * 250] * 4)
    folder.mkdir(parents=True)
    names = [f"L{i:06}" for i in range(10_000)]
    for name in names:
        os.mknod(folder / name)

    done = find_files.run(folder, hosts="node1")

    assert (done.returncode, done.stderr) == (0, "")
    assert [os.path.basename(name) for name in find_files.found()] == names


def test_more_than_an_answer_holds_is_an_error(find_files):
    """Names that do not pack well: they are counted and the host has failed, none is silently left out."""
    for _ in range(34_000):
        os.mknod(find_files.data / base64.urlsafe_b64encode(os.urandom(189)).decode())

    done = find_files.run(find_files.data, hosts="node1")

    assert done.returncode == 1
    assert "34000 found take " in done.stderr
    assert "search fewer folders at a time" in done.stderr
    assert find_files.found() == []


@pytest.mark.parametrize("packed", ["", "x", base64.b64encode(b"junk").decode()])
def test_junk_from_a_host_is_refused(packed):
    """An answer that is none does not become names."""
    from find_files import unpack

    with pytest.raises((ValueError, zlib.error)):
        unpack(packed)


def test_hosts_come_from_a_mapfile(find_files):
    """The hosts of a mapfile are asked, each once, in its order."""
    find_files.make("a")
    store_data_map(find_files.directory / "old", [("node2", "/x"), ("node1", "/y"), ("node2", "/z")])

    done = find_files.run(find_files.data, "--mapfile-hosts", "old", hosts=None)

    assert (done.returncode, done.stderr) == (0, "")
    assert [host for host, _, _ in DataMap.load(find_files.directory / "found").tuples()] == ["node2", "node1"]


@pytest.mark.parametrize("is_configured", [True, False])
def test_hosts_come_from_a_cluster_description(find_files, is_configured):
    """The compute nodes of the one that is given, or of the one in pipeline.cfg, are asked."""
    find_files.make("a")
    (find_files.directory / "my.clusterdesc").write_text("ClusterName = my\nCompute.Nodes = [node1..3]\n")
    words = [] if is_configured else ["--clusterdesc", "my.clusterdesc"]
    if is_configured:
        text = "[remote]\nmethod = local\n[cluster]\nclusterdesc = my.clusterdesc\n"
        (find_files.directory / "pipeline.cfg").write_text(with_warm(text))

    done = find_files.run(find_files.data, *words, hosts=None)

    assert (done.returncode, done.stderr) == (0, "")
    assert [host for host, _, _ in DataMap.load(find_files.directory / "found").tuples()] == ["node1", "node2", "node3"]


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ([], "find_files: expected folders to look into, e.g. '/data*', got none"),
        (["/x"], "find_files: expected --hosts, --mapfile-hosts or --clusterdesc, got none"),
        (["/x", "--hosts", "a", "--clusterdesc", "b"], "find_files: expected one of hosts and clusterdesc, got 2"),
        (["/x", "--hosts", "a", "--kind", "b"],
         "find_files: --kind (command line): expected any, file or directory, got 'b'"),
        (["/x", "--hosts=-oProxyCommand=x"], "host '-oProxyCommand=x': expected a host name (letters, digits, '.', "
         "'_', '-', not first '-')"),
    ],
)  # fmt: skip
def test_a_mistake_is_one_line(find_files, words, line):
    """Nothing runs; the status is 2."""
    done = find_files.run(*words, hosts=None)

    assert (done.returncode, done.stderr) == (2, line + "\n")


def test_map_that_cannot_be_written_is_told_before(find_files):
    """No host is asked for it."""
    (find_files.directory / "found").mkdir()

    done = find_files.run(find_files.data)

    assert (done.returncode, done.stderr) == (2, "found: expected a regular file, found a directory\n")
