"""The custom resource definitions of the stack."""

import jsonschema
import pytest

from gateway.identity.accounts import Account
from gateway.kubernetes import cluster_spec
from gateway.request.environments import PATH_MAX, Environment
from gateway.request.options import ClusterRequest
from gateway.site import GIB
from infra.crds import FIXED, TRAEFIK_KINDS, dask_cluster_spec

OPTIONS = {
    "pixi_project": "/depot/cms/analysis",
    "pixi_env": "default",
    "conda_env": "",
    "worker_cores": 0.5,
    "worker_memory": 4.0,
    "env": {},
}
REQUEST = ClusterRequest(
    "dave-cern",
    "cern",
    Account("paf0001", 30001, 30000, ()),
    Environment("pixi_project", "/depot/cms/analysis", "default"),
    {},
    0.5,
    4 * GIB,
)


def test_dask_cluster_is_ours_everywhere(manifests):
    (version,) = manifests.get("CustomResourceDefinition", "daskclusters.gateway.dask.org")["spec"]["versions"]
    assert version["subresources"] == {"status": {}}
    schema = version["schema"]["openAPIV3Schema"]
    assert schema["required"] == ["spec"]
    assert schema["properties"]["spec"] == dask_cluster_spec()
    # Stock dask-gateways of the same Kubernetes cluster keep fields of their own there.
    assert all(part["x-kubernetes-preserve-unknown-fields"] for part in schema["properties"].values())


def test_the_api_servers_objects_fit_the_schema(testbed_site):
    (cern,) = (item for item in testbed_site.identity.classes if item.name == "cern")
    made = cluster_spec.of_request(REQUEST, OPTIONS, cern)
    jsonschema.validate(made, dask_cluster_spec())
    assert set(FIXED) == made.keys()


@pytest.mark.finding("R6", "R4f")
@pytest.mark.parametrize(
    "wrong",
    [
        {"username": None},
        {"username": "a" * 64},
        {"account": {"uid": 0, "gid": 1}},
        {"account": {"uid": "20001", "gid": 1}},
        {"options": {"pixi_project": "/" * (PATH_MAX + 1)}},
        {"options": {"worker_cores": "1"}},
        {"replicas": -1},
        {"active": "no"},
        {"lastClient": "x" * 41},
    ],
)
def test_garbage_does_not(wrong):
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"username": "alice", "options": OPTIONS, **wrong}, dask_cluster_spec())


def test_traefik_kinds_only_where_the_site_says_so(testbed, geddes):
    kinds = {definition["spec"]["names"]["kind"] for definition in testbed.of_kind("CustomResourceDefinition").values()}
    assert kinds == {"DaskCluster", *TRAEFIK_KINDS}
    assert len(TRAEFIK_KINDS) == 10
    assert set(geddes.of_kind("CustomResourceDefinition")) == {"daskclusters.gateway.dask.org"}
