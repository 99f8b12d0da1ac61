"""The custom resource definitions of the stack."""

from infra.crds import TRAEFIK_KINDS


def test_dask_cluster_is_ours_everywhere(manifests):
    (version,) = manifests.get("CustomResourceDefinition", "daskclusters.gateway.dask.org")["spec"]["versions"]
    assert version["subresources"] == {"status": {}}
    properties = version["schema"]["openAPIV3Schema"]["properties"]
    assert all(part["x-kubernetes-preserve-unknown-fields"] for part in properties.values())


def test_traefik_kinds_only_where_the_site_says_so(testbed, geddes):
    kinds = {definition["spec"]["names"]["kind"] for definition in testbed.of_kind("CustomResourceDefinition").values()}
    assert kinds == {"DaskCluster", *TRAEFIK_KINDS}
    assert len(TRAEFIK_KINDS) == 10
    assert set(geddes.of_kind("CustomResourceDefinition")) == {"daskclusters.gateway.dask.org"}
