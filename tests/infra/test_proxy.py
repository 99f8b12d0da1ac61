"""Traefik: its arguments, certificate, routes and rights."""

from ipaddress import ip_network

import pytest

from gateway.kubernetes import names
from infra import proxy_file
from tests.infra.queries import pods, read_by_traefik, rules, traefik_configuration
from tests.infra.recorder import render
from tests.infra.samples import settings_of


def test_both_throttles_are_off(manifests):
    (container,) = pods(manifests)["traefik-dask-gateway-k8s"]["containers"]
    assert "--providers.kubernetescrd.throttleduration=0" in container["args"]
    assert "--providers.providersthrottleduration=0s" in container["args"]


def test_connections_to_schedulers_outlive_it(manifests, any_site):
    """A client that loses its connection cancels all of its futures; no connection is older than its cluster."""
    lifetime = any_site.kubernetes.timeouts.lifetime_seconds
    pod = pods(manifests)["traefik-dask-gateway-k8s"]
    (container,) = pod["containers"]
    assert f"--entrypoints.scheduler.transport.lifecycle.gracetimeout={lifetime}s" in container["args"]
    assert pod["terminationGracePeriodSeconds"] > lifetime


@pytest.mark.weakness(15)
@pytest.mark.finding("R6")
def test_looks_at_nothing_outside_of_the_clusters_namespace(manifests, any_site):
    (container,) = pods(manifests)["traefik-dask-gateway-k8s"]["containers"]
    assert f"--providers.kubernetescrd.namespaces={any_site.kubernetes.clusters_namespace}" in container["args"]
    assert "--providers.kubernetescrd.disableclusterscoperesources=true" in container["args"]


def test_sees_our_own_routes(manifests, any_site):
    ours = [*manifests.of_kind("IngressRoute").values(), *manifests.of_kind("Middleware").values()]
    assert len(ours) == 4
    for manifest in ours:
        assert manifest["metadata"]["labels"]["gateway.dask.org/instance"] == any_site.kubernetes.release


@pytest.mark.finding("R4g")
def test_the_api_is_behind_the_rate_limit_at_its_port_for_proxies(manifests, any_site):
    gateway = any_site.kubernetes
    http = traefik_configuration(manifests)["http"]
    router = http["routers"][proxy_file.API]
    assert (router["rule"], router["entryPoints"]) == ("PathPrefix(`/`)", ["web"])
    (server,) = http["services"][router["service"]]["loadBalancer"]["servers"]
    service = manifests.get("Service", names.api_name(gateway.release))
    assert service["metadata"]["namespace"] == gateway.namespace
    assert server["url"] == f"http://{service['metadata']['name']}:{gateway.proxied_api_port}"
    (middleware,) = router["middlewares"]
    limit = http["middlewares"][middleware]["rateLimit"]
    assert (limit["average"], limit["burst"]) == (gateway.rate_limit.requests_per_second, gateway.rate_limit.burst)


def test_a_changed_rate_limit_restarts_traefik_which_reads_it_once(testbed_site, testbed):
    limit = testbed_site.kubernetes.rate_limit.model_copy(update={"burst": 7})
    kubernetes = testbed_site.kubernetes.model_copy(update={"rate_limit": limit})
    after = render(settings_of(testbed_site.model_copy(update={"kubernetes": kubernetes})))
    assert traefik_configuration(after) != traefik_configuration(testbed)
    templates = [
        stack.get("Deployment", "traefik-dask-gateway-k8s")["spec"]["template"]["metadata"]["annotations"]
        for stack in (testbed, after)
    ]
    assert templates[0] != templates[1]


def test_traefik_believes_the_proxies_that_the_site_trusts(testbed_site):
    kubernetes = testbed_site.kubernetes.model_copy(update={"trusted_proxies": (ip_network("10.1.0.0/16"),)})
    settings = settings_of(testbed_site.model_copy(update={"kubernetes": kubernetes}))
    stack = render(settings)
    (container,) = pods(stack)["traefik-dask-gateway-k8s"]["containers"]
    assert "--entrypoints.web.forwardedheaders.trustedips=10.1.0.0/16" in container["args"]
    limit = traefik_configuration(stack)["http"]["middlewares"]["rate-limit"]["rateLimit"]
    assert limit["sourceCriterion"] == {"ipStrategy": {"depth": 1}}


def test_traefik_makes_no_certificate_itself(manifests):
    files = traefik_configuration(manifests)["tls"]["stores"]["default"]["defaultCertificate"].values()
    assert [read_by_traefik(manifests, path)[:11] for path in files] == [b"-----BEGIN "] * 2


def test_rights_of_traefik_are_reading_only(testbed):
    assert {verb for _, _, verb in rules(testbed, "traefik-dask-gateway-k8s-clusters")} == {"list", "watch"}
