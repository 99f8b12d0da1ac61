"""The Secret with a user's variables and passwd file, and how pods see it."""

import json

import pytest

from gateway.kubernetes.pod_paths import SCRATCH, VARIABLES
from gateway.kubernetes.pods import cluster_config, plan_of
from gateway.kubernetes.variables_secret import PASSWD_KEY, VARIABLES_KEY, secret_content
from tests.unit.kubernetes.pod_samples import pod_of
from tests.unit.kubernetes.samples import ALICE, CANARY


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


@pytest.mark.weakness(33)
def test_no_value_is_in_cluster_or_pod(testbed_site):
    assert CANARY.encode() in secret_content(ALICE)[VARIABLES_KEY]
    assert CANARY not in json.dumps(cluster_config(testbed_site, ALICE))
    for is_worker in (True, False):
        assert CANARY not in json.dumps(pod_of(testbed_site, ALICE, is_worker=is_worker))
