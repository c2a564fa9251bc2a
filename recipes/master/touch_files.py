"""
Make a `.out` file beside every `.inp` file of a mapfile, on its host: args is the mapfile.

The mapfile that is put out has the `.out` files at the places of their `.inp` files. Entries that are skipped in the
one and entries that failed are skipped in the other.
"""

import sys

from pipeline import BaseRecipe, ComputeJob, DataMap, FileField, RemoteCommand, StringField, UsageError


class touch_files(BaseRecipe, RemoteCommand):
    inputs = {
        "output_mapfile": StringField(help="Where to write the mapfile of the .out files", default=""),
    }
    outputs = {"mapfile": FileField(help="The .out files; those that were not made are skipped")}

    def go(self):
        super().go()
        if len(self.inputs["args"]) != 1:
            raise UsageError("touch_files: expected one argument, a mapfile, got %d" % len(self.inputs["args"]))
        made = DataMap.load(self.inputs["args"][0])
        wrong = [product.file for product in made.not_skipped() if not product.file.endswith(".inp")]
        if wrong:
            raise UsageError("touch_files: expected files that end in .inp, got %r" % file for file in wrong)
        if not made.not_skipped():
            found = "only skipped ones" if len(made) else "an empty mapfile"
            raise UsageError("%s: expected at least one file, got %s" % (self.inputs["args"][0], found))
        for product in made:
            product.file = product.file.removesuffix(".inp") + ".out"
        mapfile = self.run.output_path(self.inputs["output_mapfile"], "mapfiles", self.name + ".mapfile")
        jobs = [(product, self.job(product.host, product.file)) for product in made.not_skipped()]
        self._schedule_jobs([job for _, job in jobs])
        if self.run.is_dry:
            return 0
        for product, job in jobs:
            product.skip = job.results["status"] != "OK"
        made.save(mapfile)
        self.outputs["mapfile"] = mapfile
        return 1 if self.error.is_set() else 0

    def job(self, host, output):
        return ComputeJob(host, ["python", self.node_script], arguments=[output], outputs=[output])


if __name__ == "__main__":
    sys.exit(touch_files().main())
