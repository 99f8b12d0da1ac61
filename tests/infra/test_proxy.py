"""Traefik: its arguments, certificate, routes and rights."""

from base64 import b64decode
from ipaddress import ip_network

import pytest
import yaml

from tests.infra.queries import pods, rules
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
def test_looks_at_nothing_outside_of_the_namespace(manifests, any_site):
    (container,) = pods(manifests)["traefik-dask-gateway-k8s"]["containers"]
    assert f"--providers.kubernetescrd.namespaces={any_site.kubernetes.namespace}" in container["args"]
    assert "--providers.kubernetescrd.disableclusterscoperesources=true" in container["args"]


def test_sees_our_own_routes(manifests, any_site):
    ours = [*manifests.of_kind("IngressRoute").values(), *manifests.of_kind("Middleware").values()]
    assert len(ours) == 6
    for manifest in ours:
        assert manifest["metadata"]["labels"]["gateway.dask.org/instance"] == any_site.kubernetes.release


@pytest.mark.finding("R4g")
def test_the_api_is_behind_the_rate_limit_at_its_port_for_proxies(manifests, any_site):
    gateway = any_site.kubernetes
    (route,) = manifests.get("IngressRoute", f"api-{gateway.release}")["spec"]["routes"]
    assert [service["port"] for service in route["services"]] == [gateway.proxied_api_port]
    (middleware,) = route["middlewares"]
    limit = manifests.get("Middleware", middleware["name"])["spec"]["rateLimit"]
    assert limit == {"average": gateway.rate_limit.requests_per_second, "burst": gateway.rate_limit.burst}


def test_traefik_believes_the_proxies_that_the_site_trusts(testbed_site):
    kubernetes = testbed_site.kubernetes.model_copy(update={"trusted_proxies": (ip_network("10.1.0.0/16"),)})
    settings = settings_of(testbed_site.model_copy(update={"kubernetes": kubernetes}))
    stack = render(settings)
    (container,) = pods(stack)["traefik-dask-gateway-k8s"]["containers"]
    assert "--entrypoints.web.forwardedheaders.trustedips=10.1.0.0/16" in container["args"]
    limit = stack.get("Middleware", "rate-limit-dask-gateway-k8s")["spec"]["rateLimit"]
    assert limit["sourceCriterion"] == {"ipStrategy": {"depth": 1}}


def test_traefik_makes_no_certificate_itself(manifests, any_site):
    release = any_site.kubernetes.release
    content = manifests.get("Secret", f"certificate-traefik-{release}")["data"]
    (container,) = pods(manifests)[f"traefik-{release}"]["containers"]
    (mount,) = [mount for mount in container["volumeMounts"] if mount["name"] == "certificate"]
    (file,) = [text.partition("=")[2] for text in container["args"] if text.startswith("--providers.file.filename")]
    directory, _, name = file.rpartition("/")
    assert directory == mount["mountPath"]
    stores = yaml.safe_load(b64decode(content[name]))["tls"]["stores"]
    files = [path.rpartition("/") for path in stores["default"]["defaultCertificate"].values()]
    assert [(place, b64decode(content[name])[:11]) for place, _, name in files] == [(directory, b"-----BEGIN ")] * 2


def test_rights_of_traefik_are_reading_only(testbed):
    assert {verb for _, _, verb in rules(testbed, "traefik-dask-gateway-k8s")} == {"list", "watch"}
