"""Many ended clusters of a person in a gateway's list, without pods.

Upstream lists ended clusters like others. They cost the machine nothing, and both controllers leave them alone.
"""

import contextlib
import json
from collections.abc import Iterator, Mapping
from typing import Any

from testbed import cluster, waiting

KIND = "daskclusters.gateway.dask.org"
LABEL = "af-dask-gateway/bench"
SECONDS_TO_END = 120


def copies(original: Mapping[str, Any], count: int) -> list[dict[str, Any]]:
    """Return copies of a DaskCluster that are told to stop before they start."""
    metadata = original["metadata"]
    return [
        {
            "apiVersion": original["apiVersion"],
            "kind": original["kind"],
            "metadata": {
                "name": f"bench{number:027}",
                "namespace": metadata["namespace"],
                "labels": {**metadata.get("labels", {}), LABEL: "ended"},
            },
            "spec": {**original["spec"], "active": False},
        }
        for number in range(count)
    ]


def described(name: str) -> Mapping[str, Any]:
    """Return the DaskCluster ``NAMESPACE.NAME``."""
    namespace, _, short = name.partition(".")
    found: Mapping[str, Any] = json.loads(
        cluster.kubectl("--namespace", namespace, "get", KIND, short, "--output", "json")
    )
    return found


@contextlib.contextmanager
def added(original: Mapping[str, Any], count: int) -> Iterator[None]:
    """Add that many ended clusters like the given one to the list while the context lasts."""
    namespace = original["metadata"]["namespace"]
    objects = {"apiVersion": "v1", "kind": "List", "items": copies(original, count)}
    try:
        cluster.kubectl("create", "--filename=-", standard_input=json.dumps(objects))
        waiting.until(
            f"{count} clusters in {namespace} have ended", lambda: _ended(namespace) == count, seconds=SECONDS_TO_END
        )
        yield
    finally:
        cluster.kubectl("--namespace", namespace, "delete", KIND, "--selector", LABEL)


def _ended(namespace: str) -> int:
    phases = cluster.kubectl(
        *("--namespace", namespace, "get", KIND, "--selector", LABEL),
        *("--output", "jsonpath={.items[*].status.phase}"),
    )
    return phases.split().count("Stopped")
