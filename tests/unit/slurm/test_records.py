"""Records of many workers at once."""

from cryptography.fernet import Fernet
from dask_gateway_server.backends.db_base import DataManager, JobStatus

from gateway.slurm import records
from tests.unit.slurm.world import cluster_in


async def test_workers_made_at_once_are_as_upstream_makes_them(running, testbed_site, tmp_path):
    database = {"url": f"sqlite:///{tmp_path}/records.sqlite", "encrypt_keys": [Fernet.generate_key()]}
    running.db = DataManager(**database)
    cluster = cluster_in(running, testbed_site, status=JobStatus.RUNNING, count=3)
    upstreams = running.db.create_worker(cluster)
    records.create_workers(running.db, cluster, 2)
    known = dict(cluster.workers)
    assert len(known) == 3
    stored = DataManager(**database).id_to_cluster[cluster.id].workers
    assert stored.keys() == known.keys()
    kept = ("status", "target", "state", "close_expected")
    for worker in [*known.values(), *stored.values()]:
        assert [getattr(worker, name) for name in kept] == [getattr(upstreams, name) for name in kept]
        assert worker.start_time is not None
