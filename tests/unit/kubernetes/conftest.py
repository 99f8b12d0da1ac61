import json

import pytest
from kubernetes_asyncio import config

from tests.unit.kubernetes.world import World


@pytest.fixture
async def world(testbed_site):
    return World(testbed_site)


@pytest.fixture
def kubeconfig(monkeypatch, tmp_path):
    """Return a function that makes a server the API server of Kubernetes that this process finds."""

    def point_at(server):
        file = tmp_path / "kubeconfig"
        content = {
            "current-context": "cms",
            "contexts": [{"name": "cms", "context": {"cluster": "geddes", "user": "controller"}}],
            "clusters": [{"name": "geddes", "cluster": {"server": str(server.make_url("")).rstrip("/")}}],
            "users": [{"name": "controller", "user": {}}],
        }
        file.write_text(json.dumps(content))
        monkeypatch.setattr(config.kube_config, "KUBE_CONFIG_DEFAULT_LOCATION", str(file))

    return point_at
