"""
Copy the files of a source map to the places of a target map, host to host, and verify each copy.

A target host fetches from the source host itself, with rsync or else over ssh: it must be able to log in there. A file
may be a directory, e.g. a measurement set. What is there already and equals its source is left as it is.
"""

import sys
from collections import Counter
from posixpath import basename, normpath

from pipeline import (
    BaseRecipe,
    BoolField,
    ComputeJob,
    DataMap,
    FloatField,
    IntField,
    RemoteCommand,
    StringField,
    UsageError,
)

MAX_PROBLEMS = 100


class TransportField(StringField):
    expected = "auto, rsync or ssh"

    def _convert(self, value):
        if value not in ("auto", "rsync", "ssh"):
            raise ValueError
        return value


class copier(BaseRecipe, RemoteCommand):
    inputs = {
        "mapfile_source": StringField(help="Mapfile of what to copy"),
        "mapfile_target": StringField(help="Mapfile of where to, entry by entry: host and whole path"),
        "mapfile": StringField(help="Where to write the mapfile of the copies; default: see mapfiles_dir", default=""),
        "mapfiles_dir": StringField(help="Its folder; default: <job_directory>/mapfiles", default=""),
        "allow_rename": BoolField(help="The last part of source and target may differ", default=True),
        "overwrite": BoolField(help="Replace what is there and differs from its source", default=False),
        "allow_failures": BoolField(help="Succeed if at least one entry was copied", default=False),
        "transport": TransportField(help="rsync, ssh (with tar), or auto: rsync if both hosts have it", default="auto"),
        "ssh_config": StringField(help="Configuration of ssh on the hosts, for their logins to each other", default=""),
        "timeout_s": FloatField(help="Seconds until one copy, or one reading of a source, is ended", optional=True),
    }
    outputs = {
        "mapfile": StringField(help="The target map; entries that were not copied are skipped in it"),
        "mapfile_target_copied": StringField(help="The same, under its name in older recipes"),
        "copied": IntField(help="Entries that were copied"),
        "present": IntField(help="Entries that were there already, equal to their source"),
        "failed": IntField(help="Entries that could not be copied"),
    }

    def go(self):
        super().go()
        if self.inputs["args"]:
            raise UsageError("copier: expected no arguments, got %r; see --mapfile-source" % self.inputs["args"][0])
        sources = DataMap.load(self.inputs["mapfile_source"])
        targets = DataMap.load(self.inputs["mapfile_target"])
        pairs = self.checked(sources, targets)
        described = self.describe(pairs)
        jobs = self.copy(pairs, described)
        if self.run.is_dry:
            return 0
        is_copied = {at: job.results["is_copied"] for at, job in jobs.items() if job.results["status"] == "OK"}
        for at in pairs:
            targets[at].skip = at not in is_copied
        self.write(targets)
        self.outputs["copied"] = n_copied = sum(is_copied.values())
        self.outputs["present"] = len(is_copied) - n_copied
        self.outputs["failed"] = n_failed = len(pairs) - len(is_copied)
        if n_failed:
            self.logger.warning("%d of %d were not copied and are skipped", n_failed, len(pairs))
        return 0 if not n_failed or (self.inputs["allow_failures"] and is_copied) else 1

    def checked(self, sources, targets):
        """Return the pairs to be copied by their place in the maps."""
        if len(sources) != len(targets):
            what = self.inputs["mapfile_target"], len(sources), self.inputs["mapfile_source"], len(targets)
            raise UsageError("%s: expected %d entries as in %s, got %d" % what)
        if not sources:
            raise UsageError("%s: expected at least one entry, got an empty mapfile" % self.inputs["mapfile_source"])
        for source, target in zip(sources, targets, strict=True):
            target.skip = target.skip or source.skip
        pairs = {at: pair for at, pair in enumerate(zip(sources, targets, strict=True)) if not pair[1].skip}
        times = Counter((target.host, normpath(target.file)) for _, target in pairs.values())
        problems = [self.problem(source, target, times) for source, target in pairs.values()]
        if any(problems):
            raise UsageError([problem for problem in problems if problem][:MAX_PROBLEMS])
        return pairs

    def problem(self, source, target, times):
        shown = "%s: %s:%s" % (self.inputs["mapfile_target"], target.host, ascii(target.file))
        one, other = normpath(source.file), normpath(target.file)
        if times[target.host, other] > 1:
            return "%s: expected each place once, got it %d times" % (shown, times[target.host, other])
        if not self.inputs["allow_rename"] and basename(one) != basename(other):
            return "%s: expected the name %s of its source; see --allow-rename" % (shown, ascii(basename(one)))
        # Whatever the hosts: with a common file system one would be copied into or over itself.
        if one.startswith(other.rstrip("/") + "/") or other.startswith(one.rstrip("/") + "/"):
            return "%s: expected the whole path of the copy, not inside or around %s" % (shown, ascii(one))
        return ""

    def describe(self, pairs):
        """Have each source described once, on its host; return the jobs by host and file."""
        sources = dict.fromkeys((source.host, source.file) for source, _ in pairs.values())
        jobs = {key: self.job(key[0], "describe", key[1]) for key in sources}
        self._schedule_jobs(jobs.values())
        return jobs

    def copy(self, pairs, described):
        """Copy what could be described; return the jobs by place in the maps."""
        jobs, turns, turn = {}, Counter(), {}
        for at, (source, target) in pairs.items():
            results = described[source.host, source.file].results
            if not self.run.is_dry and results["status"] != "OK":
                continue
            found = {key: results.get(key) for key in ("tree", "path", "has_rsync")}
            host = "" if source.host == target.host else source.host
            options = [self.inputs[name] for name in ("transport", "ssh_config", "overwrite")]
            jobs[at] = self.job(target.host, "copy", host, found, target.file, *options)
            turn[at] = turns[source.host]
            turns[source.host] += 1
        # In turn over the sources, whatever the order of the maps: not all fetch from one host at a time.
        self._schedule_jobs([jobs[at] for at in sorted(jobs, key=turn.__getitem__)])
        return jobs

    def job(self, host, task, *arguments):
        words, timeout_s = ["python", self.node_script], self.inputs["timeout_s"]
        return ComputeJob(host, words, arguments=[task, *arguments], name=task, timeout_s=timeout_s)

    def write(self, targets):
        folder = self.inputs["mapfiles_dir"]
        path = self.inputs["mapfile"] or (folder and "%s/%s.mapfile" % (folder, self.name))
        path = path or str(self.run.path_for("mapfiles", self.name + ".mapfile"))
        targets.save(path)
        self.outputs["mapfile"] = path
        self.outputs["mapfile_target_copied"] = path


if __name__ == "__main__":
    sys.exit(copier().main())
