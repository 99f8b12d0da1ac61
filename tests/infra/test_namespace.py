"""The namespace of users' clusters, its quota and its default limits; the gateway's own namespace is another's."""

import pytest

POLICIES = {"ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding"}
CLUSTER_SCOPED = {"Namespace", "CustomResourceDefinition", "PersistentVolume", *POLICIES}
OF_CLUSTERS = {
    "LimitRange",
    "ResourceQuota",
    "PersistentVolumeClaim",
    "IngressRoute",
    "Middleware",
    ("ServiceAccount", "clusters-dask-gateway-k8s"),
    *(
        (kind, f"{part}-dask-gateway-k8s-clusters")
        for kind in ("Role", "RoleBinding")
        for part in ("api", "controller", "traefik")
    ),
    *(("NetworkPolicy", f"dask-gateway-k8s-{name}") for name in ("dask-scheduler", "dask-worker", "clusters-closed")),
}
"""Kinds, and single objects, that are in the namespace of users' clusters."""


@pytest.mark.weakness(15)
def test_enforces_restricted_pods(manifests, any_site):
    (name,) = manifests.of_kind("Namespace")
    assert name == any_site.kubernetes.clusters_namespace, "the gateway's own namespace belongs to others, too"
    labels = manifests.get("Namespace", name)["metadata"]["labels"]
    assert labels["pod-security.kubernetes.io/enforce"] == "restricted"


def test_clusters_objects_are_in_it_and_the_gateways_own_are_not(manifests, any_site):
    gateway = any_site.kubernetes
    for manifest in manifests:
        kind, metadata = manifest["kind"], manifest["metadata"]
        if kind in CLUSTER_SCOPED:
            expected = None
        elif OF_CLUSTERS & {kind, (kind, metadata["name"])}:
            expected = gateway.clusters_namespace
        else:
            expected = gateway.namespace
        assert metadata.get("namespace") == expected, f"{kind} {metadata['name']}"


def test_quota_is_the_sites(testbed):
    hard = testbed.get("ResourceQuota", "dask-gateway-k8s")["spec"]["hard"]
    assert hard == {
        "requests.cpu": "1000000m",
        "requests.memory": "2048000Mi",
        "pods": "500",
        "count/daskclusters.gateway.dask.org": "20000",
        "secrets": "1500",
        "services": "700",
    }


def test_limit_range_is_the_sites(testbed):
    (limit,) = testbed.get("LimitRange", "dask-gateway-k8s")["spec"]["limits"]
    assert limit["max"] == {"cpu": "64000m", "memory": "262144Mi"}
    assert limit["default"] == limit["defaultRequest"] == {"cpu": "1000m", "memory": "1024Mi"}
