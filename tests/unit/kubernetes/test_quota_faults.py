"""What users read when a ResourceQuota keeps their cluster from being created."""

import json

import pytest
from kubernetes_asyncio.client.rest import ApiException

from gateway.errors import Refusal
from gateway.kubernetes.api import quota_faults


def fault(status, message):
    error = ApiException(status=status, reason="Forbidden")
    error.body = json.dumps({"message": message})
    return error


@pytest.mark.parametrize(
    ("message", "words"),
    [
        ('daskclusters "c1" is forbidden: exceeded quota: dask-gateway-k8s, requested: count=1', "as many clusters"),
        ('daskclusters "c1" is forbidden: status unknown for quota: dask-gateway-k8s', "try again in 5 minutes"),
    ],
)
def test_a_quota_is_explained(message, words):
    with pytest.raises(Refusal, match=words), quota_faults.refused():
        raise fault(403, message)


@pytest.mark.parametrize(("status", "message"), [(403, "no rights"), (409, "exceeded quota")])
def test_another_fault_stays_as_it_is(status, message):
    with pytest.raises(ApiException), quota_faults.refused():
        raise fault(status, message)
