"""Certificates at the Ingresses, and the authorities that the gateway trusts."""

import pytest

from gateway.site import Backend
from infra.stack_settings import StackSettings
from tests.infra.queries import pods, traefik_configuration
from tests.infra.recorder import render
from tests.infra.samples import settings_of
from tests.unit.sites import HOST_CERTIFICATE, with_tls

pytestmark = pytest.mark.finding("R7")

HOST = "dask-gateway-k8s.geddes.rcac.purdue.edu"
SLURM_HOST = "dask-gateway-k8s-slurm.geddes.rcac.purdue.edu"
ISSUER = "cert-manager.io/cluster-issuer"


@pytest.fixture(scope="module")
def secured(geddes_site):
    """The objects of a site whose gateways both have certificates, of both kinds."""
    kubernetes = {"ingress_annotations": {"nginx.ingress.kubernetes.io/ssl-redirect": "false"}}
    slurm = {
        "secret_name": None,
        "cluster_issuer": "rcac",
        "host_certificate": HOST_CERTIFICATE,
        "service_annotations": {"traefik.ingress.kubernetes.io/service.serversscheme": "https"},
    }
    site = with_tls(with_tls(geddes_site, Backend.KUBERNETES, **kubernetes), Backend.SLURM, **slurm)
    return render(settings_of(site))


def test_an_ingress_names_an_existing_secret_or_the_one_of_cert_manager(secured):
    own = secured.get("Ingress", "dask-gateway-k8s")
    assert own["spec"]["tls"] == [{"hosts": [HOST], "secretName": "of-the-gateway"}]
    assert own["metadata"]["annotations"]["nginx.ingress.kubernetes.io/ssl-redirect"] == "false"
    assert ISSUER not in own["metadata"]["annotations"]
    front = secured.get("Ingress", "dask-gateway-k8s-slurm")
    (entry,) = front["spec"]["tls"]
    assert entry == {"hosts": [SLURM_HOST], "secretName": "ingress-certificate-dask-gateway-k8s-slurm"}
    assert front["metadata"]["annotations"][ISSUER] == "rcac"


def test_the_service_says_how_the_ingress_reaches_the_submission_host(secured):
    annotations = secured.get("Service", "ingress-dask-gateway-k8s-slurm")["metadata"]["annotations"]
    assert annotations["traefik.ingress.kubernetes.io/service.serversscheme"] == "https"


def test_plain_requests_for_dashboards_reach_the_api_server(secured, geddes):
    routers = traefik_configuration(secured)["http"]["routers"]
    plain = routers.pop("plain-dashboards")
    assert plain.pop("rule") == "PathPrefix(`/clusters/`) && HeaderRegexp(`X-Forwarded-Proto`, `^(http|ws)$`)"
    assert plain.pop("priority") == 1000
    (api,) = routers.values()
    assert api == {"rule": "PathPrefix(`/`)", **plain}
    assert traefik_configuration(geddes)["http"]["routers"] == routers


def test_traefik_takes_the_scheme_from_the_ingress(secured):
    (container,) = pods(secured)["traefik-dask-gateway-k8s"]["containers"]
    assert "--entrypoints.web.forwardedheaders.trustedips=10.1.0.0/16" in container["args"]


def test_a_site_without_certificates_has_plain_ingresses(geddes):
    for found in geddes.of_kind("Ingress").values():
        assert "tls" not in found["spec"]


@pytest.mark.parametrize("shared", [True, False])
def test_the_gateway_gets_the_hubs_authority_beside_the_directorys(testbed_site, shared):
    data = testbed_site.model_dump(mode="json")
    directory = data["identity"]["directory"]["ca_file"]
    data["identity"]["hub"]["ca_file"] = directory if shared else "/etc/dask-gateway-trust/hub-ca.crt"
    site = type(testbed_site).model_validate(data)
    stack = render(StackSettings(site, "token", "of the directory", None if shared else "of the hub"))
    expected = {"directory-ca.crt": "of the directory"} | ({} if shared else {"hub-ca.crt": "of the hub"})
    assert stack.get("ConfigMap", "trust-dask-gateway-k8s")["data"] == expected
