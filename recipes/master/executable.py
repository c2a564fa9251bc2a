"""
Run a program over every file of a mapfile: args is the mapfile.

The mapfile that is put out has the outputs at the places of their files. Entries that are skipped in the one and
entries that failed are skipped in the other.

In arguments, output, stdout and cwd, {file} is the file's path, {dir} its folder, {name} its last part, {stem} that
without its ending, {host} its host; {{ and }} are braces.
"""

import json
import sys
from posixpath import join

from pipeline import (
    BaseRecipe,
    ComputeJob,
    DataMap,
    DictField,
    FileField,
    FloatField,
    ListField,
    RemoteCommand,
    StringField,
    UsageError,
)
from pipeline.formats.placeholders import file_values, parse_template
from pipeline.run.textfiles import write_text

MAX_PROBLEMS = 100


class TemplateField(StringField):
    """Text with placeholders."""

    def _convert(self, value):
        text = super()._convert(value)
        parse_template(text)
        return text


class TemplateListField(ListField):
    """A list of text with placeholders."""

    def _convert(self, value):
        elements = [str(element) for element in super()._convert(value)]
        for element in elements:
            parse_template(element)
        return elements


class executable(BaseRecipe, RemoteCommand):
    inputs = {
        "executable": StringField("-e", help="Program on the hosts, a path or a name on PATH there"),
        "arguments": TemplateListField("-a", help="Its arguments, e.g. [-v, {file}]", default=["{file}"]),
        "environment": DictField(help="Added to its environment, e.g. {OMP_NUM_THREADS: 1}", default={}),
        "output": TemplateField(help="Path of what it makes; must then exist", default="{file}"),
        "output_mapfile": StringField(help="Default: <job_directory>/mapfiles/<recipe>.mapfile", default=""),
        "stdout": TemplateField(help="File on the host for what it prints, written when it has succeeded", default=""),
        "cwd": TemplateField(help="Directory it runs in", default=""),
        "timeout_s": FloatField(help="Seconds until it is ended", optional=True),
    }
    outputs = {
        "mapfile": StringField(help="Output of each entry, in the order of the mapfile; failed ones are skipped"),
        "results": FileField(help="One JSON line per entry, in the order of the mapfile"),
    }

    def go(self):
        super().go()
        products = self.read_mapfile()
        self.check_results_apart(products.not_skipped())
        mapfile = self.run.output_path(self.inputs["output_mapfile"], "mapfiles", self.name + ".mapfile")
        jobs = [None if product.skip else self.job(product.host, product.file) for product in products]
        to_run = [job for job in jobs if job]
        self._schedule_jobs(to_run)
        if self.run.is_dry:
            return 0
        outputs = [self.filled("output", product.host, product.file) for product in products]
        entries = [entry(*one) for one in zip(products, outputs, jobs, strict=True)]
        self.write(entries, mapfile)
        failed = sum(one["status"] not in ("OK", "SKIPPED") for one in entries)
        if failed:
            self.logger.warning("%d of %d failed and are skipped in the mapfile put out", failed, len(to_run))
        return 0 if failed < len(to_run) else 1

    def read_mapfile(self):
        args = self.inputs["args"]
        if len(args) != 1:
            raise UsageError("%s: expected one argument, a mapfile, got %d" % (self.name, len(args)))
        products = DataMap.load(args[0])
        if not products.not_skipped():
            found = "only skipped ones" if len(products) else "an empty mapfile"
            raise UsageError("%s: expected at least one file, got %s" % (args[0], found))
        return products

    def check_results_apart(self, products):
        """Else the one that ends last would take the place of the others."""
        first, problems = {}, []
        for at, product in enumerate(products):
            host, file = product.host, product.file
            for path in self.results_of(host, file):
                other_at, other = first.setdefault((host, join(self.filled("cwd", host, file), path)), (at, file))
                if other_at != at:
                    what = self.inputs["args"][0], host, path, other, file
                    problems.append("%s: %s: expected results apart, got %a for %a and %a" % what)
        if problems:
            raise UsageError(problems[:MAX_PROBLEMS])

    def results_of(self, host, file):
        """Return what is made of a file: output and standard output."""
        paths = (self.filled("output", host, file), self.filled("stdout", host, file))
        return [path for path in paths if path and path != file]

    def filled(self, name, host, file):
        return parse_template(self.inputs[name]).fill(file_values(host, file))

    def job(self, host, file):
        program, values = self.inputs["executable"], file_values(host, file)
        words = [program, *(parse_template(word).fill(values) for word in self.inputs["arguments"])]
        environment = {str(key): str(value) for key, value in self.inputs["environment"].items()}
        return ComputeJob(
            host,
            ["python", self.node_script],
            # Not the job's environment: that is also the node script's, whose Python it could break.
            arguments=[words, environment, self.filled("stdout", host, file)],
            name=program.rstrip("/").rpartition("/")[2],
            cwd=self.filled("cwd", host, file) or None,
            timeout_s=self.inputs["timeout_s"],
            outputs=self.results_of(host, file),
        )

    def write(self, entries, mapfile):
        results = self.run.path_for("results", self.run.start_time, self.name + ".jsonl")
        write_text(results, "".join(json.dumps(one) + "\n" for one in entries))
        DataMap((one["host"], one["output"], one["status"] != "OK") for one in entries).save(mapfile)
        self.outputs["results"] = results
        self.outputs["mapfile"] = mapfile


def entry(product, output, job):
    """What the results file says of one entry of the mapfile; `job` is None if it was skipped."""
    results = job.results if job else {"status": "SKIPPED", "stdout_tail": "", "message": ""}
    return {
        "host": product.host,
        "file": product.file,
        "output": output,
        "status": results["status"],
        "returncode": results.get("returncode"),
        "duration_s": results.get("job_duration"),
        "stdout": results["stdout_tail"],
        "message": results["message"],
    }


if __name__ == "__main__":
    sys.exit(executable().main())
