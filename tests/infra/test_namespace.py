"""The namespace, its quota and its default limits."""

import pytest

POLICIES = {"ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding"}
CLUSTER_SCOPED = {"Namespace", "CustomResourceDefinition", "PersistentVolume", *POLICIES}


@pytest.mark.weakness(15)
def test_enforces_restricted_pods(manifests, any_site):
    labels = manifests.get("Namespace", any_site.kubernetes.namespace)["metadata"]["labels"]
    assert labels["pod-security.kubernetes.io/enforce"] == "restricted"


def test_everything_else_is_in_it(manifests, any_site):
    for manifest in manifests:
        namespace = manifest["metadata"].get("namespace")
        expected = None if manifest["kind"] in CLUSTER_SCOPED else any_site.kubernetes.namespace
        assert namespace == expected, f"{manifest['kind']} {manifest['metadata']['name']}"


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
