"""What upstream's database has no way to do: many records at once, and none."""

import uuid

from dask_gateway_server.backends.db_base import Cluster, DataManager, JobStatus, Worker
from dask_gateway_server.backends.db_base import clusters as clusters_table
from dask_gateway_server.backends.db_base import workers as workers_table
from dask_gateway_server.utils import timestamp


def create_workers(records: DataManager, cluster: Cluster, count: int) -> None:
    """As ``create_worker``, that many times, in one transaction: the event loop waits for the disk once."""
    now = timestamp()
    made = []
    with records.db.begin() as connection:
        for _ in range(count):
            record = {
                "name": uuid.uuid4().hex,
                "status": JobStatus.CREATED,
                "target": JobStatus.RUNNING,
                "state": {},
                "start_time": now,
                "close_expected": False,
            }
            result = connection.execute(workers_table.insert().values(cluster_id=cluster.id, **record))
            made.append(Worker(id=result.inserted_primary_key[0], cluster=cluster, **record))
    cluster.workers.update((worker.name, worker) for worker in made)


def forget(records: DataManager, cluster: Cluster) -> None:
    """Keep no record of a cluster of which nothing else is left."""
    with records.db.begin() as connection:
        connection.execute(clusters_table.delete().where(clusters_table.c.id == cluster.id))
    del records.id_to_cluster[cluster.id], records.name_to_cluster[cluster.name]
    records.username_to_clusters[cluster.username].pop(cluster.name)
