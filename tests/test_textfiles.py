"""Users' text files: what is read, what is refused, and that writing is all or nothing."""

import os
import stat
import threading
from pathlib import Path

import pytest

from pipeline.errors import ConfigError, MapfileError
from pipeline.run.textfiles import one_line, read_text, write_text

NAME = 'it\'s a "name"\nwith lines'


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / NAME


def test_text_comes_back_as_written(file):
    """Line ends, quotes and letters survive."""
    write_text(file, "a\r\nb 'ö'\n")

    assert read_text(file) == "a\r\nb 'ö'\n"


def test_bytes_that_are_no_utf8_come_back(file):
    """A latin-1 file name in a mapfile is kept byte for byte."""
    file.write_bytes(b"/data/\xe9.MS")

    write_text(file, read_text(file))

    assert file.read_bytes() == b"/data/\xe9.MS"


def test_byte_order_mark_is_dropped(file):
    """An editor's BOM is no part of the first key."""
    file.write_bytes(b"\xef\xbb\xbfa")

    assert read_text(file) == "a"


def test_fifo_is_refused_at_once(file):
    """A FIFO that nobody writes to does not make us wait."""
    os.mkfifo(file)

    with pytest.raises(ConfigError, match="expected a regular file, found a FIFO"):
        read_text(file, error=ConfigError)


@pytest.mark.parametrize(("path", "kind"), [("/dev/zero", "character device"), ("/", "directory")])
def test_special_file_is_refused(path, kind):
    """Devices and directories are named as what they are."""
    with pytest.raises(ConfigError, match=f"^{path}: expected a regular file, found a {kind}$"):
        read_text(path, error=ConfigError)


def test_missing_file_is_one_line_of_the_given_class(file):
    """The message fits on a line whatever the path holds."""
    with pytest.raises(MapfileError) as caught:
        read_text(file, error=MapfileError, what="mapfile")

    assert str(caught.value).endswith("with lines: expected a mapfile, found nothing there")
    assert "\n" not in str(caught.value)


def test_large_file_is_refused_unread(file):
    """A sparse file of 100 GB costs nothing."""
    with file.open("wb") as sparse:
        sparse.truncate(100 << 30)

    with pytest.raises(ConfigError, match=f"expected at most 1024 bytes, found {100 << 30}"):
        read_text(file, error=ConfigError, max_bytes=1024)


def test_file_whose_size_lies_is_refused():
    """A file of /proc says 0 bytes and has more."""
    with pytest.raises(ConfigError, match="expected at most 10 bytes"):
        read_text("/proc/cpuinfo", error=ConfigError, max_bytes=10)


def test_nul_is_named_by_line_and_column(file):
    """A NUL byte is found by its place."""
    file.write_bytes(b"a = 1\nb\0")

    with pytest.raises(ConfigError, match=r":2:2: expected text, found a NUL byte$"):
        read_text(file, error=ConfigError)


def test_path_with_nul_is_one_line():
    """A path that the system cannot even ask for is the user's mistake, too."""
    with pytest.raises(ConfigError, match=r"^a\\x00b: cannot be read"):
        read_text("a\0b", error=ConfigError)


def test_written_file_is_private(file):
    """Nobody else reads it, whatever the umask allows."""
    write_text(file, "x")

    assert stat.S_IMODE(file.stat().st_mode) & 0o077 == 0


@pytest.fixture
def umask():
    """One that lets the group read, whatever ours is."""
    before = os.umask(0o027)
    yield
    os.umask(before)


def test_written_file_may_be_for_others(file, umask):
    """As the umask says, where the user asked for the file."""
    write_text(file, "x", is_private=False)

    assert stat.S_IMODE(file.stat().st_mode) == 0o640


@pytest.mark.parametrize("is_private", [True, False])
@pytest.mark.parametrize("mode", [0o600, 0o666])
def test_replaced_file_keeps_its_mode(file, umask, mode, is_private):
    """Who could read it can read it still, and nobody else."""
    file.write_text("old")
    file.chmod(mode)

    write_text(file, "x", is_private=is_private)

    assert stat.S_IMODE(file.stat().st_mode) == mode


def test_name_of_many_bytes_can_be_written(tmp_path):
    """255 bytes are room for 63 characters of four; the temporary name is no longer."""
    for name in ("\U0001f600" * 63, "\udcff" * 255):
        write_text(tmp_path / name, "x")

    assert sorted(map(len, os.listdir(tmp_path))) == [63, 255]


def test_writing_leaves_only_the_file(file):
    """No temporary file stays."""
    write_text(file, "x")
    write_text(file, "y")

    assert [path.name for path in file.parent.iterdir()] == [NAME]


def test_failed_write_keeps_the_old_text(file):
    """Text that cannot be encoded changes nothing and leaves nothing."""
    write_text(file, "old")

    with pytest.raises(MapfileError, match="cannot be written: no UTF-8 for"):
        write_text(file, "\ud800", error=MapfileError)

    assert read_text(file) == "old"
    assert len(list(file.parent.iterdir())) == 1


def test_write_into_missing_directory_is_one_line(file):
    """The reason is the system's."""
    with pytest.raises(ConfigError, match=r"cannot be written: No such file or directory$"):
        write_text(file / "below", "x", error=ConfigError)


def test_write_does_not_replace_a_fifo(file):
    """What is no regular file stays what it is, even for root."""
    os.mkfifo(file)

    with pytest.raises(ConfigError, match="expected a regular file, found a FIFO"):
        write_text(file, "x", error=ConfigError)

    assert stat.S_ISFIFO(file.stat().st_mode)


def test_write_goes_through_a_link(file):
    """The link stays a link; the file it points to changes."""
    link = file.parent / "link"
    link.symlink_to(file)

    write_text(link, "x")

    assert link.is_symlink()
    assert file.read_text() == "x"


def test_reader_never_sees_a_part(file):
    """While it is replaced again and again, a file is always whole."""
    texts = {"a" * 100_000, "b" * 200_000}
    write_text(file, "a" * 100_000)
    done = threading.Event()
    seen: set[str] = set()

    def read() -> None:
        while not done.is_set():
            seen.add(read_text(file))

    reader = threading.Thread(target=read)
    reader.start()
    for _ in range(20):
        for text in texts:
            write_text(file, text)
    done.set()
    reader.join(30)

    assert seen <= texts


def test_one_line_escapes_control_characters():
    """A terminal escape in a path stays visible as text."""
    assert one_line("a\x1b[2J\n\udce9é") == "a\\x1b[2J\\n\\udce9é"
