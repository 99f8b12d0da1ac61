"""A part of the Kubernetes gateway in foreign hands: what the other parts, and Kubernetes, refuse.

An administrator acts here with the rights of a part (``kubectl --as``). Objects for admission are sent as dry runs.
"""

import copy
import json
import uuid
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest
import yaml
from dask_gateway_server.backends.kubernetes.backend import KubeClusterConfig
from dask_gateway_server.utils import FrozenAttrDict

from gateway.identity.accounts import Account
from gateway.kubernetes import names
from gateway.kubernetes.controller.configuration import controller_config
from gateway.kubernetes.controller.controller import FacilityKubeController
from gateway.kubernetes.pods import cluster_config
from gateway.request.environments import Environment
from gateway.request.options import ClusterRequest
from gateway.site import GIB, Backend, Site
from release import process
from testbed import cluster
from testbed.waiting import until
from tests.e2e import notebooks
from tests.e2e.administration import DASK_CLUSTERS, identity_of
from tests.e2e.back_ends import on_kubernetes
from tests.e2e.machines import RELEASE, SETTINGS, kubectl, kubectl_clusters, of_cluster

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240), pytest.mark.finding("R6")]

NAMESPACE = SETTINGS.kubernetes.namespace
CLUSTERS_NAMESPACE = SETTINGS.kubernetes.clusters_namespace
API = names.api_name(RELEASE)
CONTROLLER = names.controller_name(RELEASE)
TRAEFIK = names.proxy_name(RELEASE)
SECONDS_TO_FAIL = 60
OPTIONS = {"pixi_project": notebooks.PIXI_PROJECT, "pixi_env": "default", "conda_env": "", "worker_cores": 1.0}
OPTIONS |= {"worker_memory": 1.0, "env": {}}
ALICE_UID = 20001

Object = dict[str, Any]
Change = Callable[[Object], object]


def create(part: str, item: Mapping[str, Any], *, dry_run: bool = True) -> str:
    """Create an object with the rights of a part of the gateway, or of the administrator for an empty name."""
    account = (f"--as=system:serviceaccount:{NAMESPACE}:{part}",) if part else ()
    mode = ("--dry-run=server",) if dry_run else ()
    command = ("--namespace", CLUSTERS_NAMESPACE, "create", "--validate=false", "--filename=-", *account, *mode)
    return cluster.kubectl(*command, standard_input=json.dumps(item))


def dask_cluster(name: str, **spec: object) -> Object:
    labels = {**names.common_labels(RELEASE), names.INSTANCE_LABEL: RELEASE, names.CLUSTER_LABEL: name}
    return {
        "apiVersion": "gateway.dask.org/v1alpha1",
        "kind": "DaskCluster",
        "metadata": {"name": name, "labels": labels},
        "spec": {"username": "mallory", "options": OPTIONS, **spec},
    }


# The API in foreign hands.


@pytest.fixture
def name(backend: Backend) -> Iterator[str]:
    """Return the name of a DaskCluster that is deleted after the test."""
    name = uuid.uuid4().hex
    yield name
    kubectl_clusters("delete", DASK_CLUSTERS, name, "--ignore-not-found")


def status_of(name: str) -> Mapping[str, Any]:
    found = json.loads(kubectl_clusters("get", DASK_CLUSTERS, name, "--output", "json"))
    status: Mapping[str, Any] = found.get("status", {})
    return status


FORGED_POD = {
    "securityContext": {"runAsUser": ALICE_UID, "runAsGroup": 20000, "supplementalGroups": [], "runAsNonRoot": True},
    "volumes": [{"name": "stolen", "secret": {"secretName": f"hub-token-{RELEASE}"}}],
}
FORGED_CONFIG = {"scheduler_extra_pod_config": FORGED_POD, "worker_extra_pod_config": FORGED_POD}


@on_kubernetes
@pytest.mark.parametrize(
    ("spec", "reason"),
    [
        ({"config": FORGED_CONFIG}, "no account named 'mallory'"),
        ({"account": {"uid": ALICE_UID, "gid": 20000}}, "a uid was named"),
        ({"username": "mallory-cern", "account": {"uid": ALICE_UID, "gid": 20000}}, "not that of an account"),
        ({"username": "alice", "options": {**OPTIONS, "pixi_project": "/etc"}}, "is not on storage"),
        ({"username": "alice", "options": {**OPTIONS, "worker_cores": 1000}}, "at most"),
        ({"username": "alice", "lastClient": "yesterday"}, "spec.lastClient"),
    ],
    ids=["pod", "account", "uid of another class", "path", "size", "report"],
)
def test_nothing_runs_for_a_forged_cluster(backend: Backend, name: str, spec: dict[str, object], reason: str) -> None:
    create(API, dask_cluster(name, **spec), dry_run=False)
    until("the cluster has failed", lambda: status_of(name).get("phase") == "Failed", seconds=SECONDS_TO_FAIL)
    assert reason in status_of(name)["reason"]
    assert kubectl_clusters("get", "pods", "--selector", of_cluster(name), "--output", "name") == ""


@on_kubernetes
@pytest.mark.finding("R4f")
@pytest.mark.parametrize(
    "spec",
    [
        {"username": "a" * 64},
        {"options": {**OPTIONS, "pixi_project": "/" * 5000}},
        {"account": {"uid": "20001", "gid": 1}},
        {"replicas": -1},
    ],
    ids=["name", "path", "uid", "workers"],
)
def test_garbage_is_not_stored(backend: Backend, spec: dict[str, object]) -> None:
    with pytest.raises(process.CommandError, match="is invalid"):
        create(API, dask_cluster(uuid.uuid4().hex, **spec))


@on_kubernetes
def test_a_clusters_user_is_fixed(backend: Backend, name: str) -> None:
    create(API, dask_cluster(name), dry_run=False)
    account = f"--as=system:serviceaccount:{NAMESPACE}:{API}"
    for change in ({"username": "alice"}, {"account": {"uid": 30001, "gid": 30000}}, {"options": None}):
        patch = json.dumps({"spec": change})
        with pytest.raises(process.CommandError, match="is fixed at the creation"):
            kubectl_clusters("patch", DASK_CLUSTERS, name, "--type=merge", "--patch", patch, account)


# The controller in foreign hands.


@pytest.fixture(scope="module")
def site(backend: Backend) -> Site:
    """Return the site as it is deployed, with the testbed's images."""
    text = kubectl("get", "configmap", f"site-{RELEASE}", "--output", "jsonpath={.data.site\\.yaml}")
    return Site.model_validate(yaml.safe_load(text))


@pytest.fixture(scope="module")
def controller(site: Site) -> FacilityKubeController:
    return FacilityKubeController(config=controller_config(site))


@pytest.fixture(scope="module")
def worker(site: Site, controller: FacilityKubeController) -> Object:
    """Return a worker's pod of alice as the controller makes it."""
    uid, gid, groups = identity_of("alice")
    account = Account("alice", uid, gid, tuple(sorted(groups - {gid})))
    environment = Environment("pixi_project", notebooks.PIXI_PROJECT, "default")
    request = ClusterRequest("alice", "purdue", account, environment, {}, 1.0, GIB)
    config = KubeClusterConfig(**cluster_config(site, request)).to_dict()
    made: Object = controller.make_pod(CLUSTERS_NAMESPACE, uuid.uuid4().hex, FrozenAttrDict(config), is_worker=True)
    return made


def changed(item: Mapping[str, Any], change: Change) -> Object:
    copied = copy.deepcopy(dict(item))
    change(copied)
    return copied


def spec_with(**fields: object) -> Change:
    return lambda item: item["spec"].update(fields)


def container_with(**fields: object) -> Change:
    return lambda item: item["spec"]["containers"][0].update(fields)


def context_with(**fields: object) -> Change:
    return lambda item: item["spec"]["securityContext"].update(fields)


def volume(**source: object) -> Change:
    return lambda item: item["spec"]["volumes"].append({"name": "stolen", **source})


FORGED_PODS: dict[str, tuple[Change, str]] = {
    "uid": (context_with(runAsUser=20002), "runs as the uid of its label"),
    "gid": (context_with(supplementalGroups=[4]), "has gids of at least"),
    "image": (container_with(image="registry.invalid/attacker"), "of the site's environment image"),
    "secret": (volume(secret={"secretName": f"hub-token-{RELEASE}"}), "mounts the site's storage"),
    "claim": (volume(persistentVolumeClaim={"claimName": "hub-db"}), "mounts the site's storage"),
    "variable": (container_with(envFrom=[{"secretRef": {"name": f"hub-token-{RELEASE}"}}]), "takes no variable"),
    "account": (spec_with(serviceAccountName="default"), "has the ServiceAccount"),
    # Kubernetes adds the volume of the token before it asks the policies.
    "token": (spec_with(automountServiceAccountToken=True), "mounts the site's storage"),
    "node": (spec_with(nodeName=cluster.NODE), "chooses its node"),
}


@on_kubernetes
def test_the_controllers_own_pod_is_admitted(backend: Backend, worker: Object) -> None:
    assert "created" in create(CONTROLLER, worker)


@on_kubernetes
@pytest.mark.parametrize("what", FORGED_PODS)
def test_a_forged_pod_is_refused(backend: Backend, worker: Object, what: str) -> None:
    change, message = FORGED_PODS[what]
    with pytest.raises(process.CommandError, match=message):
        create(CONTROLLER, changed(worker, change))


@on_kubernetes
def test_nobody_else_makes_pods_of_clusters(backend: Backend, worker: Object) -> None:
    with pytest.raises(process.CommandError, match="only the controller makes pods"):
        create("", worker)


@on_kubernetes
@pytest.mark.parametrize(
    "spec",
    [{"externalIPs": ["172.30.0.10"]}, {"type": "NodePort", "clusterIP": ""}, {"selector": {"a": "b"}}],
    ids=["external IP", "node port", "selector"],
)
def test_a_forged_service_is_refused(
    backend: Backend, controller: FacilityKubeController, spec: dict[str, object]
) -> None:
    made = {"apiVersion": "v1", "kind": "Service", **controller.make_service(uuid.uuid4().hex)}
    assert "created" in create(CONTROLLER, made)
    with pytest.raises(process.CommandError, match="a cluster's Service"):
        create(CONTROLLER, changed(made, spec_with(**spec)))


@on_kubernetes
@pytest.mark.parametrize("part", [API, CONTROLLER])
def test_no_secret_gets_the_token_of_a_part(backend: Backend, controller: FacilityKubeController, part: str) -> None:
    """Kubernetes fills a Secret of this type with the token of the ServiceAccount that it names."""
    made = controller.make_secret(uuid.uuid4().hex)
    assert "created" in create(part, made)
    made["metadata"]["annotations"] = {"kubernetes.io/service-account.name": CONTROLLER}
    with pytest.raises(process.CommandError, match="is of the type Opaque"):
        create(part, {**made, "type": "kubernetes.io/service-account-token"})


@on_kubernetes
@pytest.mark.parametrize("part", [API, CONTROLLER])
def test_no_part_lists_secrets(backend: Backend, part: str) -> None:
    assert not may(part, "list", "secrets", CLUSTERS_NAMESPACE)


# Any part in foreign hands: the namespace of the gateway's own objects has the token of JupyterHub, and its pods.


@on_kubernetes
@pytest.mark.parametrize("part", [API, CONTROLLER, TRAEFIK])
@pytest.mark.parametrize("resource", ["secrets", "configmaps", "pods"])
def test_no_part_reads_or_makes_what_is_beside_it(backend: Backend, part: str, resource: str) -> None:
    assert [verb for verb in ("get", "list", "watch", "create") if may(part, verb, resource, NAMESPACE)] == []
    # The same question has another answer where the part has a right.
    assert may(part, "list", "daskclusters.gateway.dask.org" if part != TRAEFIK else "secrets", CLUSTERS_NAMESPACE)


@on_kubernetes
def test_the_hubs_token_is_not_where_traefik_and_clusters_are(backend: Backend) -> None:
    token = f"secret/hub-token-{RELEASE}"
    assert token in kubectl("get", "secrets", "--output", "name").split()
    assert token not in kubectl_clusters("get", "secrets", "--output", "name").split()


@on_kubernetes
def test_the_stack_bounds_the_namespace_of_clusters_alone(backend: Backend) -> None:
    bounds = ("get", "resourcequotas,limitranges", "--output", "name")
    assert kubectl(*bounds) == ""
    assert set(kubectl_clusters(*bounds).split()) == {f"resourcequota/{RELEASE}", f"limitrange/{RELEASE}"}


def may(part: str, verb: str, resource: str, namespace: str) -> bool:
    """Return whether a part of the gateway may do something in a namespace."""
    account = f"--as=system:serviceaccount:{NAMESPACE}:{part}"
    try:
        answer = cluster.kubectl("--namespace", namespace, "auth", "can-i", verb, resource, account).strip()
    except process.CommandError as error:
        # kubectl exits with 1 for the answer "no" and for a failed call.
        answer = error.output.strip()
    assert answer in {"yes", "no"}, answer
    return answer == "yes"
