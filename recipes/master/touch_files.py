"""Make a `.out` file beside every `.inp` file of a mapfile, on its host: args is the mapfile."""

import sys

from pipeline import (
    BaseRecipe,
    ComputeJob,
    FileField,
    RemoteCommand,
    StringField,
    UsageError,
    load_data_map,
    store_data_map,
)


class touch_files(BaseRecipe, RemoteCommand):
    inputs = {
        "output_mapfile": StringField(help="Where to write the mapfile of the .out files", default=""),
    }
    outputs = {"mapfile": FileField(help="The .out files that were made")}

    def go(self):
        super().go()
        if len(self.inputs["args"]) != 1:
            raise UsageError("touch_files: expected one argument, a mapfile, got %d" % len(self.inputs["args"]))
        pairs = load_data_map(self.inputs["args"][0])
        wrong = [file for _, file in pairs if not file.endswith(".inp")]
        if wrong:
            raise UsageError("touch_files: expected files that end in .inp, got %r" % file for file in wrong)
        jobs = [self.job(host, file.removesuffix(".inp") + ".out") for host, file in pairs]
        self._schedule_jobs(jobs)
        if self.run.is_dry:
            return 0
        mapfile = self.inputs["output_mapfile"] or self.run.path_for("mapfiles", self.name + ".mapfile")
        done = [(job.host, job.outputs[0]) for job in jobs if job.results["status"] == "OK"]
        store_data_map(mapfile, done)
        self.outputs["mapfile"] = mapfile
        return 1 if self.error.is_set() else 0

    def job(self, host, output):
        return ComputeJob(host, ["python", self.node_script], arguments=[output], outputs=[output])


if __name__ == "__main__":
    sys.exit(touch_files().main())
