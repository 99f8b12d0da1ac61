"""The pods of users' clusters, as upstream's controller makes them of our configuration."""

import dataclasses

import pytest
from dask_gateway_server.backends.kubernetes.backend import KubeClusterConfig
from dask_gateway_server.utils import FrozenAttrDict
from hypothesis import given
from hypothesis import strategies as st

from gateway.as_user import preflight
from gateway.identity.accounts import Account
from gateway.kubernetes import names
from gateway.kubernetes.controller.controller import FacilityKubeController
from gateway.kubernetes.controller.start_errors import SystemAccountError
from gateway.kubernetes.pod_paths import SCRATCH
from gateway.kubernetes.pods import cluster_config, plan_of
from gateway.request import environment_variables
from gateway.request.environments import Environment
from tests.unit.kubernetes.pod_samples import container_of, pod_of
from tests.unit.kubernetes.samples import ALICE, DAVE


def mounts_of(site, request):
    """Return the mounts of storage: path -> whether it is read-only."""
    container = container_of(site, request, is_worker=True)
    return {
        mount["mountPath"]: mount["readOnly"]
        for mount in container["volumeMounts"]
        if mount["name"].startswith("storage-")
    }


def expanded(text, variables):
    """Expand references in an argument as Kubernetes' documentation tells it."""
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
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "readOnlyRootFilesystem": True,
    }
    assert pod["serviceAccountName"] == "clusters-dask-gateway-k8s"


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


@pytest.mark.weakness(13)
@pytest.mark.parametrize("is_worker", [True, False], ids=["worker", "scheduler"])
def test_users_pods_see_storage_and_secrets_of_their_own_only(testbed_site, is_worker):
    volumes = pod_of(testbed_site, ALICE, is_worker=is_worker)["spec"]["volumes"]
    others = [volume for volume in volumes if not volume["name"].startswith("storage-")]
    assert others == [
        {"name": "dask-credentials", "secret": {"secretName": "dask-credentials-c1"}},
        {"name": "scratch", "emptyDir": {"sizeLimit": "10737418240"}},
        {"name": "tmp", "emptyDir": {"sizeLimit": "10737418240"}},
        {"name": "variables", "secret": {"secretName": "dask-variables-c1"}},
    ]


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
            controller.make_pod("cms-dask", "c1", FrozenAttrDict(config.to_dict()))


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
    assert labels[names.UID_LABEL] == "30001"
    assert labels["app.kubernetes.io/instance"] == testbed_site.kubernetes.release


@pytest.mark.parametrize("is_worker", [True, False], ids=["worker", "scheduler"])
def test_the_kubelet_bounds_time_and_disk_of_a_pod(testbed_site, is_worker):
    spec = pod_of(testbed_site, ALICE, is_worker=is_worker)["spec"]
    (container,) = spec["containers"]
    assert spec["activeDeadlineSeconds"] > testbed_site.kubernetes.timeouts.lifetime_seconds
    assert container["resources"]["requests"]["ephemeral-storage"] == "0"
    assert container["resources"]["limits"]["ephemeral-storage"] == str(10 * 2**30)
    assert container["resources"]["limits"]["memory"]


def test_a_site_may_choose_priority_and_groups(testbed_site):
    assert "priorityClassName" not in pod_of(testbed_site, ALICE, is_worker=True)["spec"]
    chosen = {"priority_class": "users", "supplemental_groups_policy": "Strict"}
    user_pods = testbed_site.kubernetes.user_pods.model_copy(update=chosen)
    gateway = testbed_site.kubernetes.model_copy(update={"user_pods": user_pods})
    spec = pod_of(testbed_site.model_copy(update={"kubernetes": gateway}), ALICE, is_worker=True)["spec"]
    assert spec["priorityClassName"] == "users"
    assert spec["securityContext"]["supplementalGroupsPolicy"] == "Strict"
