"""The recipe `copier`: files and directories from host to host, through real ssh and rsync."""

import json
import os
import re
import runpy
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from harness import eventually, is_running, read_pids, with_warm

from pipeline import DataMap, DataProduct

PROJECT = Path(__file__).resolve().parents[1]
NAMES = ['it\'s "x".dat', "$(touch x);b", "-oProxyCommand=x", "\u00e9\udce9.dat", "a*b", "n\nl"]


class Copier:
    """Runs the recipe from the folder `from` of one host to the folder `to` of another, on one file system."""

    def __init__(self, directory, hosts):
        self.directory = directory
        self.hosts = hosts
        self.source = directory / "from it's"
        self.target = directory / "to it's"
        self.bin = directory / "bin"
        for folder in (self.source, self.target, self.bin):
            folder.mkdir()
        script = directory / "init.sh"
        script.write_text(f'PATH="{self.bin}:$PATH"\n')
        # The jobs run here, which saves two logins, but they log in to the hosts for what they fetch.
        self.config = f"[remote]\nmethod = local\n[deploy]\ninitscript = {script}\n"
        self.ssh_config = directory / 'it\'s a "config"'
        self.ssh_config.write_text(hosts.ssh_config.read_text())

    def shadow(self, program, text):
        """Put a shell script before a program of the jobs; the program itself is in $REAL."""
        path = self.bin / program
        path.write_text(f"#!/bin/sh\nREAL={shutil.which(program)}\n{text}\n")
        path.chmod(0o755)

    def hide(self, program):
        """Take a program off the PATH of the jobs."""
        for folder in map(Path, reversed(os.environ["PATH"].split(os.pathsep))):
            for path in folder.iterdir() if folder.is_dir() else ():
                (self.bin / path.name).unlink(missing_ok=True)
                (self.bin / path.name).symlink_to(path)
        (self.bin / program).unlink()
        (self.directory / "init.sh").write_text(f'PATH="{self.bin}"\n')

    def add(self, *names):
        """Make files that hold their own names."""
        for name in names:
            (self.source / name).write_text(name, errors="surrogateescape")

    def start(self, names, *words, hosts=("node1", "node2"), targets=None):
        """Start the recipe for names of the source folder, to the same names in the target folder."""
        copies = targets or [(hosts[1], str(self.target / name)) for name in names]
        DataMap([(hosts[0], str(self.source / name)) for name in names]).save(self.directory / "sources")
        DataMap(copies).save(self.directory / "targets")
        (self.directory / "pipeline.cfg").write_text(with_warm(self.config))
        words = ["--mapfile-source", "sources", "--mapfile-target", "targets", "--mapfile", "copies", *words]
        return subprocess.Popen(
            [sys.executable, PROJECT / "recipes/master/copier.py", *words, "--ssh-config", self.ssh_config],
            cwd=self.directory, env={**os.environ, "PYTHONPATH": str(PROJECT), "HOME": str(self.directory)},
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip

    def run(self, names, *words, **more):
        """Run it to its end; return status, standard output and standard error."""
        process = self.start(names, *words, **more)
        try:
            out, err = process.communicate(timeout=60)
        finally:
            process.kill()
            process.wait()
        return process.returncode, out, err

    def skips(self):
        """Return which entries are skipped in the map that was put out."""
        return [product.skip for product in DataMap.load(self.directory / "copies").data]


@pytest.fixture
def copier(tmp_path, ssh_pair):
    """The recipe, with folders of its own."""
    return Copier(tmp_path, ssh_pair)


def contents(path):
    """Return all that is in a tree: modes, and contents or the texts of links, by relative name."""
    found = {}
    for folder, folders, files in os.walk(path):
        for name in folders + files:
            inner = Path(folder, name)
            mode = stat.S_IMODE(inner.lstat().st_mode)
            data = os.readlink(inner) if inner.is_symlink() else inner.read_bytes() if inner.is_file() else None
            found[str(inner.relative_to(path))] = (mode, data)
    return found


def make_set(path):
    """Make what a measurement set can look like, and worse."""
    (path / "sub" / "empty").mkdir(parents=True)
    (path / "table.f0").write_bytes(bytes(range(256)) * 5000)
    (path / "table.f0").chmod(0o640)
    (path / "sub" / "n\nl \udce9").write_text("x")
    (path / "sub" / "nothing").touch()
    (path / "sub" / "loop").symlink_to("..")
    (path / "dangling").symlink_to("/nowhere \udce9")
    (path / "sub").chmod(0o555)
    path.chmod(0o555)


@pytest.mark.parametrize("way", ["rsync", "ssh", "same host"])
def test_copies_are_exact(copier, way):
    """Files of any name and whole directories arrive as they were; what a pattern could match does not come along."""
    copier.add(*NAMES, "aXb")
    make_set(copier.source / "L1.MS")
    hosts = ("node1", "node1") if way == "same host" else ("node1", "node2")
    words = [] if way == "same host" else ["--transport", way]

    status, out, err = copier.run([*NAMES, "L1.MS"], *words, hosts=hosts)

    assert (status, err) == (0, "")
    (copier.source / "aXb").unlink()
    assert contents(copier.target) == contents(copier.source)
    assert f"copied = {len(NAMES) + 1}\npresent = 0\nfailed = 0\n" in out
    assert copier.skips() == [False] * (len(NAMES) + 1)


def test_hosts_copy_from_each_other(copier):
    """Over SSH on both sides: two hosts get a file each from the other."""
    copier.config = copier.hosts.config_text()
    copier.add("a", "b")
    DataMap([("node1", copier.source / "a"), ("node2", copier.source / "b")]).save(copier.directory / "crossed")
    targets = [("node2", copier.target / "a"), ("node1", copier.target / "b")]

    status, _, err = copier.run(["a", "b"], "--mapfile-source", "crossed", targets=targets)

    assert (status, err) == (0, "")
    assert contents(copier.target) == contents(copier.source)


def test_source_is_read_through_a_link(copier):
    """A link in the source map stands for what it leads to; the copy is no link."""
    copier.add("a")
    (copier.source / "link").symlink_to("a")

    status, _, err = copier.run(["link"])

    assert (status, err) == (0, "")
    assert not (copier.target / "link").is_symlink()
    assert (copier.target / "link").read_text() == "a"


def test_what_is_there_is_not_copied_again(copier):
    """The second time nothing is fetched: no ssh is needed, and the copies are the same files as before."""
    copier.add("a")
    make_set(copier.source / "L1.MS")
    copier.run(["a", "L1.MS"])
    before = [path.stat().st_ino for path in sorted(copier.target.rglob("*")) if path.exists()]
    copier.shadow("ssh", "exit 255")

    status, out, err = copier.run(["a", "L1.MS"])

    assert (status, err) == (0, "")
    assert "copied = 0\npresent = 2\nfailed = 0\n" in out
    assert [path.stat().st_ino for path in sorted(copier.target.rglob("*")) if path.exists()] == before


def test_folders_of_the_target_are_made(copier):
    """The folder that the copy goes to need not be there."""
    copier.add("a")

    status, _, err = copier.run(["a"], targets=[("node2", copier.target / "x" / "y" / "b")])

    assert (status, err) == (0, "")
    assert (copier.target / "x" / "y" / "b").read_text() == "a"


def test_what_differs_is_kept(copier):
    """Without --overwrite other data in the place of a copy are left alone, and the entry is skipped."""
    copier.add("a", "b")
    (copier.target / "a").write_text("precious")

    status, _, err = copier.run(["a", "b"])

    assert status == 1
    assert "a: is there already and differs from its source; see --overwrite" in err
    assert copier.skips() == [True, False]
    assert (copier.target / "a").read_text() == "precious"


def test_overwrite_replaces_all_of_it(copier):
    """With --overwrite a file is replaced, and a directory as a whole: nothing of the old one is left."""
    copier.add("a")
    (copier.target / "a").write_text("old")
    (copier.source / "L1.MS").mkdir()
    (copier.source / "L1.MS" / "new").touch()
    (copier.target / "L1.MS").mkdir()
    (copier.target / "L1.MS" / "old").touch()

    status, _, err = copier.run(["a", "L1.MS"], "--overwrite", "true")

    assert (status, err) == (0, "")
    assert contents(copier.target) == contents(copier.source)


def test_a_directory_is_not_replaced_by_a_file(copier):
    """Also with --overwrite: the place is surely wrong."""
    copier.add("a")
    (copier.target / "a").mkdir()

    status, _, err = copier.run(["a"], "--overwrite", "true")

    assert status == 1
    assert "a: expected a file to overwrite, found a directory" in err
    assert (copier.target / "a").is_dir()


def test_what_cannot_be_compared_is_replaced(copier):
    """With --overwrite a directory gives way whatever is in it, here a FIFO; a FIFO itself does not."""
    copier.add("b")
    for folder in (copier.source, copier.target):
        (folder / "L1.MS").mkdir()
    (copier.source / "L1.MS" / "new").touch()
    os.mkfifo(copier.target / "L1.MS" / "fifo")
    os.mkfifo(copier.target / "b")

    status, _, err = copier.run(["L1.MS", "b"], "--overwrite", "true")

    assert status == 1
    assert os.listdir(copier.target / "L1.MS") == ["new"]
    assert "b: expected a file to overwrite, found a special file" in err
    assert sorted(os.listdir(copier.target)) == ["L1.MS", "b"]


@pytest.mark.parametrize("target", ["link/copy", "up/from it's"])
def test_links_lead_no_copy_into_its_source(copier, target):
    """Nor over a folder that the source is in: the node script follows them."""
    (copier.source / "L1.MS").mkdir()
    (copier.directory / "link").symlink_to(copier.source / "L1.MS")
    (copier.directory / "up").symlink_to(copier.directory)

    status, _, err = copier.run(["L1.MS"], "--overwrite", "true", targets=[("node2", copier.directory / target)])

    assert status == 1
    assert "expected a place not inside or around its source" in err
    assert os.listdir(copier.source / "L1.MS") == []


@pytest.mark.parametrize("target", ["", ".", "x/a"])
def test_the_node_script_takes_no_relative_target(tmp_path, monkeypatch, capsys, target):
    """Whatever the master says: it would be below the home directory, or that itself."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "precious").touch()
    node = runpy.run_path(str(PROJECT / "recipes/nodes/copier.py"))
    source = {"path": "/x", "tree": {"kind": "directory", "bytes": 0, "files": 0, "sha256": ""}}

    assert node["copier"]().run("copy", "", source, target, "auto", "", True) == 1

    assert "expected an absolute path" in capsys.readouterr().err
    assert os.listdir(tmp_path) == ["precious"]


def test_what_was_replaced_stays_if_another_takes_its_place(tmp_path, monkeypatch):
    """A program that makes the target anew in the moment of the renaming: nothing is lost, and all is told."""
    node = runpy.run_path(str(PROJECT / "recipes/nodes/copier.py"))
    target, copied = tmp_path / "T", tmp_path / ".pipeline-1-x.partial" / "S"
    for folder in (target, copied):
        folder.mkdir(parents=True)
        (folder / "data").write_text(folder.name)
    rename = os.rename

    def rename_and_make(one, other):
        rename(one, other)
        if one == str(target):
            target.mkdir()
            (target / "log").touch()

    monkeypatch.setattr(os, "rename", rename_and_make)
    monkeypatch.setattr("signal.signal", lambda *arguments: None)

    kept = f"{tmp_path}/.pipeline-1-x.old"
    with pytest.raises(node["NotCopied"], match=f"T: was made anew meanwhile .* is now {re.escape(kept)}$"):
        node["put_in_place"](str(copied), str(target))

    assert Path(kept, "data").read_text() == "T"
    assert os.listdir(target) == ["log"]


@pytest.mark.parametrize(
    ("damage", "found"),
    [
        ("printf 'sane d@ta' > L1.MS/data", "10 bytes in 2 files"),
        ("touch L1.MS/more", "10 bytes in 3 files"),
    ],
)
def test_a_damaged_copy_is_found(copier, damage, found):
    """Whatever rsync says, the copy is read again; one that differs gets no name and is removed."""
    (copier.source / "L1.MS").mkdir()
    (copier.source / "L1.MS" / "data").write_text("sane data")
    (copier.source / "L1.MS" / "flag").write_text("1")
    copier.shadow("rsync", f'$REAL "$@" && eval cd \\"\\${{$#}}\\" && {damage}')

    status, _, err = copier.run(["L1.MS"])

    assert status == 1
    assert "/L1.MS: expected 10 bytes in 2 files (" in err
    assert f"...) as its source, got {found} (" in err
    assert os.listdir(copier.target) == []
    assert copier.skips() == [True]


def test_a_copy_of_a_changing_source_is_found(copier):
    """What was written to the source after it was described does not become a copy."""
    copier.add("a")
    copier.shadow("rsync", f'echo more >> "{copier.source}/a"; exec $REAL "$@"')

    status, _, err = copier.run(["a"])

    assert status == 1
    assert "/a: expected 1 bytes in 1 files (" in err
    assert os.listdir(copier.target) == []


def test_a_vanished_source_is_told(copier):
    """It goes between description and copy: what rsync says of it is in the message."""
    copier.add("a", "b")
    copier.shadow("rsync", f'rm -f "{copier.source}/b"; exec $REAL "$@"')

    status, _, err = copier.run(["b"])

    assert status == 1
    assert 'b: rsync: exit status 23: rsync: [sender] link_stat "' in err
    assert os.listdir(copier.target) == []


def test_a_missing_source_does_not_hold_up_the_others(copier):
    """It is told, skipped in the map, and counted; the status is 1."""
    copier.add("a", "c")

    status, out, err = copier.run(["a", "b", "c"])

    assert status == 1
    assert "b: No such file or directory" in err
    assert "WARNING copier: 1 of 3 were not copied and are skipped" in err
    assert copier.skips() == [False, True, False]
    assert "copied = 2\npresent = 0\nfailed = 1\n" in out


def test_failures_can_be_allowed(copier):
    """With --allow-failures one copy is enough."""
    copier.add("a")

    assert copier.run(["a", "b"], "--allow-failures", "true")[0] == 0
    assert copier.run(["b"], "--allow-failures", "true")[0] == 1


def test_skipped_entries_are_not_copied(copier):
    """What either map skips is skipped in the one that is put out, at its place."""
    copier.add("a", "b", "c")
    sources = DataMap([("node1", copier.source / name, name == "a") for name in "abc"])
    sources.save(copier.directory / "skipping")
    targets = [("node2", copier.target / name, name == "c") for name in "abc"]

    status, _, err = copier.run("abc", "--mapfile-source", "skipping", targets=targets)

    assert (status, err) == (0, "")
    assert copier.skips() == [True, False, True]
    assert os.listdir(copier.target) == ["b"]


def test_without_rsync_ssh_is_enough(copier):
    """A host without rsync gets its copies all the same."""
    copier.add("a")
    copier.hide("rsync")

    status, _, err = copier.run(["a"])

    assert (status, err) == (0, "")
    assert (copier.target / "a").read_text() == "a"


def test_rsync_can_be_insisted_on(copier):
    """With --transport rsync its absence is an error."""
    copier.add("a")
    copier.hide("rsync")

    status, _, err = copier.run(["a"], "--transport", "rsync")

    assert status == 1
    assert "rsync is missing on this host" in err


def test_an_unknown_host_key_is_refused(copier):
    """A host logs in to no host whose key it does not know; nothing is copied."""
    copier.add("a")
    known = copier.directory / "nobody"
    known.touch()
    text = copier.ssh_config.read_text()
    copier.ssh_config.write_text(text.replace(str(copier.hosts.known_hosts), str(known)))

    status, _, err = copier.run(["a"])

    assert status == 1
    assert "Host key verification failed." in err
    assert os.listdir(copier.target) == []


def test_a_busy_sshd_is_tried_again(copier):
    """A host that takes no more logins for the moment fails no copy."""
    copier.add("a")
    busy = "kex_exchange_identification: read: Connection reset by peer"
    copier.shadow("ssh", f'[ -e "$0.tried" ] && exec $REAL "$@"; touch "$0.tried"; echo {busy} >&2; exit 255')

    status, _, err = copier.run(["a"])

    assert (status, err) == (0, "")
    assert (copier.bin / "ssh.tried").exists()


@pytest.mark.parametrize("what", ["a file", "a read-only folder"])
def test_a_target_that_cannot_be_written_is_told(copier, what):
    """Another entry is copied; the status is 1."""
    copier.add("a", "b")
    place = copier.target / "place"
    if what == "a file":
        place.touch()
    elif os.geteuid() == 0:
        pytest.skip("root may write into read-only folders")
    else:
        place.mkdir(0o555)

    status, _, err = copier.run(["a", "b"], targets=[("node2", place / "a"), ("node2", copier.target / "b")])

    assert status == 1
    assert "place" in err
    assert copier.skips() == [True, False]


def test_a_full_disk_is_told_before():
    """Nothing is fetched where there is no room for it."""
    path = PROJECT / "recipes/nodes/copier.py"
    node = runpy.run_path(str(path))

    with pytest.raises(node["NotCopied"], match=rf"/: expected {2**62} bytes free, found \d+"):
        node["check_room"]("/", 2**62)


def test_a_fifo_is_told(copier):
    """Nobody waits for what never comes."""
    (copier.source / "L1.MS").mkdir()
    os.mkfifo(copier.source / "L1.MS" / "fifo")

    status, _, err = copier.run(["L1.MS"])

    assert status == 1
    assert "L1.MS/fifo: expected files, directories and links, found something else" in err


def test_a_killed_copy_gets_no_name(copier):
    """What was copied when KILL came is in a hidden folder, not under the name of the copy."""
    copier.add("a", "b")
    copier.shadow("rsync", '$REAL "$@"; kill -KILL $PPID')

    status, _, err = copier.run(["a"])

    assert status == 1
    assert "killed by signal 9" in err or "SIGKILL" in err
    assert [name[:10] for name in os.listdir(copier.target)] == [".pipeline-"]


def test_an_interrupted_copy_leaves_nothing(copier):
    """Ctrl-C in the middle: what was copied is removed, and no process is left."""
    copier.add("a")
    pids = copier.directory / "pids"
    copier.shadow("rsync", f'$REAL "$@"; echo $$ > "{pids}.new"; mv "{pids}.new" "{pids}"; sleep 60')
    process = copier.start(["a"])
    eventually(pids.exists)

    process.send_signal(2)
    _, err = process.communicate(timeout=30)

    assert process.returncode == 130, err
    eventually(lambda: not any(map(is_running, read_pids(pids))))
    assert os.listdir(copier.target) == []


@pytest.mark.parametrize(
    ("targets", "words", "line"),
    [
        ([("node2", "/x/a")], [], "targets: expected 2 entries as in sources, got 1"),
        ([("node2", "/x/a"), ("node2", "/x/./a")], [],
         "targets: node2:'/x/a': expected each place once, got it 2 times"),
        ([("node2", "/x/a"), ("node2", "/x/c")], ["--allow-rename", "no"],
         "targets: node2:'/x/c': expected the name 'b' of its source; see --allow-rename"),
        ([("node2", "/x/a"), ("node2", "//x/a")], [],
         "targets: node2:'/x/a': expected each place once, got it 2 times"),
        ([("node2", "/x"), ("node2", "/x/b/c")], [],
         "targets: node2:'/x/b/c': expected separate places, got '/x', too"),
        ([("node2", "/x/a"), ("node2", "/")], [], "targets: node2:'/': expected an absolute path below /"),
        ([("node2", "/x/a"), ("node2", "x/b")], [], "targets: node2:'x/b': expected an absolute path below /"),
        ([("node2", "/x/a"), ("node1", "{source}/a/x")], [],
         "targets: node1:'{source}/a/x': expected a place apart from all sources, got '{source}/a' as one"),
        ([("node2", "{source}//b"), ("node2", "/x/b")], [],
         "targets: node2:'{source}//b': expected a place apart from all sources, got '{source}/b' as one"),
        ([("node2", "/x/a"), ("node2", "{top}")], [],
         "targets: node2:'{top}': expected the whole path of the copy, not inside or around '{source}/b'"),
        ([("node2", "/x/a"), ("node2", "{source}/b/c")], [],
         "targets: node2:'{source}/b/c': expected the whole path of the copy, not inside or around '{source}/b'"),
        ([("node2", "/x/a"), ("node2", "/x/b")], ["--transport", "pigeon"],
         "copier: --transport (command line): expected auto, rsync or ssh, got 'pigeon'"),
        ([("node2", "/x/a"), ("node2", "/x/b")], ["more"],
         "copier: expected no arguments, got 'more'; see --mapfile-source"),
    ],
)  # fmt: skip
def test_a_mistake_is_one_line(copier, targets, words, line):
    """Nothing runs; the status is 2."""
    copier.source = copier.directory
    names = {"{source}": str(copier.source), "{top}": str(copier.source.parent)}
    for word, path in names.items():
        targets = [(host, file.replace(word, path)) for host, file in targets]
        line = line.replace(word, path)

    status, _, err = copier.run(["a", "b"], *words, targets=targets)

    assert status == 2
    assert err.splitlines()[0] == line


@pytest.mark.parametrize(
    ("sources", "targets", "is_refused"),
    [
        ([("h1", "/s"), ("h1", "/s")], [("h2", "/s"), ("h3", "/s")], False),  # to the same path on many hosts
        ([("h1", "/s"), ("h2", "/s")], [("h2", "/s"), ("h3", "/s")], True),
        ([("h1", "/s"), ("h2", "/s/x/y")], [("h2", "/s"), ("h3", "/z")], True),
        ([("h1", "/s"), ("h3", "/s")], [("h2", "/s"), ("h4", "/s")], False),
        ([("h1", "/s"), ("h1", "/s/x")], [("h1", "/s"), ("h1", "/z")], False),  # onto itself: nothing is copied
        ([("h1", "/s"), ("h1", "/z")], [("h1", "/s b"), ("h1", "/s-/x")], False),
        ([("h1", "/a"), ("h1", "/a/b")], [("h2", "/t"), ("h2", "/a/c")], True),
    ],
)  # fmt: skip
def test_no_copy_goes_over_what_another_reads(sources, targets, is_refused):
    """Where a target is, or is in or around, the source of another entry; one path on several hosts is none."""
    overlaps = runpy.run_path(str(PROJECT / "recipes/master/copier.py"))["Overlaps"]
    pairs = [(DataProduct(*one), DataProduct(*other)) for one, other in zip(sources, targets, strict=True)]

    problems = [overlaps(pairs).problem(*pair) for pair in pairs]

    assert any(problems) == is_refused, problems


def test_nothing_to_copy_is_an_error(copier):
    """Maps of skipped entries were surely not meant."""
    (copier.directory / "skipping").write_text("[{'host': 'node1', 'file': '/a', 'skip': True}]")

    status, _, err = copier.run("a", "--mapfile-source", "skipping")

    assert (status, err) == (2, "skipping: expected at least one entry, got only skipped ones\n")


def test_a_map_that_cannot_be_written_is_told_before(copier):
    """Not after hours of copying."""
    copier.add("a")

    status, _, err = copier.run("a", "--mapfile", "no such/copies")

    assert (status, err) == (2, "no such/copies: cannot be written: No such file or directory\n")
    assert os.listdir(copier.target) == []


def test_a_host_that_looks_like_an_option_is_refused(copier):
    """Before anything is started."""
    copier.run(["a"])
    (copier.directory / "targets").write_text(json.dumps([{"host": "-oProxyCommand=x", "file": "/x"}]))
    words = ["--mapfile-source", "targets", "--mapfile-target", "targets", "-c", "pipeline.cfg"]

    done = subprocess.run(
        [sys.executable, PROJECT / "recipes/master/copier.py", *words],
        cwd=copier.directory, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip

    assert done.returncode == 2
    assert "expected a host name" in done.stderr
