"""Dask distributed: a local cluster of processes with two threads each, and `Client.map`."""

from distributed import Client, LocalCluster
from works import Clock, read_words, touch_out

if __name__ == "__main__":  # its processes import this anew
    work, _ = read_words(__doc__)
    clock = Clock()
    workers = max(1, work.at_once // 2)
    with (
        LocalCluster(
            n_workers=workers,
            threads_per_worker=work.at_once // workers,
            dashboard_address=None,
            local_directory=str(work.folder / "dask"),
        ) as cluster,
        Client(cluster) as client,
    ):
        clock.ready()
        client.gather(client.map(touch_out, work.inputs))
        clock.tell()
