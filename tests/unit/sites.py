"""Sites with certificates, which no committed site has everywhere."""

from typing import Any

from gateway.site import Backend, Site

CERTIFICATE, KEY = "/etc/dask-gateway-proxy/tls.crt", "/etc/dask-gateway-proxy/tls.key"
HOST_CERTIFICATE = {"certificate_file": CERTIFICATE, "key_file": KEY}


def with_tls(site: Site, backend: Backend, *, trusted: tuple[str, ...] = ("10.1.0.0/16",), **tls: Any) -> Site:
    """Return the site with a section ``tls`` of a gateway, and the https address that goes with it."""
    data = site.model_dump(mode="json")
    section = data[backend.value]
    section["address"] = section["address"].replace("http://", "https://")
    section.update(trusted_proxies=list(trusted), tls={"secret_name": "of-the-gateway", **tls})
    if backend is Backend.SLURM:
        section["ingress_port"] = 8001 if trusted else None
    return Site.model_validate(data)
