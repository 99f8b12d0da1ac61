"""What Traefik does before a dashboard gets a request."""

import pytest

from gateway.kubernetes import names
from gateway.kubernetes.controller.configuration import controller_config


@pytest.fixture
def specs(manifests):
    return {name: manifest["spec"] for name, manifest in manifests.of_kind("Middleware").items()}


@pytest.mark.finding("R5")
def test_traefik_asks_the_api_server_and_believes_no_header_of_a_client(specs, any_site):
    gateway = any_site.kubernetes
    login = specs[names.dashboard_login_middleware_name(gateway.release)]["forwardAuth"]
    service = names.api_name(gateway.release)
    assert login["address"] == f"http://{service}:{gateway.proxied_api_port}/dashboards/authorize"
    assert login["trustForwardHeader"] is False
    assert "authResponseHeaders" not in login


@pytest.mark.finding("R5")
def test_no_credential_of_a_visitor_reaches_a_dashboard(specs, any_site):
    headers = specs[names.dashboard_headers_middleware_name(any_site.kubernetes.release)]["headers"]
    assert headers["customRequestHeaders"] == {"Authorization": "", "Cookie": ""}


@pytest.mark.finding("R5")
def test_each_dashboard_route_passes_the_login_first(specs, any_site):
    of_routes = [entry["name"] for entry in controller_config(any_site).KubeController.proxy_web_middlewares]
    assert set(of_routes) <= set(specs)
    assert "forwardAuth" in specs[of_routes[0]]
    assert "headers" in specs[of_routes[1]]
