"""Make the preflight's plan of a request. Pure; both back ends add what differs there."""

from gateway.as_user.preflight import Plan
from gateway.request import storage
from gateway.request.options import ClusterRequest
from gateway.site import Backend, Site

WORKER_OPTIONS = ("--no-dashboard",)
"""Options of Dask's worker. A dashboard of its own would take a second of its start to import bokeh, and any process
that reaches the node could read it without a login; the scheduler's dashboard shows all workers."""


def plan_of(site: Site, backend: Backend, request: ClusterRequest, variables: str) -> Plan:
    """Return what the preflight checks before it starts Dask; ``variables`` is the path of the file with them."""
    return Plan(
        option=request.environment.option,
        path=request.environment.path,
        prefix=request.environment.prefix,
        name=request.environment.name,
        visible=[mount.volume.path for mount in storage.mounts(site, backend, request.user_class)],
        markers=[],
        workers=site.gateway(backend).workers_label,
        advice=storage.relocation_advice(site, backend, request.user_class),
        variables=variables,
    )
