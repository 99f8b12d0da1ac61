"""Place a heartbeat: its workers are those of the records, its host is the node of the job, only ports are its own."""

import asyncio
import socket
from collections.abc import Mapping
from typing import Any

from dask_gateway_server.backends.db_base import Cluster, JobStatus

from gateway.errors import Refusal
from gateway.service import scheduler_addresses
from gateway.site import SlurmGateway
from gateway.slurm import queries
from gateway.slurm.jobs import Owner

RESOLVE_SECONDS = 5
SCHEMES = {"scheduler_address": "tls", "api_address": "http", "dashboard_address": "http"}
"""Addresses of a heartbeat, and the protocols that upstream's scheduler speaks there."""


async def placed(cluster: Cluster, heartbeat: Mapping[str, Any], squeue: str, slurm: SlurmGateway) -> dict[str, Any]:
    """Return a cluster's heartbeat with the addresses at which its scheduler is. Raises :class:`Refusal`."""
    ports = {
        name: scheduler_addresses.port_of(heartbeat[name], slurm.own_ports)
        for name in SCHEMES
        # A scheduler without bokeh has no dashboard.
        if heartbeat[name] or name != "dashboard_address"
    }
    host = await _host_of(cluster, squeue, slurm)
    addresses = {name: scheduler_addresses.url(SCHEMES[name], host, port) for name, port in ports.items()}
    return {**heartbeat, **addresses}


def check_workers(cluster: Cluster, heartbeat: Mapping[str, Any]) -> None:
    """Raise :class:`Refusal` for a heartbeat that leaves a running worker out, which upstream asserts never happens."""
    named = {*heartbeat["active_workers"], *heartbeat["closing_workers"], *heartbeat["closed_workers"]}
    for worker in cluster.workers.values():
        if JobStatus.SUBMITTED < worker.status < JobStatus.STOPPED and worker.name not in named:
            raise Refusal(f"The heartbeat leaves out the worker {worker.name}, which runs.")


async def _host_of(cluster: Cluster, squeue: str, slurm: SlurmGateway) -> str:
    number = cluster.state.get("job_id", "")
    try:
        node = await queries.node_of(squeue, number, Owner.of(cluster)) if number else None
    except (queries.CommandError, OSError):
        node = None
    if node is None or not scheduler_addresses.NODE_NAME.fullmatch(node):
        raise Refusal(f"SLURM does not say at which node the scheduler of cluster {cluster.name} runs: try again.")
    return scheduler_addresses.checked_host(await _resolved(node), {slurm.submission_address})


async def _resolved(node: str) -> str:
    asking = asyncio.get_running_loop().getaddrinfo(node, None, type=socket.SOCK_STREAM)
    try:
        found = await asyncio.wait_for(asking, RESOLVE_SECONDS)
    except (OSError, TimeoutError):
        raise Refusal(f"The submission host does not know the address of the node {node}: try again.") from None
    return str(found[0][4][0])
