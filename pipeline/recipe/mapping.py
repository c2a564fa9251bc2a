"""What the recipes `datamapper` and `storagemapper` have in common: file names in, a mapfile out."""

import os
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any

from pipeline.errors import UsageError
from pipeline.maps.names import make_absolute
from pipeline.maps.rules import WHOLE_CLUSTER, Rule, map_files
from pipeline.model.jobs import ComputeJob
from pipeline.model.products import DataProduct
from pipeline.recipe.base import BaseRecipe
from pipeline.recipe.clusterdescs import read_clusterdesc
from pipeline.recipe.fields import FileField, IntField, StoreTrueField, StringField
from pipeline.recipe.mapfiles import store_data_map
from pipeline.recipe.remote import RemoteCommand
from pipeline.run.filelists import file_bytes, read_names

__all__ = ["MappingRecipe"]

_MAX_FILES_PER_JOB = 10_000  # the sizes of so many fit into the outputs of a job
_MAX_SHOWN = 10


class _ByField(StringField):
    """How files are dealt."""

    expected = "count or size"

    def _convert(self, value: Any) -> str:
        text = super()._convert(value)
        if text not in ("count", "size"):
            raise ValueError
        return text


class MappingRecipe(BaseRecipe, RemoteCommand):
    """
    Maps files, its positional arguments, to hosts by a rule, and writes a mapfile.

    Attributes:
        classic_rule: The rule if no other is given.
    """

    classic_rule = "nfs"

    inputs: Any = {  # noqa: RUF012  # the field's way to declare inputs
        "mapfile": StringField(help="Default: <job_directory>/mapfiles/<recipe>.mapfile", optional=True),
        "from_file": StringField(
            help="Take names of files from this one too, one on a line; - is standard input", optional=True
        ),
        "clusterdesc": FileField(help="Cluster description; default: [cluster] clusterdesc", optional=True),
        "rule": StringField(help="subcluster, storage, nfs, or a regular expression with groups", optional=True),
        "by": _ByField(help="Deal files by count or size", default="count"),
        "check": StoreTrueField(help="Ask the hosts for the files; what is missing is skipped", default=False),
    }
    outputs: Any = {  # noqa: RUF012
        "mapfile": FileField(help="Which file is on which host"),
        "bytes": IntField(help="Of all files that are there, with --check", optional=True),
    }

    def go(self) -> int:
        """Map, check if asked to, and write; fails if no file is there or a host could not be asked."""
        super().go()
        products = self._map(self._files())
        self.logger.info("%d files on %d hosts", len(products), len({product.host for product in products}))
        mapfile = self.run.output_path(self.inputs["mapfile"], "mapfiles", f"{self.name}.mapfile")
        is_well = self._check(products) if self.inputs["check"] else True
        if self.run.is_dry:
            return 0
        store_data_map(mapfile, products)
        self.outputs["mapfile"] = mapfile
        return 0 if is_well and not all(product.skip for product in products) else 1

    def _files(self) -> list[str]:
        names = [os.fspath(name) for name in self.inputs["args"]]
        if listing := self.inputs["from_file"]:
            names += read_names(listing)
        if not all(names):
            raise UsageError(f"{self.name}: expected names of files, got an empty one")
        if not names:
            raise UsageError(f"{self.name}: expected at least one file, got none; name files or give --from-file")
        # Not abspath: "/data/link/../x" is another file than "/data/x".
        return [make_absolute(name, os.getcwd()).rstrip("/") or "/" for name in names]

    def _map(self, files: Sequence[str]) -> list[DataProduct]:
        text = self.inputs["rule"] or self.classic_rule
        rule, pools = Rule(text), {}
        if rule.needs_cluster:
            cluster = read_clusterdesc(self._clusterdesc())
            pools = {name: one.all_nodes("compute") for name, one in cluster.subclusters.items()}
            if text == "subcluster" and not pools:  # as the original did: one cycle for all
                rule = Rule("nfs")
            pools[WHOLE_CLUSTER] = cluster.all_nodes("compute")
        if self.inputs["by"] == "count":
            return map_files(files, rule, pools)
        return map_files(files, rule, pools, by="size", sizes=self._sizes(files))

    def _clusterdesc(self) -> str:
        path = self.inputs["clusterdesc"] or self.config.cluster.clusterdesc
        if path is None:
            raise UsageError(
                f"{self.name}: --clusterdesc: expected a cluster description, got nothing; "
                "give the option or set clusterdesc in section [cluster] of pipeline.cfg"
            )
        return str(path)

    def _sizes(self, files: Sequence[str]) -> list[int]:
        sizes = [file_bytes(file) for file in files]
        missing = [file for file, size in zip(files, sizes, strict=True) if size is None]
        if missing:
            raise UsageError(
                f"{self.name}: --by size: expected files that are visible on this machine, got {_listed(missing)}"
            )
        return [size or 0 for size in sizes]

    def _check(self, products: Sequence[DataProduct]) -> bool:
        """Ask every host for its files and mark as skipped what is not there; returns whether all could be asked."""
        batches = list(_batches(products))
        jobs = [self._job(batch) for batch in batches]
        self._schedule_jobs(jobs)
        if self.run.is_dry:
            return True
        self.outputs["bytes"] = sum(self._note(job, batch) for job, batch in zip(jobs, batches, strict=True))
        return not self.error.is_set()

    def _note(self, job: ComputeJob, batch: Sequence[DataProduct]) -> int:
        """Mark as skipped what the answer of a job says is not there, tell of it, and return the bytes of the rest."""
        is_answered = job.results["status"] == "OK"
        sizes = job.results["sizes"] if is_answered else [None] * len(batch)
        for product, size in zip(batch, sizes, strict=True):
            product.skip = size is None
        n_bytes = sum(size or 0 for size in sizes)
        missing = [product.file for product in batch if product.skip]
        if missing:
            what = "are not there" if is_answered else "could not be looked for"
            self.logger.warning(
                "%s: %d of %d files %s: %s", batch[0].host, len(missing), len(batch), what, _listed(missing)
            )
        self.logger.info("%s: %d files are there, %d bytes", batch[0].host, len(batch) - len(missing), n_bytes)
        return n_bytes

    def _job(self, batch: Sequence[DataProduct]) -> ComputeJob:
        files = [product.file for product in batch]
        return ComputeJob(batch[0].host, ["python", self.node_script], arguments=[files])


def _batches(products: Sequence[DataProduct]) -> Iterator[list[DataProduct]]:
    """Yield the entries of each host, so many at a time as one job looks at."""
    of_host: dict[str, list[DataProduct]] = {}
    for product in products:
        of_host.setdefault(product.host, []).append(product)
    for group in of_host.values():
        entries = iter(group)
        while batch := list(islice(entries, _MAX_FILES_PER_JOB)):
            yield batch


def _listed(files: Sequence[str]) -> str:
    dots = f" and {len(files) - _MAX_SHOWN} more" if len(files) > _MAX_SHOWN else ""
    return ", ".join(repr(file) for file in files[:_MAX_SHOWN]) + dots
