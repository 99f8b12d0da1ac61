"""Operations on upstream's database of clusters and workers that upstream lacks."""

import uuid

from dask_gateway_server.backends.db_base import Cluster, DataManager, JobStatus, Worker
from dask_gateway_server.backends.db_base import clusters as clusters_table
from dask_gateway_server.backends.db_base import workers as workers_table
from dask_gateway_server.utils import timestamp

GONE = {"gone": True}
"""State of a worker whose job has ended, and of a cluster whose jobs have ended and whose folder is removed."""


def present_clusters(records: DataManager) -> list[Cluster]:
    """List the clusters that have not ended, those that are ending included."""
    return [cluster for cluster in records.name_to_cluster.values() if cluster.status < JobStatus.STOPPED]


def clusters_of(records: DataManager, username: str) -> list[Cluster]:
    """List the clusters of a user that have not ended, those that are ending included."""
    known = records.username_to_clusters.get(username, {}).values()
    return [cluster for cluster in known if cluster.status < JobStatus.STOPPED]


def job_ids(records: DataManager) -> set[str]:
    """Return the ids of the jobs of all clusters that have not ended."""
    clusters = present_clusters(records)
    items = [*clusters, *(worker for cluster in clusters for worker in cluster.workers.values())]
    return {item.state["job_id"] for item in items if "job_id" in item.state}


def create_workers(records: DataManager, cluster: Cluster, count: int) -> None:
    """Create the records of so many workers by one statement, so that the event loop waits for the disk once.

    Each record is as upstream's ``create_worker`` makes it.
    """
    now = timestamp()
    made = [
        {
            "name": uuid.uuid4().hex,
            "status": JobStatus.CREATED,
            "target": JobStatus.RUNNING,
            "state": {},
            "start_time": now,
            "close_expected": False,
        }
        for _ in range(count)
    ]
    inserted = workers_table.insert().returning(workers_table.c.id, sort_by_parameter_order=True)
    with records.db.begin() as connection:
        ids = connection.execute(inserted, [{"cluster_id": cluster.id, **record} for record in made]).scalars().all()
    for number, record in zip(ids, made, strict=True):
        cluster.workers[record["name"]] = Worker(id=number, cluster=cluster, **record)


def forget(records: DataManager, cluster: Cluster) -> None:
    """Delete the record of a cluster that has neither jobs nor a folder."""
    with records.db.begin() as connection:
        connection.execute(clusters_table.delete().where(clusters_table.c.id == cluster.id))
    del records.id_to_cluster[cluster.id], records.name_to_cluster[cluster.name]
    records.username_to_clusters[cluster.username].pop(cluster.name)
