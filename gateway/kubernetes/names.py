"""Names, labels and ports of the Kubernetes gateway's objects, for the code that creates or finds them. Pure."""

import hashlib
import re
from collections.abc import Mapping

from gateway.site import ClaimSource, KubernetesGateway, Site, Volume

API_PORT = KubernetesGateway.api_port
METRICS_PORT = KubernetesGateway.metrics_port
SCHEDULER_PORT = 8786
DASHBOARD_PORT = 8787
SCHEDULER_API_PORT = 8788
"""Ports of a scheduler pod, fixed by upstream's controller."""
WORKER_PORTS = (32768, 60999)
"""First and last of the ports from which Linux chooses those of a worker and its nanny (ip_local_port_range of a new
network namespace)."""

WEB_ENTRYPOINT = "web"
SCHEDULER_ENTRYPOINT = "scheduler"
"""Traefik's entry points."""

INSTANCE_LABEL = "gateway.dask.org/instance"
"""Marks the objects that upstream's informers and Traefik watch: clusters, their pods and their routes."""
USER_LABEL = "gateway.dask.org/user"
USER_CLASS_LABEL = "gateway.dask.org/user-class"
UID_LABEL = "gateway.dask.org/uid"
"""The uid of the account that a pod runs as."""
CLUSTER_LABEL = "gateway.dask.org/cluster"
"""The name of an object's cluster, without the namespace; upstream sets it."""
COMPONENT_LABEL = "app.kubernetes.io/component"
API_COMPONENT = "api"
"""Value of :data:`COMPONENT_LABEL` of the API server's replicas."""
SCHEDULER_COMPONENT = "dask-scheduler"
WORKER_COMPONENT = "dask-worker"
"""Values of :data:`COMPONENT_LABEL`, and names of containers, that upstream's controller gives to pods."""

CLUSTER_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
"""A valid name of a cluster, without the namespace (a label of RFC 1123)."""
LABEL_VALUE = re.compile(r"([A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?)?")


def common_labels(release: str) -> dict[str, str]:
    """Return the labels of every object of a gateway, including those of users' clusters."""
    return {"app.kubernetes.io/name": "dask-gateway", "app.kubernetes.io/instance": release}


def component_labels(release: str, component: str) -> dict[str, str]:
    """Return the labels that select the pods of one component."""
    return {**common_labels(release), COMPONENT_LABEL: component}


def selector(labels: Mapping[str, str]) -> str:
    """Return the label selector that matches objects with all these labels."""
    return ",".join(f"{key}={value}" for key, value in labels.items())


def api_name(release: str) -> str:
    """Return the name of the API server's Service inside Kubernetes, and of the objects that belong to it."""
    return f"api-{release}"


def controller_name(release: str) -> str:
    """Return the name of the controller's Deployment and of its Lease."""
    return f"controller-{release}"


def proxy_name(release: str) -> str:
    """Return the name of the proxy's Deployment and Service."""
    return f"traefik-{release}"


def clusters_middleware_name(release: str) -> str:
    """Return the name of the Middleware that strips ``/clusters/NAME`` from a dashboard's path."""
    return f"clusters-prefix-{release}"


def dashboard_login_middleware_name(release: str) -> str:
    """Return the name of the Middleware by which Traefik asks the API server who may see a dashboard."""
    return f"dashboard-login-{release}"


def dashboard_headers_middleware_name(release: str) -> str:
    """Return the name of the Middleware that keeps visitors' credentials from a dashboard."""
    return f"dashboard-headers-{release}"


def dashboard_middlewares(release: str) -> list[str]:
    """Return the names of the Middlewares of a dashboard's route, in the order in which a request passes them.

    The login is first: it needs the credentials and the whole path.
    """
    return [
        dashboard_login_middleware_name(release),
        dashboard_headers_middleware_name(release),
        clusters_middleware_name(release),
    ]


def api_url(gateway: KubernetesGateway) -> str:
    """Return the URL at which schedulers reach the API server."""
    return f"http://{api_name(gateway.release)}.{gateway.namespace}:{API_PORT}/api"


def clusters_account_name(release: str) -> str:
    """Return the name of the ServiceAccount of users' pods, which has no rights."""
    return f"clusters-{release}"


def clusters_role_name(part: str) -> str:
    """Return the name of the Role of a part of the gateway in the namespace of users' clusters."""
    return f"{part}-clusters"


def proxied_api_origin(gateway: KubernetesGateway) -> str:
    """Return scheme, host and port at which Traefik, in the same namespace, reaches the API server."""
    return f"http://{api_name(gateway.release)}:{gateway.proxied_api_port}"


def variables_name(cluster: str) -> str:
    """Return the name of the Secret with a cluster's environment variables."""
    return f"dask-variables-{cluster}"


def scheduler_pod_name(cluster: str) -> str:
    """Return the name that upstream's controller gives to a cluster's scheduler pod."""
    return f"{SCHEDULER_COMPONENT}-{cluster}"


def claim_name(site: Site, volume: Volume) -> str:
    """Return the name of the PersistentVolumeClaim through which pods mount a volume."""
    if isinstance(volume.kubernetes, ClaimSource):
        return volume.kubernetes.claim
    return f"{site.kubernetes.release}-{volume.name}"


def label_value(text: str) -> str:
    """Return the text if it is a valid label value, else a readable beginning of it with a hash."""
    if LABEL_VALUE.fullmatch(text):
        return text
    digest = hashlib.sha256(text.encode()).hexdigest()[:16]
    beginning = re.sub(r"[^A-Za-z0-9]+", "-", text).strip("-")[:40]
    return f"{beginning}-{digest}".lstrip("-")
