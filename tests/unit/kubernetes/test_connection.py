"""The connection to Kubernetes' API server, as a kubeconfig names it, and the errors of Kubernetes."""

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from kubernetes_asyncio import client, config
from kubernetes_asyncio.client.rest import ApiException

from gateway.kubernetes import connection
from gateway.kubernetes.connection import message_of
from tests.unit.kubernetes.world import conflict


@pytest.fixture
async def asked(monkeypatch, tmp_path, kubeconfig):
    """Return the Authorization headers that an API server got, from a process whose environment has a ~/.netrc."""
    headers = []

    async def answer(request):
        headers.append(request.headers.get("Authorization"))
        return web.json_response({"kind": "PodList", "items": []})

    application = web.Application()
    application.router.add_get("/api/v1/namespaces/cms/pods", answer)
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login alice password f3b1c0ffee\n")
    monkeypatch.setenv("NETRC", str(netrc))
    async with TestServer(application) as server:
        kubeconfig(server)
        yield headers


async def stock_client():
    await config.load_kube_config()
    return client.ApiClient()


@pytest.mark.parametrize(
    ("open_client", "is_read"),
    [
        pytest.param(connection.open_client, False, id="ours"),
        pytest.param(stock_client, True, id="stock"),
    ],
)
async def test_the_environment_is_not_asked_for_credentials(open_client, is_read, asked):
    async with await open_client() as api_client:
        pods = await client.CoreV1Api(api_client).list_namespaced_pod("cms")
    assert pods.items == []
    assert [header is not None for header in asked] == [is_read]


def test_errors_of_kubernetes_are_told_in_its_words():
    assert message_of(conflict("Conflict")) == "the object has been modified"
    assert message_of(ApiException(status=500, reason="Oops")) == "500 Oops"
