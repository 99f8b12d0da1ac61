"""Both stacks against a real API server, that of the testbed."""

import json
import secrets

import pytest
from dask_gateway_server.backends.kubernetes.backend import KubeClusterConfig
from dask_gateway_server.utils import FrozenAttrDict

from gateway.identity.accounts import Account
from gateway.kubernetes.controller.configuration import controller_config
from gateway.kubernetes.controller.controller import FacilityKubeController
from gateway.kubernetes.controller.network_policies import network_policy
from gateway.kubernetes.pods import cluster_config
from gateway.request.environments import Environment
from gateway.request.options import ClusterRequest
from release import process
from testbed import cluster, stack
from tests.infra.recorder import render
from tests.infra.samples import settings_of

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def namespace():
    """Create two namespaces that enforce Pod Security, and return the name of the first.

    The gateway's own namespaces have objects that are in use.
    """
    name = f"dry-run-{secrets.token_hex(4)}"
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    both = [name, clusters_of(name)]
    apply(
        [{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": each, "labels": labels}} for each in both],
        dry_run=False,
    )
    yield name
    cluster.kubectl("delete", "namespace", *both, "--wait=false")


def clusters_of(namespace):
    """Return the name of the namespace of clusters that goes with a gateway's own."""
    return f"{namespace}-clusters"


def apply(objects, *, dry_run=True):
    """Apply objects with the API server's strict validation. Raises ``CommandError`` that names all faults."""
    everything = {"apiVersion": "v1", "kind": "List", "items": list(objects)}
    mode = ["--dry-run=server"] if dry_run else []
    return cluster.kubectl(
        "apply",
        "--server-side",
        "--force-conflicts",
        "--validate=strict",
        *mode,
        "--filename=-",
        standard_input=json.dumps(everything),
    )


def moved(site, namespace):
    """Return the site with other namespaces."""
    places = {"namespace": namespace, "clusters_namespace": clusters_of(namespace)}
    return site.model_copy(update={"kubernetes": site.kubernetes.model_copy(update=places)})


def pod(name, namespace, spec):
    # The ServiceAccount exists only in the gateway's own namespace.
    spec = {key: value for key, value in spec.items() if key != "serviceAccountName"}
    metadata = {"name": name, "namespace": namespace}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": metadata,
        "spec": {**spec, "automountServiceAccountToken": False},
    }


def test_each_object_passes_a_server_side_dry_run(any_site, namespace):
    manifests = render(settings_of(moved(any_site, namespace)))
    answer = apply(manifests)
    assert len(answer.splitlines()) == len(manifests.objects)


def test_a_wrong_object_does_not_pass(any_site, namespace):
    manifests = render(settings_of(moved(any_site, namespace)))
    service = manifests.get("Service", "api-dask-gateway-k8s")
    service["spec"]["ports"][0]["prt"] = 1
    with pytest.raises(process.CommandError, match="prt"):
        apply([service])


@pytest.mark.weakness(15)
def test_pods_of_the_gateway_are_admitted_as_restricted(any_site, namespace):
    deployments = render(settings_of(moved(any_site, namespace))).of_kind("Deployment")
    apply(pod(name, namespace, deployment["spec"]["template"]["spec"]) for name, deployment in deployments.items())


@pytest.mark.weakness(15)
@pytest.mark.parametrize("user_class", ["purdue", "cern", "fnal"])
@pytest.mark.parametrize("is_worker", [True, False])
def test_pods_of_users_are_admitted_as_restricted(any_site, namespace, user_class, is_worker):
    apply([user_pod(moved(any_site, namespace), user_class, is_worker=is_worker)])


@pytest.mark.weakness(15)
def test_other_pods_are_not_admitted(testbed_site, namespace):
    refused = user_pod(moved(testbed_site, namespace), "purdue", is_worker=True)
    refused["spec"]["volumes"].append({"name": "host", "hostPath": {"path": "/"}})
    with pytest.raises(process.CommandError, match="restricted volume types"):
        apply([refused])


def test_the_policy_of_a_cluster_is_valid(testbed_site, namespace):
    site = moved(testbed_site, namespace)
    labels = FacilityKubeController(config=controller_config(site)).get_labels("c1")
    metadata = {"name": "c1", "uid": "5d1b5a4e-0000-0000-0000-000000000000"}
    dask_cluster = {"apiVersion": "gateway.dask.org/v1alpha1", "kind": "DaskCluster", "metadata": metadata}
    policy = network_policy(dask_cluster, labels)
    policy["metadata"]["namespace"] = site.kubernetes.clusters_namespace
    apply([policy])


def user_pod(site, user_class, *, is_worker):
    request = ClusterRequest(
        username="alice",
        user_class=user_class,
        account=Account("alice", 20001, 20000, (21001,)),
        environment=Environment("conda_env", "/depot/cms/environment"),
        variables={"PATH": "/depot/cms/environment/bin"},
        worker_cores=1,
        worker_memory_bytes=2**30,
    )
    controller = FacilityKubeController(config=controller_config(site))
    config = FrozenAttrDict(KubeClusterConfig(**cluster_config(site, request)).to_dict())
    made = controller.make_pod(site.kubernetes.clusters_namespace, "c1", config, is_worker=is_worker)
    # The ServiceAccount exists only in the gateway's own namespace.
    del made["spec"]["serviceAccountName"]
    made["metadata"]["namespace"] = site.kubernetes.clusters_namespace
    made["metadata"]["name"] = made["metadata"].pop("generateName", "dask-scheduler-c1").rstrip("-")
    return made


def test_preview_after_up_shows_no_change():
    assert stack.preview_shows_no_change()


@pytest.mark.weakness(15)
@pytest.mark.parametrize("part", ["api", "controller", "traefik"])
@pytest.mark.parametrize("resource", ["secrets", "pods", "daskclusters.gateway.dask.org"])
def test_no_part_may_look_into_other_namespaces(testbed_site, part, resource):
    for verb in ("get", "list"):
        assert not may(testbed_site, part, verb, resource, namespace="kube-system")


@pytest.mark.parametrize("verb", ["get", "create"])
def test_the_api_may_read_and_make_clusters_secrets(testbed_site, verb):
    assert may(testbed_site, "api", verb, "secrets", namespace=testbed_site.kubernetes.clusters_namespace)


@pytest.mark.finding("R6")
@pytest.mark.parametrize("part", ["api", "controller", "traefik"])
@pytest.mark.parametrize("verb", ["get", "list", "create"])
@pytest.mark.parametrize("resource", ["secrets", "pods"])
def test_no_part_may_look_at_secrets_and_pods_beside_its_own(testbed_site, part, verb, resource):
    assert not may(testbed_site, part, verb, resource, namespace=testbed_site.kubernetes.namespace)


def may(site, part, verb, resource, *, namespace):
    gateway = site.kubernetes
    account = f"system:serviceaccount:{gateway.namespace}:{part}-{gateway.release}"
    try:
        answer = cluster.kubectl("auth", "can-i", verb, resource, f"--namespace={namespace}", f"--as={account}")
    except process.CommandError as error:
        # kubectl exits with 1 for the answer "no" and for a failed call.
        answer = error.output
    assert answer.strip() in {"yes", "no"}, answer
    return answer.strip() == "yes"
