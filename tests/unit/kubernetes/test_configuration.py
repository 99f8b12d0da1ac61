"""The Kubernetes gateway's configuration and what upstream's controller makes of it."""

import dataclasses
import json
import os
import pickle
import subprocess
import sys
from types import SimpleNamespace

import pytest
from aiohttp import web
from dask_gateway_server.backends.kubernetes.backend import KubeClusterConfig
from dask_gateway_server.utils import FrozenAttrDict
from hypothesis import given
from hypothesis import strategies as st
from kubernetes_asyncio.client.rest import ApiException

from gateway.as_user import preflight
from gateway.errors import Refusal
from gateway.identity.accounts import Account
from gateway.kubernetes import names
from gateway.kubernetes.api import pool_holders as kubernetes_pool
from gateway.kubernetes.api.backend import FacilityKubeBackend
from gateway.kubernetes.api.pool_holders import ConfigMapHolders
from gateway.kubernetes.configuration import (
    PASSWD_KEY,
    SCRATCH,
    VARIABLES,
    VARIABLES_KEY,
    api_config,
    cluster_config,
    controller_config,
    plan_of,
    secret_content,
)
from gateway.kubernetes.controller.controller import FacilityKubeController, SystemAccountError
from gateway.request import environment_variables
from gateway.request.environments import Environment
from gateway.request.options import ClusterRequest
from gateway.service.backend import FailedCluster
from gateway.site import GIB

CANARY = "f3b1c0ffee"
ALICE = ClusterRequest(
    username="alice",
    user_class="purdue",
    account=Account("alice", 20001, 20000, (21001,)),
    environment=Environment("pixi_project", "/depot/cms/projects/analysis", "default"),
    variables={"PATH": "/bin", "USER": "alice", "PROMPT": f"$(whoami) has $$5 {CANARY}"},
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


@pytest.mark.weakness(3, 11, 15)
@pytest.mark.parametrize("is_worker", [True, False])
def test_pods_run_as_the_account(testbed_site, is_worker):
    context = pod_of(testbed_site, ALICE, is_worker=is_worker)["spec"]["securityContext"]
    assert (context["runAsUser"], context["runAsGroup"]) == (20001, 20000)
    assert context["supplementalGroups"] == [21001]
    assert context["runAsNonRoot"] is True
    assert context["seccompProfile"] == {"type": "RuntimeDefault"}
    assert "fsGroup" not in context


@pytest.mark.weakness(15)
@pytest.mark.parametrize("is_worker", [True, False])
def test_pods_have_no_token_and_no_privileges(testbed_site, is_worker):
    pod = pod_of(testbed_site, ALICE, is_worker=is_worker)["spec"]
    (container,) = pod["containers"]
    assert pod["automountServiceAccountToken"] is False
    assert container["securityContext"] == {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}


@pytest.mark.weakness(21)
def test_mounts_follow_the_storage_table(testbed_site):
    assert mounts_of(testbed_site, ALICE) == {
        "/work": False,
        "/depot/cms": False,
        "/cvmfs": True,
        "/eos/purdue": True,
    }
    assert mounts_of(testbed_site, DAVE) == {"/work": False, "/depot/cms": True, "/cvmfs": True, "/eos/purdue": True}


@pytest.mark.weakness(21)
def test_every_mount_has_its_claim_with_the_same_access(testbed_site):
    spec = pod_of(testbed_site, DAVE, is_worker=True)["spec"]
    volumes = {volume["name"]: volume for volume in spec["volumes"]}
    for mount in spec["containers"][0]["volumeMounts"]:
        volume = volumes[mount["name"]]
        if mount["name"].startswith("storage-"):
            assert volume["persistentVolumeClaim"]["readOnly"] is mount["readOnly"]
    assert not any("hostPath" in volume for volume in volumes.values())


@pytest.mark.parametrize("is_worker", [True, False], ids=["worker", "scheduler"])
def test_the_users_own_environment_is_checked_and_started(testbed_site, is_worker):
    arguments = container_of(testbed_site, ALICE, is_worker=is_worker)["args"]
    assert arguments[:4] == ["python3", "-IS", "/opt/dask-gateway/preflight.py", "start"]
    assert preflight.decoded(expanded(arguments[4], {})) == plan_of(testbed_site, ALICE)
    assert arguments[5] == ("worker" if is_worker else "scheduler")
    assert plan_of(testbed_site, ALICE).python == "/depot/cms/projects/analysis/.pixi/envs/default/bin/python"


def test_pods_check_that_each_volume_is_mounted(testbed_site):
    seen = plan_of(testbed_site, DAVE)
    assert seen.visible == ["/work", "/depot/cms", "/cvmfs", "/eos/purdue"]
    assert [marker for marker in seen.markers if not marker.startswith(tuple(seen.visible))] == []
    assert len(seen.markers) == len([volume for volume in testbed_site.storage if volume.marker])


@pytest.mark.weakness(33)
def test_home_is_the_pods_own(testbed_site):
    container = container_of(testbed_site, ALICE, is_worker=True)
    variables = {variable["name"]: variable.get("value") for variable in container["env"]}
    assert variables["HOME"] == SCRATCH == container["workingDir"]


def test_the_account_has_its_name_and_home_in_the_passwd_file():
    *_, line = secret_content(ALICE)[PASSWD_KEY].decode().splitlines()
    assert line == f"alice:x:20001:20000:alice:{SCRATCH}:/bin/sh"


@pytest.mark.parametrize("is_worker", [True, False], ids=["worker", "scheduler"])
def test_variables_and_passwd_file_are_the_clusters_secret(testbed_site, is_worker):
    spec = pod_of(testbed_site, ALICE, is_worker=is_worker)["spec"]
    (volume,) = [volume for volume in spec["volumes"] if volume["name"] == "variables"]
    assert volume["secret"] == {"secretName": "dask-variables-c1"}
    mounts = [mount for mount in spec["containers"][0]["volumeMounts"] if mount["name"] == "variables"]
    assert mounts == [
        {"name": "variables", "mountPath": VARIABLES, "readOnly": True},
        {"name": "variables", "mountPath": "/etc/passwd", "subPath": PASSWD_KEY, "readOnly": True},
    ]
    assert plan_of(testbed_site, ALICE).variables == f"{VARIABLES}/{VARIABLES_KEY}"


@pytest.mark.weakness(13)
@pytest.mark.parametrize("is_worker", [True, False], ids=["worker", "scheduler"])
def test_users_pods_see_storage_and_secrets_of_their_own_only(testbed_site, is_worker):
    volumes = pod_of(testbed_site, ALICE, is_worker=is_worker)["spec"]["volumes"]
    others = [volume for volume in volumes if not volume["name"].startswith("storage-")]
    assert others == [
        {"name": "dask-credentials", "secret": {"secretName": "dask-credentials-c1"}},
        {"name": "scratch", "emptyDir": {}},
        {"name": "variables", "secret": {"secretName": "dask-variables-c1"}},
    ]


@pytest.mark.weakness(33)
def test_no_value_is_in_cluster_or_pod(testbed_site):
    assert CANARY.encode() in secret_content(ALICE)[VARIABLES_KEY]
    assert CANARY not in json.dumps(cluster_config(testbed_site, ALICE))
    for is_worker in (True, False):
        assert CANARY not in json.dumps(pod_of(testbed_site, ALICE, is_worker=is_worker))


@pytest.mark.weakness(34)
@pytest.mark.parametrize("is_worker", [True, False], ids=["worker", "scheduler"])
def test_pods_have_no_variable_that_could_be_a_users(testbed_site, is_worker):
    container = container_of(testbed_site, ALICE, is_worker=is_worker)
    given = {variable["name"] for variable in container["env"]}
    assert all(environment_variables.is_withheld(name, testbed_site.environment_variables) for name in given)


@given(value=st.text(alphabet="$()AB ", max_size=12))
def test_plans_arrive_as_they_are(testbed_site, value):
    request = dataclasses.replace(ALICE, environment=Environment("conda_env", f"/depot/cms/{value}"))
    command = cluster_config(testbed_site, request)["worker_cmd"]
    arrived = preflight.decoded(expanded(command[4], {"A": "wrong", "B": "wrong"}))
    assert arrived.path == f"/depot/cms/{value}"


@pytest.mark.weakness(3)
@pytest.mark.parametrize("is_worker", [True, False], ids=["worker", "scheduler"])
@pytest.mark.parametrize(
    "account",
    [
        Account("x", 0, 20000, ()),
        Account("x", 999, 20000, ()),
        Account("x", 20001, 0, ()),
        Account("x", 20001, 999, ()),
        Account("x", 20001, 20000, (21001, 4)),
        Account("x", 20001, 20000, (0,)),
    ],
)
def test_no_pod_is_made_for_a_system_account(testbed_site, account, is_worker):
    with pytest.raises(SystemAccountError):
        pod_of(testbed_site, dataclasses.replace(ALICE, account=account), is_worker=is_worker)


@pytest.mark.weakness(3)
def test_root_gets_no_pod_even_without_bounds(testbed_site):
    controller = FacilityKubeController(gateway_instance="k8s")
    for account in (Account("x", 0, 20000, ()), Account("x", 20001, 0, ())):
        config = KubeClusterConfig(**cluster_config(testbed_site, dataclasses.replace(ALICE, account=account)))
        with pytest.raises(SystemAccountError):
            controller.make_pod("cms", "c1", FrozenAttrDict(config.to_dict()))


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


@pytest.mark.weakness(35)
@given(text=st.text(max_size=100))
def test_labels_are_valid(text):
    assert names.LABEL_VALUE.fullmatch(names.label_value(text))


@pytest.mark.weakness(35)
@given(texts=st.lists(st.text(max_size=100), min_size=2, max_size=2, unique=True))
def test_labels_differ_when_names_do(texts):
    first, second = texts
    assert names.label_value(first) != names.label_value(second)


def test_both_processes_watch_the_same_namespace_and_instance(testbed_site):
    backend = FacilityKubeBackend(config=api_config(testbed_site))
    controller = FacilityKubeController(config=controller_config(testbed_site))
    assert backend.namespace == controller.namespace == "cms"
    assert backend.gateway_instance == controller.gateway_instance == "dask-gateway-k8s"
    assert backend.api_url == controller.api_url == "http://api-dask-gateway-k8s.cms:8000/api"


def test_all_informers_are_namespaced(testbed_site):
    controller = FacilityKubeController(config=controller_config(testbed_site))
    controller.core_client = controller.custom_client = None
    for informer in controller._make_informers().values():
        assert informer.method.startswith("list_namespaced_")
        assert "endpoints" not in informer.method, "Kubernetes is about to give them up"
        assert informer.method_kwargs["namespace"] == "cms"


def test_a_failed_cluster_tells_why():
    failed = FailedCluster(SimpleNamespace(name="cms.c1", username="alice"), "no pixi.toml")
    assert (failed.name, failed.username) == ("cms.c1", "alice")
    with pytest.raises(web.HTTPConflict) as caught:
        failed.to_dict()
    assert caught.value.reason == "no pixi.toml"


class ConfigMaps:
    """A ConfigMap that others change before each of the first changes of ours."""

    def __init__(self, holders, *, changes=0, status=409):
        self.data, self.version, self._changes, self._status = dict(holders) or None, 1, changes, status

    async def read_namespaced_config_map(self, name, namespace):
        assert (name, namespace) == ("pool-holders-k8s", "cms")
        metadata = SimpleNamespace(resource_version=str(self.version))
        return SimpleNamespace(data=pickle.loads(pickle.dumps(self.data)), metadata=metadata)

    async def patch_namespaced_config_map(self, name, namespace, change, _content_type):
        assert (name, namespace, _content_type) == ("pool-holders-k8s", "cms", "application/merge-patch+json")
        if self._changes:
            self._changes -= 1
            self.version += 1
            self.data = {**(self.data or {}), str(40000 + self.version): f"other{self.version}-fnal"}
        if change["metadata"]["resourceVersion"] != str(self.version):
            raise ApiException(status=self._status)
        self.version += 1
        self.data = {**(self.data or {}), **change["data"]}


@pytest.fixture
def without_pauses(monkeypatch):
    monkeypatch.setattr(kubernetes_pool, "PAUSE_SECONDS", 0)


def holders_in(config_maps):
    return ConfigMapHolders(config_maps, "pool-holders-k8s", "cms")


@pytest.mark.weakness(14)
async def test_who_names_an_account_first_keeps_it():
    config_maps = ConfigMaps({})
    for _ in range(2):
        await holders_in(config_maps).hold(30002, "erin-fnal")
    assert config_maps.data == {"30002": "erin-fnal"}
    with pytest.raises(Refusal, match="held by another user"):
        await holders_in(config_maps).hold(30002, "frank-fnal")
    with pytest.raises(Refusal, match="You hold another account"):
        await holders_in(config_maps).hold(30003, "erin-fnal")
    assert config_maps.data == {"30002": "erin-fnal"}


@pytest.mark.weakness(14)
async def test_changes_of_others_are_not_overwritten(without_pauses):
    config_maps = ConfigMaps({"30001": "dave-cern"}, changes=2)
    await holders_in(config_maps).hold(30002, "erin-fnal")
    assert {"30001": "dave-cern", "30002": "erin-fnal"}.items() <= config_maps.data.items()
    assert len(config_maps.data) == 4


@pytest.mark.weakness(14)
async def test_an_account_that_somebody_got_meanwhile_is_refused(without_pauses):
    config_maps = ConfigMaps({}, changes=1)
    with pytest.raises(Refusal, match="held by another user"):
        await holders_in(config_maps).hold(40002, "erin-fnal")


async def test_changes_without_end_are_given_up(without_pauses):
    with pytest.raises(Refusal, match="try again"):
        await holders_in(ConfigMaps({}, changes=1000)).hold(30002, "erin-fnal")


async def test_other_faults_of_kubernetes_are_no_conflict():
    with pytest.raises(ApiException):
        await holders_in(ConfigMaps({}, changes=1, status=403)).hold(30002, "erin-fnal")


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
