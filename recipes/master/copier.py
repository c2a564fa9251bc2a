"""
Copy the files of a source map to the places of a target map, host to host, and verify each copy.

A target host fetches from the source host itself, with rsync or else over ssh: it must be able to log in there. A file
may be a directory, e.g. a measurement set. What is there already and equals its source is left as it is.
"""

import sys
from bisect import bisect_right
from collections import Counter
from posixpath import basename, isabs, normpath

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
        folder = self.inputs["mapfiles_dir"]
        mapfile = self.inputs["mapfile"] or (folder and "%s/%s.mapfile" % (folder, self.name))
        mapfile = self.run.output_path(mapfile, "mapfiles", self.name + ".mapfile")
        described = self.describe(pairs)
        jobs = self.copy(pairs, described)
        if self.run.is_dry:
            return 0
        is_copied = {at: job.results["is_copied"] for at, job in jobs.items() if job.results["status"] == "OK"}
        for at in pairs:
            targets[at].skip = at not in is_copied
        targets.save(mapfile)
        self.outputs["mapfile"] = self.outputs["mapfile_target_copied"] = mapfile
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
        for source, target in zip(sources, targets, strict=True):
            target.skip = target.skip or source.skip
        pairs = {at: pair for at, pair in enumerate(zip(sources, targets, strict=True)) if not pair[1].skip}
        if not pairs:
            found = "only skipped ones" if len(sources) else "an empty mapfile"
            raise UsageError("%s: expected at least one entry, got %s" % (self.inputs["mapfile_source"], found))
        for of in (self.problem_of_paths, self.problem_of_pair, Overlaps(pairs.values()).problem):
            told = ((target, of(source, target)) for source, target in pairs.values())
            shown = self.inputs["mapfile_target"] + ": %s:%a: %s"
            problems = [shown % (target.host, target.file, problem) for target, problem in told if problem]
            if problems:
                raise UsageError(problems[:MAX_PROBLEMS])
        return pairs

    def problem_of_paths(self, source, target):
        if not isabs(source.file) or place(source.file) == "/":
            return "expected a source with an absolute path below /, got %a" % source.file
        if not isabs(target.file) or place(target.file) == "/":
            return "expected an absolute path below /"
        return ""

    def problem_of_pair(self, source, target):
        one, other = place(source.file), place(target.file)
        if not self.inputs["allow_rename"] and basename(one) != basename(other):
            return "expected the name %a of its source; see --allow-rename" % basename(one)
        # Whatever the hosts: with a common file system one would be copied into or over itself.
        if one != other and (is_inside(one, other) or is_inside(other, one)):
            return "expected the whole path of the copy, not inside or around %a" % one
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


class Overlaps:
    """Finds copies that would replace, wholly or in part, what another entry of the maps reads or writes."""

    def __init__(self, pairs):
        self.times = Counter((target.host, place(target.file)) for _, target in pairs)
        self.sources = tops(place(source.file) for source, _ in pairs)
        self.sources_on = self.by_host(source for source, _ in pairs)
        self.targets_on = self.by_host(target for _, target in pairs)

    def by_host(self, products):
        places = {}
        for product in products:
            places.setdefault(product.host, []).append(place(product.file))
        return {host: tops(found) for host, found in places.items()}

    def problem(self, source, target):
        path = place(target.file)
        if self.times[target.host, path] > 1:
            return "expected each place once, got it %d times" % self.times[target.host, path]
        other = touching(path, self.targets_on[target.host])
        if other != path:
            return "expected separate places, got %a, too" % other
        if path != place(source.file):
            # Whatever the hosts, as they may have a common file system.
            other = touching(path, self.sources)
        else:
            # One path on two hosts: on a common file system nothing is copied, else only that host's sources matter.
            other = source.host != target.host and touching(path, self.sources_on.get(target.host, []))
        return "expected a place apart from all sources, got %a as one" % other if other else ""


def place(path):
    """Return an absolute path without . and .. and needless slashes; normpath alone keeps two at the beginning."""
    return "/" + normpath(path).lstrip("/")


def is_inside(path, folder):
    """Tell whether a path is the folder or below it."""
    return (path + "/").startswith(folder + "/")


def tops(paths):
    """Return the paths that are not inside another, sorted as if each ended in a slash: what is inside comes next."""
    found = []
    for path in sorted(set(paths), key=closed):
        if not (found and is_inside(path, found[-1])):
            found.append(path)
    return found


def touching(path, sorted_tops):
    """Return one of what `tops` gave that equals, contains or is inside a path; empty if there is none."""
    at = bisect_right(sorted_tops, closed(path), key=closed)
    near = sorted_tops[max(at - 1, 0) : at + 1]
    return next((one for one in near if is_inside(one, path) or is_inside(path, one)), "")


def closed(path):
    return path + "/"


if __name__ == "__main__":
    sys.exit(copier().main())
