"""
Every example in the documentation is run.

A page's blocks are taken in order, in one folder that holds the project's recipes, with a home directory of its own:

* a block under a line that only names a file in backticks is written there; if the project has that file, it must
  be the same;
* `sh` runs in one bash each, `python` as a program, `ini` is checked as a configuration, `ssh-config` by ssh;
* a `text` block behind a program is what it prints, in this order, among other lines; `...` stands for anything.

Words behind the language: `ssh` needs the hosts node1 and node2, `exit=2` is the status the block ends with.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

import pipeline
from pipeline.model.jobs import JobState, Outcome
from pipeline.run.outcomes import job_results
from pipeline.testing import SshHosts, is_sshd_available

ROOT = Path(__file__).parents[1]
PAGES = [
    Path("README.md"),
    Path("CONTRIBUTING.md"),
    *(page.relative_to(ROOT) for page in sorted((ROOT / "docs").glob("*.md"))),
]
ALL_PAGES = sorted(path for pattern in ("*.md", "docs/**/*.md", "bench/*.md") for path in ROOT.glob(pattern))
TIMEOUT_S = 60

_FENCE = re.compile(r"^```([\w-]+)?([^\n`]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_NAMED = re.compile(r"`([\w./-]+)`\n\n\Z")
_MAKE = re.compile(r"^make ([\w-]+)", re.MULTILINE)
_LINK = re.compile(r"\]\(([^)#\s:]+)(?:#[^)]*)?\)")


@dataclass
class Block:
    """A fenced block of a page; `line` is where it begins, `path` the file it is to be written to."""

    line: int
    language: str
    words: list[str]
    text: str
    path: str = ""

    @property
    def status(self) -> int:
        """The exit status it ends with."""
        return next((int(word.removeprefix("exit=")) for word in self.words if word.startswith("exit=")), 0)


@dataclass
class Sandbox:
    """A folder with the recipes, in which a page is followed."""

    folder: Path
    hosts: SshHosts | None
    environment: dict[str, str]
    output: str = ""
    left_out: list[int] = field(default_factory=list)

    def follow(self, block: Block) -> None:
        """Do what a reader would do with the block, and fail where it does not work."""
        if "ssh" in block.words and self.hosts is None:
            self.output = ""
            self.left_out.append(block.line)
        elif block.path:
            self._write(block)
        elif block.language == "sh":
            self._run(["bash", "-eu", "-o", "pipefail", "-c", without_make(block.text)], block)
        elif block.language == "python":
            self._run([sys.executable, "-c", block.text], block)
        elif block.language == "ini":
            (self.folder / "example.cfg").write_text(block.text)
            self._run([sys.executable, "-m", "pipeline.cli.main", "config", "check", "-c", "example.cfg"], block)
        elif block.language == "ssh-config":
            (self.folder / "ssh_config").write_text(block.text)
            self._run(["ssh", "-G", "-F", "ssh_config", "lce001"], block)
        elif block.language == "text" and self.output:
            missing = first_line_missing(block.text, self.output)
            assert not missing, f"line {block.line}: {missing!r} is not in what came out:\n{self.output}"

    def _write(self, block: Block) -> None:
        theirs = ROOT / block.path
        if theirs.is_file():
            assert block.text == theirs.read_text(), f"line {block.line}: {block.path} is another one in the project"
        path = self.folder / block.path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(block.text)
        self.output = ""

    def _run(self, words: list[str], block: Block) -> None:
        done = subprocess.run(
            words,
            cwd=self.folder,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=TIMEOUT_S,
            text=True,
        )
        self.output = done.stdout or "\n"
        assert done.returncode == block.status, f"line {block.line}: exit status {done.returncode}\n{done.stdout}"


def blocks_of(page: Path) -> Iterator[Block]:
    """Yield the fenced blocks of a page."""
    text = (ROOT / page).read_text()
    for match in _FENCE.finditer(text):
        named = _NAMED.search(text[: match.start()])
        line = text.count("\n", 0, match.start()) + 1
        yield Block(line, match[1] or "", match[2].split(), match[3], named[1] if named else "")


def without_make(text: str) -> str:
    """Leave out `make x` after a look whether there is such a target: the tests cannot run themselves."""
    makefile = (ROOT / "Makefile").read_text()
    for target in _MAKE.findall(text):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), f"the Makefile has no target {target!r}"
    return "".join(line for line in text.splitlines(keepends=True) if not _MAKE.match(line))


def first_line_missing(expected: str, output: str) -> str:
    """Return the first expected line that is not there behind the one before it; empty if all are."""
    lines = iter(output.splitlines())
    for line in filter(None, expected.splitlines()):
        pattern = re.compile(".*".join(map(re.escape, line.split("..."))))
        if not any(pattern.fullmatch(found) for found in lines):
            return line
    return ""


@pytest.fixture
def sandbox(tmp_path: Path, request: pytest.FixtureRequest) -> Sandbox:
    """A copy of what a reader has, with hosts where sshd is installed."""
    folder = tmp_path / "a folder"
    for name in ("recipes", "mapfiles"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__", "runs"))
    home = tmp_path / "home"
    (home / ".ssh").mkdir(mode=0o700, parents=True)
    hosts = request.getfixturevalue("ssh_pair") if is_sshd_available() else None
    if hosts:
        shutil.copy(hosts.ssh_config, home / ".ssh" / "config")
    path = os.pathsep.join([os.path.dirname(sys.executable), "/usr/local/bin", "/usr/bin", "/bin"])
    return Sandbox(folder, hosts, {"HOME": str(home), "PATH": path, "LANG": "C.UTF-8"})


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_examples_work(page, sandbox):
    """What a page says can be done, in its order, with what it says comes out."""
    for block in blocks_of(page):
        sandbox.follow(block)
    if sandbox.left_out:
        pytest.skip(f"sshd is not installed (Debian: openssh-server); not run: lines {sandbox.left_out}")


def test_examples_are_found():
    """The pages have programs to run, and each closes its blocks."""
    for page in PAGES:
        assert (ROOT / page).read_text().count("```") == 2 * len(list(blocks_of(page))), page
    languages = [block.language for page in PAGES for block in blocks_of(page)]
    assert {"sh", "python", "ini", "text", "ssh-config"} <= set(languages)


def test_expected_output_must_come_in_order():
    """A line of an expected output that is missing, or comes too early, is told."""
    assert not first_line_missing("a ... c\nd", "x\na b c\ny\nd\n")
    assert first_line_missing("a\nb", "a\n") == "b"
    assert first_line_missing("a\nb", "b\na\n") == "b"


def test_readme_shows_the_recipe_pair():
    """The README shows both files of the example recipe."""
    shown = {block.path for block in blocks_of(Path("README.md"))}
    assert {"recipes/master/example_parallel.py", "recipes/nodes/example_parallel.py"} <= shown


def test_readme_needs_two_commands():
    """Setting up takes exactly two commands, both targets of the Makefile."""
    first = next(block for block in blocks_of(Path("README.md")) if block.language == "sh")
    assert _MAKE.findall(first.text) == ["demo", "test"]


def test_links_lead_somewhere():
    """Every file a page links to is there."""
    dead = [
        f"{page.relative_to(ROOT)}: {link}"
        for page in ALL_PAGES
        for link in _LINK.findall(_FENCE.sub("", page.read_text()))
        if not (page.parent / link).exists()
    ]
    assert dead == []


def test_recipes_page_names_all_that_is_exported():
    """Every public name, job state and key of a job's results is explained."""
    text = (ROOT / "docs/recipes.md").read_text()
    words = {*pipeline.__all__, *(state.value for state in JobState if state.is_final)}
    words |= set(job_results(1, "localhost", 1, Outcome(JobState.OK)))
    assert [word for word in sorted(words) if not re.search(rf"\b{word}\b", text)] == []


def show_config(*words: str) -> list[dict[str, str]]:
    """Return what `pipeline config show --json` says, without where it comes from."""
    command = [sys.executable, "-m", "pipeline.cli.main", "config", "show", "--json", *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    assert done.returncode == 0, done.stderr
    return [{**row, "source": ""} for row in json.loads(done.stdout)]


def test_example_configuration_shows_the_defaults(tmp_path, monkeypatch):
    """With every key of pipeline.cfg.example turned on, all is as without a configuration."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    text = (ROOT / "pipeline.cfg.example").read_text()
    turned_on, n_keys = re.subn(r"^#(?=\w)", "", text, flags=re.MULTILINE)
    (tmp_path / "all.cfg").write_text(turned_on)

    assert n_keys > 40
    assert show_config("-c", "all.cfg") == show_config()
