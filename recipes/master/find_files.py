"""
Ask hosts for files and write a mapfile of them: args are folders on the hosts, e.g. '/data*/L12345'.

The folders may hold * ? [...]; what matches and is not there on some host does no harm. A folder without them must be
there on every host.
"""

import base64
import sys
import zlib

from pipeline import (
    BaseRecipe,
    BoolField,
    ComputeJob,
    DataMap,
    DataProduct,
    IntField,
    RemoteCommand,
    StringField,
    UsageError,
)
from pipeline.model.hosts import expand_hosts

MAX_BYTES = 256 << 20  # of the names of one host


class KindField(StringField):
    expected = "any, file or directory"

    def _convert(self, value):
        if value not in ("any", "file", "directory"):
            raise ValueError
        return value


class find_files(BaseRecipe, RemoteCommand):
    inputs = {
        "hosts": StringField(help="Hosts to ask, e.g. lce[001-072]", default=""),
        "mapfile_hosts": StringField(help="Or a mapfile: ask its hosts", default=""),
        "clusterdesc": StringField(help="Or a cluster description: ask its compute nodes", default=""),
        "pattern": StringField(help="What the name must match, with * ? [...]", default="*"),
        "kind": KindField(help="any, file or directory; a measurement set is a directory", default="any"),
        "recursive": BoolField(help="Look also into the folders below", default=False),
        "mapfile": StringField(help="Where to write; default: <job_directory>/mapfiles/<recipe>.mapfile", default=""),
    }
    outputs = {
        "mapfile": StringField(help="What was found: hosts in the order given, names sorted"),
        "found": IntField(help="Files and directories found"),
        "searched": IntField(help="Hosts that were searched completely"),
    }

    def go(self):
        super().go()
        if not self.inputs["args"]:
            raise UsageError("find_files: expected folders to look into, e.g. '/data*', got none")
        mapfile = self.run.output_path(self.inputs["mapfile"], "mapfiles", self.name + ".mapfile")
        jobs = [self.job(host) for host in dict.fromkeys(self.hosts())]
        self._schedule_jobs(jobs)
        if self.run.is_dry:
            return 0
        found = DataMap(DataProduct(job.host, name) for job in jobs for name in self.names(job))
        found.save(mapfile)
        n_searched = sum(job.results["status"] == "OK" for job in jobs)
        self.outputs["mapfile"] = mapfile
        self.outputs["found"] = len(found)
        self.outputs["searched"] = n_searched
        if not found:
            self.logger.warning("nothing was found")
        if self.error.is_set():
            self.logger.error("%d of %d hosts were not searched completely", len(jobs) - n_searched, len(jobs))
        return 1 if self.error.is_set() else 0

    def hosts(self):
        given = [name for name in ("hosts", "mapfile_hosts", "clusterdesc") if self.inputs[name]]
        if len(given) > 1:
            raise UsageError("find_files: expected one of %s, got %d" % (" and ".join(given), len(given)))
        if self.inputs["hosts"]:
            hosts = expand_hosts(self.inputs["hosts"])
        elif self.inputs["mapfile_hosts"]:
            hosts = [product.host for product in DataMap.load(self.inputs["mapfile_hosts"])]
        else:
            path = self.inputs["clusterdesc"] or self.config.cluster.clusterdesc
            if not path:
                raise UsageError("find_files: expected --hosts, --mapfile-hosts or --clusterdesc, got none")
            from pipeline.recipe.clusterdescs import read_clusterdesc  # rarely needed, and slow to import

            hosts = read_clusterdesc(path).all_nodes("compute")
        if not hosts:
            raise UsageError("find_files: expected at least one host to ask, got none")
        return hosts

    def job(self, host):
        how = [self.inputs[name] for name in ("pattern", "kind", "recursive")]
        return ComputeJob(host, ["python", self.node_script], arguments=[self.inputs["args"], *how])

    def names(self, job):
        """Return what a host has found; nothing if it could not answer."""
        if "names" not in job.results:
            return []
        try:
            names = unpack(job.results["names"])
        except (ValueError, zlib.error) as error:
            self.logger.error("%s: its answer cannot be read: %s", job.host, error)
            self.error.set()
            return []
        self.logger.info("%s: %d found", job.host, len(names))
        return names


def unpack(packed):
    """Return the sorted names that a host has packed; bytes that are not UTF-8 stay, as surrogate escapes."""
    unpacker = zlib.decompressobj()
    data = unpacker.decompress(base64.b64decode(packed, validate=True), MAX_BYTES)
    if not unpacker.eof:
        raise ValueError("expected at most %d bytes of names, found more" % MAX_BYTES)
    return data.decode("utf-8", "surrogateescape").split("\0") if data else []


if __name__ == "__main__":
    sys.exit(find_files().main())
