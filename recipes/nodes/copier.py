"""
Describe a file or a directory of this host, or copy one to this host from another and verify it.

A copy is made in a hidden folder beside its place, read back and compared with the description of its source, and only
then renamed: under its own name there is all of it or nothing.
"""

import contextlib
import hashlib
import os
import random
import shlex
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time

from pipeline import Node

CHUNK_BYTES = 1 << 20
# Nobody is there to answer a question, and a dead network ends the copy after 45 s. Keys of hosts are checked as the
# configuration of ssh on this host says.
SSH = ["ssh", "-T", "-a", "-x", "-o", "BatchMode=yes", "-o", "ConnectTimeout=10", "-o", "ClearAllForwardings=yes"]
SSH += ["-o", "ServerAliveInterval=15", "-o", "ServerAliveCountMax=3"]
# How an sshd says that too many log in at once (MaxStartups); nothing was copied yet.
BUSY = ("kex_exchange_identification", "ssh_exchange_identification", "Connection reset", "Connection closed")
NO_NEWS = ("Warning:", "rsync error:")  # lines that say less than those before them


class NotCopied(Exception):
    """Why not, in one line."""


class copier(Node):
    def run(self, task, *arguments):
        signal.signal(signal.SIGTERM, leave)
        try:
            {"describe": self.describe, "copy": self.copy}[task](*arguments)
        except NotCopied as error:
            print(error, file=sys.stderr)
            return 1
        except OSError as error:
            print("%s: %s" % (shown(error.filename or "?"), error.strerror), file=sys.stderr)
            return 1
        return 0

    def describe(self, path):
        path = os.path.realpath(path)
        self.outputs["tree"] = describe(path)
        self.outputs["path"] = path
        self.outputs["has_rsync"] = shutil.which("rsync") is not None

    def copy(self, host, source, target, transport, ssh_config, overwrite):
        """Copy what `describe` has put out on `host`, empty for this one, to the path `target`."""
        if not os.path.isabs(target):
            raise NotCopied("%s: expected an absolute path" % (shown(target) or "''"))
        target, tree = os.path.abspath("/" + target.lstrip("/")), source["tree"]
        check_place(target, source["path"])
        self.outputs["is_copied"] = False
        if os.path.lexists(target):
            if self.equals(target, tree):
                self.logger.info("%s: is there already and equals its source", shown(target))
                return
            check_replaceable(target, tree, overwrite)
        os.makedirs(os.path.dirname(target), exist_ok=True)
        check_room(os.path.dirname(target), tree["bytes"])
        with partial_folder(target) as folder:
            copied = os.path.join(folder, os.path.basename(source["path"]))
            if host:
                self.fetch(host, source, folder, transport, ssh_config)
            else:
                fetch_here(source["path"], copied)
            found = describe(copied, is_written=True)
            if found != tree:
                raise NotCopied("%s: expected %s as its source, got %s" % (shown(target), told(tree), told(found)))
            put_in_place(copied, target)
        self.outputs["is_copied"] = True

    def equals(self, target, tree):
        """Tell whether what is there equals the source; what cannot be read to its end does not."""
        try:
            return describe(os.path.realpath(target), max_bytes=tree["bytes"]) == tree
        except (NotCopied, OSError) as error:
            self.logger.info("%s: cannot be compared with its source: %s", shown(target), shown(str(error)))
            return False

    def fetch(self, host, source, folder, transport, ssh_config):
        ssh = SSH + (["-F", os.path.expanduser(ssh_config)] if ssh_config else [])
        has_rsync = source["has_rsync"] and shutil.which("rsync") is not None
        if transport == "rsync" and not has_rsync:
            raise NotCopied("rsync is missing on %s" % (host if shutil.which("rsync") else "this host"))
        fetch = fetch_by_rsync if has_rsync and transport != "ssh" else fetch_by_tar
        self.logger.debug("%s from %s: %s", fetch.__name__, host, shown(source["path"]))
        for wait_s in (1, 2, 4, 8, 0):
            problem = fetch(ssh, host, source["path"], folder)
            if not problem:
                return
            if not (wait_s and any(word in problem for word in BUSY)):
                raise NotCopied("%s:%s: %s" % (host, shown(source["path"]), problem))
            self.logger.info("%s is busy: %s", host, problem)
            time.sleep(wait_s * random.uniform(0.5, 1.5))  # noqa: S311  # not for cryptography


def leave(number, frame):
    """End with what `finally` clears up; another TERM, e.g. of the end of the session, does not cut that short."""
    signal.signal(number, signal.SIG_IGN)
    sys.exit(128 + number)


def fetch_here(path, copy):
    try:
        shutil.copytree(path, copy, symlinks=True) if os.path.isdir(path) else shutil.copy2(path, copy)
    except shutil.Error as error:
        raise NotCopied("%s: %s" % (shown(path), error.args[0][0][2])) from None


def fetch_by_rsync(ssh, host, path, folder):
    """Return what went wrong; empty if nothing."""
    # The name travels inside rsync's protocol: no shell reads it, and no * in it is expanded. In the command of
    # ssh, which rsync splits at blanks, quotes are doubled inside quotes.
    shell = " ".join("'%s'" % word.replace("'", "''") for word in ssh)
    words = ["rsync", "-rlpt", "--timeout=60", "--no-relative", "--from0", "--files-from=-", "-e", shell]
    place = "[%s]:/" % host if ":" in host else host + ":/"
    words += ["--", place, folder + "/"]
    with tempfile.TemporaryFile() as errors, started(words, errors, stdin=subprocess.PIPE) as rsync:
        feed(rsync, os.fsencode(path) + b"\0")
        return verdict("rsync", rsync.wait(), errors)


def fetch_by_tar(ssh, host, path, folder):
    """Return what went wrong; empty if nothing."""
    parent, name = os.path.split(path)
    # Given to a plain sh as its input: the shell of the login, which may be another, reads only "sh".
    script = "exec tar -c -f - -C %s %s\n" % (shlex.quote(parent), shlex.quote("./" + name))
    pack, unpack, pipe = [*ssh, "--", host, "sh"], ["tar", "-x", "-p", "-o", "-f", "-", "-C", folder], subprocess.PIPE
    with tempfile.TemporaryFile() as errors, started(pack, errors, stdin=pipe, stdout=pipe) as sender:
        feed(sender, os.fsencode(script))
        with started(unpack, errors, stdin=sender.stdout) as receiver:
            sender.stdout.close()  # so that a receiver that ends early ends the sender, too
            status = receiver.wait()
            return verdict("ssh and tar", sender.wait() or status, errors)


@contextlib.contextmanager
def started(words, errors, stdin, stdout=subprocess.DEVNULL):
    # A group of its own, to be ended as a whole. No timeout: the agent ends this job when its time is up.
    process = subprocess.Popen(words, bufsize=0, stdin=stdin, stdout=stdout, stderr=errors, start_new_session=True)
    try:
        yield process
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def feed(process, data):
    with contextlib.suppress(BrokenPipeError):  # it has ended; its exit status says more
        process.stdin.write(data)  # at most some 16 KiB: a pipe takes 64
    process.stdin.close()


def verdict(what, status, errors):
    if status == 0:
        return ""
    errors.seek(0)
    lines = errors.read(CHUNK_BYTES).decode("utf-8", "surrogateescape").splitlines()
    news = [shown(line.strip()) for line in lines if line.strip() and not line.startswith(NO_NEWS)]
    return "%s: exit status %d: %s" % (what, status, " | ".join(news[-3:]) or "it says nothing")


def describe(path, is_written=False, max_bytes=float("inf")):
    """
    Return kind, bytes, number of files, and a checksum over names, contents and the texts of links.

    Two that are equal have equal descriptions, wherever and on whatever host they are. With `is_written` everything
    is first written to the disk and then read back from there. One of more than `max_bytes` gives None.
    """
    top = os.fsencode(path)
    if not os.path.isdir(top):
        if os.stat(top).st_size > max_bytes:
            return None
        size, checksum = read_through(top, is_written)
        return {"kind": "file", "bytes": size, "files": 1, "sha256": checksum}
    total = hashlib.sha256()
    n_bytes = n_files = 0
    for name in sorted(names_below(top)):
        inner = os.path.join(top, name)
        mode = os.lstat(inner).st_mode
        if stat.S_ISDIR(mode):
            record = (b"directory", name)
            if is_written:
                sync(inner)
        elif stat.S_ISLNK(mode):
            record = (b"link", name, os.readlink(inner))
        else:
            size, checksum = read_through(inner, is_written)
            record = (b"file", name, checksum.encode("ascii"))
            n_bytes, n_files = n_bytes + size, n_files + 1
        total.update(b"".join(part + b"\0" for part in record))  # no name holds a NUL
        if n_bytes > max_bytes:
            return None
    if is_written:
        sync(top)
    return {"kind": "directory", "bytes": n_bytes, "files": n_files, "sha256": total.hexdigest()}


def names_below(top):
    """Yield the path of everything below a folder, relative to it; links are not followed."""
    waiting = [b""]
    while waiting:
        folder = waiting.pop()
        with os.scandir(os.path.join(top, folder)) as entries:
            for entry in entries:
                name = os.path.join(folder, entry.name)
                yield name
                if entry.is_dir(follow_symlinks=False):
                    waiting.append(name)


def read_through(path, is_written):
    """Return size and checksum of a regular file."""
    # O_NONBLOCK: opening a FIFO that nobody writes to would wait for ever.
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with open(descriptor, "rb", buffering=0) as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise NotCopied("%s: expected files, directories and links, found something else" % shown(path))
        if is_written:
            os.fsync(descriptor)
            if hasattr(os, "posix_fadvise"):  # else what is still in memory would be read
                os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        size, checksum = 0, hashlib.sha256()
        while True:
            chunk = file.read(CHUNK_BYTES)
            if not chunk:
                return size, checksum.hexdigest()
            size += len(chunk)
            checksum.update(chunk)


def sync(folder):
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def check_place(target, source):
    """Links may lead where the names do not tell."""
    parent, name = os.path.split(target)
    path = os.path.join(os.path.realpath(parent), name)
    if path != source and os.path.commonpath([path, source]) in (path, source):
        raise NotCopied("%s: expected a place not inside or around its source %s" % (shown(target), shown(source)))


def check_replaceable(target, tree, overwrite):
    if not overwrite:
        raise NotCopied("%s: is there already and differs from its source; see --overwrite" % shown(target))
    mode = os.lstat(target).st_mode
    kinds = {stat.S_IFLNK: "link", stat.S_IFDIR: "directory", stat.S_IFREG: "file"}
    kind = kinds.get(stat.S_IFMT(mode), "special file")
    if kind != tree["kind"]:
        raise NotCopied("%s: expected a %s to overwrite, found a %s" % (shown(target), tree["kind"], kind))


def check_room(folder, n_bytes):
    free = shutil.disk_usage(folder).free
    if free < n_bytes:
        raise NotCopied("%s: expected %d bytes free, found %d" % (shown(folder), n_bytes, free))


@contextlib.contextmanager
def partial_folder(target):
    """Make a hidden folder beside a path and remove it with all that is in it, also when the agent ends the job."""
    name = ".pipeline-%d-%s.partial" % (os.getpid(), os.urandom(4).hex())
    folder = os.path.join(os.path.dirname(target), name)
    try:
        os.mkdir(folder, 0o700)
        yield folder
    finally:
        remove(folder)


def remove(folder):
    for parent, folders, _ in os.walk(folder):
        for name in folders:  # one that was copied may be read-only
            if not os.path.islink(os.path.join(parent, name)):
                os.chmod(os.path.join(parent, name), 0o700)
    shutil.rmtree(folder, ignore_errors=True)
    if os.path.lexists(folder):  # a process that was killed just now may have made one more file
        time.sleep(0.1)
        shutil.rmtree(folder)


def put_in_place(copied, target):
    """Rename a copy; a directory that it replaces is first renamed to a hidden name beside it, and then removed."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # between the two renames there is neither the old nor the new
    mode, old = stat.S_IMODE(os.stat(copied).st_mode), ""
    if os.path.isdir(copied):
        os.chmod(copied, mode | stat.S_IWUSR)  # a read-only directory cannot be moved elsewhere
    if os.path.isdir(target):
        old = os.path.splitext(os.path.dirname(copied))[0] + ".old"
        os.rename(target, old)
    try:
        os.replace(copied, target)
    except OSError:
        if old:
            put_back(old, target)
        raise
    os.chmod(target, mode)
    sync(os.path.dirname(target))
    if old:
        remove(old)


def put_back(old, target):
    try:
        os.rename(old, target)
    except OSError:
        what = shown(target), shown(old)
        raise NotCopied("%s: was made anew meanwhile by something else; what was there is now %s" % what) from None


def told(tree):
    return "%(bytes)d bytes in %(files)d files (%(sha256).8s...)" % tree


def shown(text):
    text = os.fsdecode(text)
    return text if text.isprintable() else text.encode("unicode_escape").decode("ascii")


if __name__ == "__main__":
    sys.exit(copier.main())
