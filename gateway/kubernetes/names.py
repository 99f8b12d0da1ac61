"""Names and labels of the Kubernetes gateway's objects, for what declares them and for what refers to them. Pure."""

import hashlib
import re
from collections.abc import Mapping

from gateway.site import ClaimSource, KubernetesGateway, Site, Volume

API_PORT = 8000
METRICS_PORT = 9464
"""Of API server and controller: no Service and no route leads to it."""
SCHEDULER_PORT = 8786
DASHBOARD_PORT = 8787
SCHEDULER_API_PORT = 8788
"""Ports of a scheduler's pod, fixed by upstream's controller."""

WEB_ENTRYPOINT = "web"
SCHEDULER_ENTRYPOINT = "scheduler"
"""Traefik's entry points."""

INSTANCE_LABEL = "gateway.dask.org/instance"
"""Marks what upstream's informers and Traefik look at: clusters, their pods and their routes."""
USER_LABEL = "gateway.dask.org/user"
USER_CLASS_LABEL = "gateway.dask.org/user-class"
COMPONENT_LABEL = "app.kubernetes.io/component"
API_COMPONENT = "api"
"""Value of :data:`COMPONENT_LABEL` of the API's replicas."""
SCHEDULER_COMPONENT = "dask-scheduler"
WORKER_COMPONENT = "dask-worker"
"""Values of :data:`COMPONENT_LABEL` that upstream's controller gives to pods."""

LAST_CLIENT = "lastClient"
"""Key in a DaskCluster's spec: when its scheduler last said that a client is connected."""
STARTED = "started"
"""Key in a DaskCluster's spec: when its scheduler said that it listens."""
ADDRESS = "address"
"""Key in a DaskCluster's spec: the IP address of its scheduler's pod, when the report of its start came from there."""

LABEL_VALUE = re.compile(r"([A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?)?")


def common_labels(release: str) -> dict[str, str]:
    """Labels of every object of a gateway, those of users' clusters included."""
    return {"app.kubernetes.io/name": "dask-gateway", "app.kubernetes.io/instance": release}


def component_labels(release: str, component: str) -> dict[str, str]:
    """Labels that select the pods of one component."""
    return {**common_labels(release), COMPONENT_LABEL: component}


def selector(labels: Mapping[str, str]) -> str:
    """The text by which Kubernetes is asked for objects that have all these labels."""
    return ",".join(f"{key}={value}" for key, value in labels.items())


def api_name(release: str) -> str:
    """Name of the Service (and of what belongs to it) that answers a gateway's API inside Kubernetes."""
    return f"api-{release}"


def controller_name(release: str) -> str:
    """Name of the controller's Deployment."""
    return f"controller-{release}"


def proxy_name(release: str) -> str:
    """Name of the proxy's Deployment and Service."""
    return f"traefik-{release}"


def clusters_middleware_name(release: str) -> str:
    """Name of the Middleware that takes ``/clusters/NAME`` off a dashboard's path."""
    return f"clusters-prefix-{release}"


def api_url(gateway: KubernetesGateway) -> str:
    """The API as schedulers reach it."""
    return f"http://{api_name(gateway.release)}.{gateway.namespace}:{API_PORT}/api"


def pool_holders_name(release: str) -> str:
    """Name of the ConfigMap that tells who holds which account of the pool."""
    return f"pool-holders-{release}"


def variables_name(cluster: str) -> str:
    """Name of the Secret with a cluster's environment variables."""
    return f"dask-variables-{cluster}"


def claim_name(site: Site, volume: Volume) -> str:
    """Name of the PersistentVolumeClaim through which pods mount a volume."""
    if isinstance(volume.kubernetes, ClaimSource):
        return volume.kubernetes.claim
    return f"{site.kubernetes.release}-{volume.name}"


def label_value(text: str) -> str:
    """The text itself when it may stand in a label, else a readable beginning and a hash of it."""
    if LABEL_VALUE.fullmatch(text):
        return text
    digest = hashlib.sha256(text.encode()).hexdigest()[:16]
    beginning = re.sub(r"[^A-Za-z0-9]+", "-", text).strip("-")[:40]
    return f"{beginning}-{digest}".lstrip("-")
