"""What a client reads of a cluster that did not start."""

from types import SimpleNamespace

import pytest
from aiohttp import web

from gateway.service.backend import FailedCluster


def test_a_failed_cluster_tells_why():
    failed = FailedCluster(SimpleNamespace(name="cms.c1", username="alice"), "no pixi.toml")
    assert (failed.name, failed.username) == ("cms.c1", "alice")
    with pytest.raises(web.HTTPConflict) as caught:
        failed.to_dict()
    assert caught.value.reason == "no pixi.toml"
