"""Conflicts, as the controller's client tells them apart."""

import pytest
from kubernetes_asyncio.client.rest import ApiException

from gateway.kubernetes.controller.client import StrictClient
from tests.unit.kubernetes.world import Kubernetes, Unlimited, conflict


@pytest.mark.parametrize(("reason", "status"), [("AlreadyExists", 409), ("Conflict", 503), (None, 503)])
async def test_only_what_exists_is_a_conflict(reason, status):
    """Upstream takes each conflict for an object that exists, and never creates a refused scheduler."""
    kubernetes = Kubernetes()
    client = StrictClient(kubernetes, Unlimited())
    kubernetes.refusals.append(conflict(reason))
    with pytest.raises(ApiException) as caught:
        await client.create_namespaced_pod("cms", {"metadata": {"name": "x"}})
    assert caught.value.status == status
