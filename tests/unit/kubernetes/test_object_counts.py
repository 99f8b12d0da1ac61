"""Bounds on the number of objects: what users read when one is reached."""

import json
from types import SimpleNamespace

import pytest
from kubernetes_asyncio.client.rest import ApiException

from gateway.errors import Refusal
from gateway.kubernetes.api import quota_faults
from gateway.kubernetes.api.backend import FacilityKubeBackend


def forbidden(message):
    error = ApiException(status=403, reason="Forbidden")
    error.body = json.dumps({"message": message})
    return error


def test_a_used_up_quota_is_explained():
    with pytest.raises(Refusal, match="as many clusters of all users as it may"), quota_faults.refused():
        raise forbidden('daskclusters "x" is forbidden: exceeded quota: dask-gateway-k8s')


def test_another_refusal_of_kubernetes_is_none_of_the_quota():
    with pytest.raises(ApiException), quota_faults.refused():
        raise forbidden('User "x" cannot create resource "daskclusters"')


@pytest.mark.finding("R4f")
@pytest.mark.parametrize("spare", [1, 0])
def test_a_user_has_a_bounded_number_of_records(testbed_site, spare):
    most = testbed_site.kubernetes.quota.clusters_of_user
    backend = SimpleNamespace(site=testbed_site, username_to_clusters={"alice": dict.fromkeys(range(most - spare))})
    if spare:
        FacilityKubeBackend._check_records(backend, "alice")
    else:
        with pytest.raises(Refusal, match=f"started {most} clusters"):
            FacilityKubeBackend._check_records(backend, "alice")
