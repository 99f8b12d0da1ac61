"""The Secret with a user's environment variables and passwd file, which the pods of a cluster mount. Pure."""

from base64 import b64encode
from collections.abc import Mapping
from typing import Any

from dask_gateway_server.backends.kubernetes.utils import merge_json_objects

from gateway.kubernetes import names, pod_paths
from gateway.request import environment_variables
from gateway.request.options import ClusterRequest

VARIABLES_KEY = "variables"
PASSWD_KEY = "passwd"  # noqa: S105 - the name of a file
"""Keys of the Secret: environment variables as the preflight reads them, and the pod's ``/etc/passwd``."""
VARIABLES_FILE = f"{pod_paths.VARIABLES}/{VARIABLES_KEY}"
"""Path of the environment variables inside a pod."""
VOLUME = "variables"
"""Name of the Secret's volume in a pod."""


def secret_content(request: ClusterRequest) -> dict[str, bytes]:
    """Return the content of a cluster's Secret: the user's variables, and a passwd file with the user's account."""
    account = request.account
    passwd = (
        "root:x:0:0:root:/root:/usr/sbin/nologin\n"
        f"{request.username}:x:{account.uid}:{account.gid}:{request.username}:{pod_paths.SCRATCH}:/bin/sh\n"
    )
    return {VARIABLES_KEY: environment_variables.encoded(request.variables), PASSWD_KEY: passwd.encode()}


def secret(cluster: Mapping[str, Any], labels: Mapping[str, str], request: ClusterRequest) -> dict[str, Any]:
    """Return the Secret of a DaskCluster, which owns it: Kubernetes deletes the Secret with the cluster."""
    name = cluster["metadata"]["name"]
    owner = {
        "apiVersion": cluster["apiVersion"],
        "kind": cluster["kind"],
        "name": name,
        "uid": cluster["metadata"]["uid"],
    }
    return {
        "metadata": {"name": names.variables_name(name), "labels": dict(labels), "ownerReferences": [owner]},
        "data": {key: b64encode(content).decode() for key, content in secret_content(request).items()},
    }


def with_variables(pod: Mapping[str, Any], cluster: str) -> dict[str, Any]:
    """Return a pod that mounts the Secret of its cluster, and the Secret's passwd file as ``/etc/passwd``."""
    mounted = {"volumes": [{"name": VOLUME, "secret": {"secretName": names.variables_name(cluster)}}]}
    mounts = [
        {"name": VOLUME, "mountPath": pod_paths.VARIABLES, "readOnly": True},
        {"name": VOLUME, "mountPath": pod_paths.PASSWD, "subPath": PASSWD_KEY, "readOnly": True},
    ]
    (container,) = pod["spec"]["containers"]
    container = merge_json_objects(container, {"volumeMounts": mounts})
    spec = {**merge_json_objects(pod["spec"], mounted), "containers": [container]}
    return {**pod, "spec": spec}
