"""A site's certificates fit its addresses."""

import pytest
from pydantic import ValidationError

from gateway.client import client_configuration
from gateway.site import Backend, Site
from tests.unit.sites import HOST_CERTIFICATE, with_tls

pytestmark = pytest.mark.finding("R7")


@pytest.mark.parametrize("backend", Backend)
def test_a_gateway_with_tls_has_an_https_address(testbed_site, backend):
    secured = with_tls(testbed_site, backend)
    assert secured.gateway(backend).host == testbed_site.gateway(backend).host
    data = secured.model_dump(mode="json")
    with pytest.raises(ValidationError, match="the gateway has no tls: begin it with http://"):
        Site.model_validate({**data, backend.value: {**data[backend.value], "tls": None}})
    plain = data[backend.value]["address"].replace("https", "http")
    with pytest.raises(ValidationError, match="the gateway has tls: begin it with https://"):
        Site.model_validate({**data, backend.value: {**data[backend.value], "address": plain}})


def test_the_clients_file_has_the_https_address(testbed_site):
    found = client_configuration(with_tls(testbed_site, Backend.KUBERNETES))
    assert found["gateway"]["address"] == "https://dask-gateway-k8s.geddes.rcac.purdue.edu"


@pytest.mark.parametrize(
    ("tls", "message"),
    [
        ({"cluster_issuer": "rcac"}, "one of secret_name and cluster_issuer is needed"),
        ({"secret_name": None}, "one of secret_name and cluster_issuer is needed"),
        ({"trusted": ()}, "tls needs trusted_proxies"),
        ({"host_certificate": HOST_CERTIFICATE}, "host_certificate"),
        ({"plain_http_networks": ["everybody"]}, "plain_http_networks"),
    ],
)
def test_faulty_sections_are_refused(testbed_site, tls, message):
    with pytest.raises(ValidationError, match=message):
        with_tls(testbed_site, Backend.KUBERNETES, **tls)


@pytest.mark.parametrize("missing", [{"trusted_proxies": []}, {"ingress_port": None}])
def test_believed_proxies_have_a_port_of_their_own(testbed_site, missing):
    data = testbed_site.model_dump(mode="json")
    data["slurm"].update(missing, tls=None, address="http://gateway.example")
    with pytest.raises(ValidationError, match="trusted_proxies and ingress_port need each other"):
        Site.model_validate(data)


def test_both_authorities_are_in_one_directory(testbed_site):
    data = testbed_site.model_dump(mode="json")
    data["identity"]["hub"]["ca_file"] = "/etc/elsewhere/hub-ca.crt"
    with pytest.raises(ValidationError, match=r"are in two directories: /etc/dask-gateway-trust/.*, /etc/elsewhere/"):
        Site.model_validate(data)
