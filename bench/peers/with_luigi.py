"""Luigi: a task for each file, without a central scheduler."""

import luigi
from works import Clock, read_words, touch_out


class Touch(luigi.Task):
    path = luigi.Parameter()

    def output(self):
        return luigi.LocalTarget(self.path.removesuffix(".inp") + ".out")

    def run(self):
        touch_out(self.path)


if __name__ == "__main__":
    work, _ = read_words(__doc__)
    clock = Clock()
    clock.ready()
    luigi.build([Touch(path) for path in work.inputs], workers=work.at_once, local_scheduler=True, log_level="ERROR")
    clock.tell()
