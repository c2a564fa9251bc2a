"""Recipes that do what recipes seldom do; `--what` chooses."""

import os
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

from pipeline import BaseRecipe, CommandJob, RemoteCommand, StringField


class odd(BaseRecipe, RemoteCommand):
    inputs = {"what": StringField(), "fifo": StringField(default="")}
    outputs = {"key": StringField(optional=True)}

    def go(self):
        super().go()
        return getattr(self, self.inputs["what"])()

    def threads(self):
        """Four threads submit at the same moment, before anything of the run has been started."""
        barrier = threading.Barrier(4)

        def submit(_):
            barrier.wait(30)
            return self._schedule_jobs([CommandJob("localhost", "true") for _ in range(5)])

        with ThreadPoolExecutor(4) as pool:
            ids = [job_id for jobs in pool.map(submit, range(4)) for job_id in jobs]
        return 0 if sorted(ids) == list(range(1, 21)) and not self.error.is_set() else 1

    def pool(self):
        """Wait in the main thread for threads that wait for jobs."""
        fifo = self.inputs["fifo"]
        with ThreadPoolExecutor(1) as pool:
            pool.submit(
                self._schedule_jobs, [CommandJob("localhost", ["sh", "-c", f"echo $$ > {fifo}; exec sleep 60"])]
            )
        return 0

    def late(self):
        """End while a thread goes on submitting."""
        first = threading.Event()

        def submit():
            while True:
                self._schedule_jobs([CommandJob("localhost", "true")])
                first.set()

        threading.Thread(target=submit).start()
        first.wait(30)
        return 0

    def status_256(self):
        return 256

    def lost_in_task(self):
        self.run_task("lost", what="lost")
        return 0

    def lost(self):
        self._schedule_jobs([CommandJob("no-such-host.invalid", "true")])
        return 1 if self.error.is_set() else 0

    def known_inputs(self):
        names = ("job_name", "start_time", "runtime_directory", "working_directory")
        print(all(isinstance(self.inputs[name], str) for name in names), os.path.islink(self.__file__))
        return 0

    def wants_results(self):
        jobs = self._schedule_jobs([CommandJob("localhost", "true")])
        return jobs[1].results["returncode"] or jobs[1].results["words"]

    def cooks(self):
        """Hand one's own outputs to a recipe that has others too."""
        status = self.cook_recipe("greet", {"word": "cooked"}, self.outputs)
        self.outputs["key"] = "mine"
        return status

    def forged(self):
        self.outputs["key"] = "a\nkey2 = \x1b[31mred"
        return 0


if __name__ == "__main__":
    sys.exit(odd().main())
