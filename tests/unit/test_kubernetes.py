"""The Kubernetes gateway's configuration and what upstream's controller makes of it."""

import dataclasses
import os
import subprocess
import sys

import pytest
from dask_gateway_server.backends.kubernetes.backend import KubeClusterConfig
from dask_gateway_server.utils import FrozenAttrDict
from hypothesis import given
from hypothesis import strategies as st

from gateway.kubernetes import names
from gateway.kubernetes.backend import FacilityKubeBackend
from gateway.kubernetes.config import SCRATCH, api_config, cluster_config, controller_config
from gateway.kubernetes.controller import EndpointSliceInformer, FacilityKubeController
from gateway.options import GIB, ClusterRequest
from gateway.users import Account

ALICE = ClusterRequest(
    username="alice",
    user_class="purdue",
    account=Account("alice", 20001, 20000, (21001,)),
    prefix="/depot/cms/projects/analysis/.pixi/envs/default",
    environment={"PATH": "/bin", "HOME": "/home/alice", "PROMPT": "$(whoami) has $$5"},
    worker_cores=2.0,
    worker_memory_bytes=4 * GIB,
)
DAVE = dataclasses.replace(ALICE, username="dave-cern", user_class="cern", account=Account("paf0001", 30001, 30000, ()))


def pod_of(site, request, *, is_worker):
    """What upstream's controller, configured by us, sends to Kubernetes."""
    controller = FacilityKubeController(config=controller_config(site))
    config = KubeClusterConfig(**cluster_config(site, request)).to_dict()
    return controller.make_pod(site.kubernetes.namespace, "c1", FrozenAttrDict(config), is_worker=is_worker)


def container_of(site, request, *, is_worker):
    (container,) = pod_of(site, request, is_worker=is_worker)["spec"]["containers"]
    return container


def mounts_of(site, request):
    """Path -> whether the mount is read-only, storage only."""
    container = container_of(site, request, is_worker=True)
    return {
        mount["mountPath"]: mount["readOnly"]
        for mount in container["volumeMounts"]
        if mount["name"].startswith("storage-")
    }


def expanded(text, variables):
    """Kubernetes' expansion of references in values and arguments, as its documentation has it."""
    result, rest = "", text
    while rest:
        if rest.startswith("$$"):
            result, rest = f"{result}$", rest[2:]
        elif rest.startswith("$(") and ")" in rest:
            reference, rest = rest[2:].split(")", 1)
            result += variables.get(reference, f"$({reference})")
        else:
            result, rest = result + rest[0], rest[1:]
    return result


@pytest.mark.parametrize("is_worker", [True, False])
def test_pods_run_as_the_account(testbed_site, is_worker):
    context = pod_of(testbed_site, ALICE, is_worker=is_worker)["spec"]["securityContext"]
    assert (context["runAsUser"], context["runAsGroup"]) == (20001, 20000)
    assert context["supplementalGroups"] == [21001]
    assert context["runAsNonRoot"] is True
    assert "fsGroup" not in context


@pytest.mark.parametrize("is_worker", [True, False])
def test_pods_have_no_token_and_no_privileges(testbed_site, is_worker):
    pod = pod_of(testbed_site, ALICE, is_worker=is_worker)["spec"]
    (container,) = pod["containers"]
    assert pod["automountServiceAccountToken"] is False
    assert container["securityContext"] == {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}


def test_mounts_follow_the_storage_table(testbed_site):
    assert mounts_of(testbed_site, ALICE) == {
        "/work": False,
        "/depot/cms": False,
        "/cvmfs": True,
        "/eos/purdue": True,
    }
    assert mounts_of(testbed_site, DAVE) == {"/work": False, "/depot/cms": True, "/cvmfs": True, "/eos/purdue": True}


def test_every_mount_has_its_claim_with_the_same_access(testbed_site):
    spec = pod_of(testbed_site, DAVE, is_worker=True)["spec"]
    volumes = {volume["name"]: volume for volume in spec["volumes"]}
    for mount in spec["containers"][0]["volumeMounts"]:
        volume = volumes[mount["name"]]
        if mount["name"].startswith("storage-"):
            assert volume["persistentVolumeClaim"]["readOnly"] is mount["readOnly"]
    assert not any("hostPath" in volume for volume in volumes.values())


def test_the_users_own_environment_starts_by_path(testbed_site):
    scheduler = container_of(testbed_site, ALICE, is_worker=False)
    worker = container_of(testbed_site, ALICE, is_worker=True)
    assert scheduler["args"][:2] == [f"{ALICE.prefix}/bin/dask", "scheduler"]
    assert worker["args"][:2] == [f"{ALICE.prefix}/bin/dask", "worker"]


def test_home_is_the_pods_own(testbed_site):
    container = container_of(testbed_site, ALICE, is_worker=True)
    variables = {variable["name"]: variable.get("value") for variable in container["env"]}
    assert variables["HOME"] == SCRATCH == container["workingDir"]
    assert variables["USER"] == "alice"


@given(value=st.text(alphabet="$()AB ", max_size=12))
def test_values_arrive_as_they_are(testbed_site, value):
    request = dataclasses.replace(ALICE, environment={"VALUE": value})
    environment = cluster_config(testbed_site, request)["environment"]
    assert expanded(environment["VALUE"], {"A": "wrong", "B": "wrong"}) == value


def test_limits_are_never_below_requests(testbed_site, geddes_site):
    for site in (testbed_site, geddes_site):
        for cores in (0.1, 1.0, site.kubernetes.worker_cores.maximum):
            config = cluster_config(site, dataclasses.replace(ALICE, worker_cores=cores))
            for role in ("worker", "scheduler"):
                assert config[f"{role}_cores"] <= config[f"{role}_cores_limit"]
                assert config[f"{role}_cores_limit"] <= site.kubernetes.limit_range.maximum_cores
                assert config[f"{role}_memory"] == config[f"{role}_memory_limit"]


def test_small_workers_start_with_a_whole_core(testbed_site):
    config = cluster_config(testbed_site, dataclasses.replace(ALICE, worker_cores=0.1))
    assert config["worker_cores"] == 0.1
    assert config["worker_cores_limit"] == 1
    assert config["worker_threads"] == 1


def test_configurations_share_nothing(testbed_site):
    first, second = cluster_config(testbed_site, ALICE), cluster_config(testbed_site, DAVE)
    first["worker_extra_pod_config"]["securityContext"]["runAsUser"] = 0
    assert second["worker_extra_pod_config"]["securityContext"]["runAsUser"] == 30001


def test_pods_carry_user_and_class(testbed_site):
    labels = pod_of(testbed_site, DAVE, is_worker=True)["metadata"]["labels"]
    assert labels[names.USER_LABEL] == "dave-cern"
    assert labels[names.USER_CLASS_LABEL] == "cern"
    assert labels["app.kubernetes.io/instance"] == testbed_site.kubernetes.release


@given(text=st.text(max_size=100))
def test_labels_are_valid(text):
    assert names.LABEL_VALUE.fullmatch(names.label_value(text))


@given(texts=st.lists(st.text(max_size=100), min_size=2, max_size=2, unique=True))
def test_labels_differ_when_names_do(texts):
    first, second = texts
    assert names.label_value(first) != names.label_value(second)


@pytest.mark.parametrize(
    ("endpoints", "ready"),
    [
        (None, False),
        ([], False),
        ([{"addresses": ["10.0.0.1"], "conditions": {"ready": True}}], True),
        ([{"addresses": ["10.0.0.1"], "conditions": {}}], True),
        ([{"addresses": ["10.0.0.1"], "conditions": {"ready": False}}], False),
        ([{"conditions": {"ready": True}}, {"conditions": {"ready": False}}], False),
    ],
)
def test_readiness_of_endpoint_slices(testbed_site, endpoints, ready):
    controller = FacilityKubeController(config=controller_config(testbed_site))
    assert controller.endpoints_all_ready({"endpoints": endpoints}) is ready


def test_endpoint_slices_are_found_by_their_service():
    labels = {"kubernetes.io/service-name": "dask-c1"}
    slice_ = {"metadata": {"namespace": "cms", "name": "dask-c1-x7k2p", "labels": labels}}
    assert EndpointSliceInformer().get_key(slice_) == "cms.dask-c1"


def test_both_processes_watch_the_same_namespace_and_instance(testbed_site):
    backend = FacilityKubeBackend(config=api_config(testbed_site))
    controller = FacilityKubeController(config=controller_config(testbed_site))
    assert backend.namespace == controller.namespace == "cms"
    assert backend.gateway_instance == controller.gateway_instance == "dask-gateway-k8s"
    assert backend.api_url == controller.api_url == "http://api-dask-gateway-k8s.cms:8000/api"


def test_all_informers_are_namespaced(testbed_site):
    controller = FacilityKubeController(config=controller_config(testbed_site))
    controller.core_client = controller.custom_client = controller.discovery_client = None
    for informer in controller._make_informers().values():
        assert informer.method.startswith("list_namespaced_")
        assert informer.method_kwargs["namespace"] == "cms"


@pytest.mark.parametrize("command", ["api", "controller"])
def test_a_missing_site_is_said_in_one_line(command, tmp_path):
    completed = subprocess.run(
        [sys.executable, "-m", "gateway.kubernetes", command],
        env={**os.environ, "AF_SITE": str(tmp_path / "site.yaml")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert completed.returncode == 1
    assert completed.stderr == f"{tmp_path / 'site.yaml'}: can't be read: No such file or directory\n"
