"""The holders of pool accounts in a ConfigMap that several replicas of the API server change."""

import pickle
from types import SimpleNamespace

import pytest
from kubernetes_asyncio.client.rest import ApiException

from gateway.errors import Refusal
from gateway.kubernetes.api import pool_holders
from gateway.kubernetes.api.pool_holders import ConfigMapHolders


class ConfigMaps:
    """A ConfigMap that other replicas change before each of our first changes."""

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
    monkeypatch.setattr(pool_holders, "PAUSE_SECONDS", 0)


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
