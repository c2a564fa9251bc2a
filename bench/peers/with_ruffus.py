"""Ruffus: a transformation of .inp into .out, in processes, with its history of checksums."""

from ruffus import pipeline_run, suffix, transform
from works import Clock, read_words, touch_out

work, _ = read_words(__doc__)


@transform(work.inputs, suffix(".inp"), ".out")
def touch(path, output):
    touch_out(path)


if __name__ == "__main__":
    clock = Clock()
    clock.ready()
    pipeline_run([touch], multiprocess=work.at_once, verbose=0, history_file=str(work.folder / "history.sqlite"))
    clock.tell()
