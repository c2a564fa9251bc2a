"""Cluster descriptions on disk: a file and those of its sub-clusters."""

import dataclasses
import logging
import os

from pipeline.errors import ParsetError
from pipeline.formats.clusterdesc import MAX_NODES, ClusterDesc, Include, ParsedCluster, parse_clusterdesc
from pipeline.run.textfiles import one_line, read_text

__all__ = ["read_clusterdesc"]

log = logging.getLogger(__name__)

_MAX_FILE_BYTES = 1 << 20
_MAX_FILES = 1000
_MAX_DEPTH = 20
_MAX_PROBLEMS = 100


def read_clusterdesc(path: str | os.PathLike[str]) -> ClusterDesc:
    """
    Read a cluster description and those of its sub-clusters, which are looked for beside the file that names them.

    Keys without a meaning are logged as warnings.

    Raises:
        ParsetError: With all problems of all files; a sub-cluster that is not there, or that contains itself, comes
            with the chain of files that leads to it.
    """
    reading = _Reading()
    cluster = reading.read(os.fspath(path), ())
    if reading.problems or cluster is None:
        raise ParsetError(reading.problems[:_MAX_PROBLEMS])
    return cluster


class _Reading:
    """
    The files of one cluster.

    Attributes:
        problems: A line each.
    """

    def __init__(self) -> None:
        self.problems: list[str] = []
        self._read: dict[str, ClusterDesc | None] = {}  # by real path: one that two clusters share is read once
        self._n_nodes = 0

    def read(self, path: str, chain: tuple[Include, ...]) -> ClusterDesc | None:
        """Return a cluster, None if something is wrong with it; `chain` is what led here, the first file's first."""
        real = os.path.realpath(path)
        if real not in self._read:
            self._read[real] = None
            self._read[real] = self._read_new(path, chain)
        return self._read[real]

    def _read_new(self, path: str, chain: tuple[Include, ...]) -> ClusterDesc | None:
        if len(self._read) > _MAX_FILES:
            self._complain_once(f"expected at most {_MAX_FILES} files of sub-clusters, got more")
            return None
        try:
            parsed = _read_one(path)
        except ParsetError as error:
            self.problems += [f"{problem}{_shown(chain)}" for problem in error.problems]
            return None
        for warning in parsed.warnings:
            log.warning("%s", warning)
        self._n_nodes += len(parsed.cluster.nodes)
        if self._n_nodes > MAX_NODES:
            self._complain_once(f"expected at most {MAX_NODES} nodes in all sub-clusters, got more")
            return None
        return dataclasses.replace(parsed.cluster, subclusters=self._subclusters(path, parsed, chain))

    def _subclusters(self, path: str, parsed: ParsedCluster, chain: tuple[Include, ...]) -> dict[str, ClusterDesc]:
        found: dict[str, ClusterDesc] = {}
        for include in parsed.includes:
            file = os.path.join(os.path.dirname(path), os.path.expanduser(include.file))
            here = (*chain, Include(path, include.where))
            cluster = None if self._leads_back(file, here) else self.read(file, here)
            if cluster is not None and cluster.name in found:
                self.problems.append(
                    f"{include.where}: SubClusters: expected each cluster once, got {cluster.name!r} again "
                    f"from {one_line(file)}"
                )
            elif cluster is not None:
                found[cluster.name] = cluster
        return found

    def _leads_back(self, file: str, chain: tuple[Include, ...]) -> bool:
        """Whether it is one of the files that led to it, or the chain is too long."""
        real = os.path.realpath(file)
        if any(os.path.realpath(include.file) == real for include in chain):
            expected = "no circle"
        elif len(chain) > _MAX_DEPTH:
            expected = f"at most {_MAX_DEPTH} levels of them"
        else:
            return False
        files = " > ".join(one_line(name) for name in (*(include.file for include in chain), file))
        self.problems.append(f"{chain[-1].where}: SubClusters: expected {expected}, got {files}")
        return True

    def _complain_once(self, problem: str) -> None:
        if problem not in self.problems:
            self.problems.append(problem)


def _read_one(path: str) -> ParsedCluster:
    text = read_text(path, error=ParsetError, max_bytes=_MAX_FILE_BYTES, what="cluster description")
    return parse_clusterdesc(text, one_line(path))


def _shown(chain: tuple[Include, ...]) -> str:
    return "".join(f", named in {include.where}" for include in reversed(chain))
