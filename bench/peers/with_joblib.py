"""joblib, whose processes are loky's."""

from joblib import Parallel, delayed
from works import Clock, read_words, touch_out

if __name__ == "__main__":
    work, _ = read_words(__doc__)
    clock = Clock()
    with Parallel(n_jobs=work.at_once) as parallel:
        parallel(delayed(abs)(number) for number in range(work.at_once))  # starts the processes
        clock.ready()
        parallel(delayed(touch_out)(path) for path in work.inputs)
        clock.tell()
