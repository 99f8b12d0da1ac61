"""The sections ``tls`` of both gateways: their certificates, and who may still use plain HTTP."""

from typing import Annotated, Self

from pydantic import Field, model_validator

from gateway.site.types import AbsolutePath, IpNetwork, Model, Name

Annotations = Annotated[dict[str, str], Field(description="annotations of a Kubernetes object")]


class Tls(Model):
    """The certificate of a gateway's address at the Ingress, and the networks that may use plain HTTP beside it."""

    secret_name: Name | None = None
    """An existing Secret (kubernetes.io/tls) in the gateway's namespace."""
    cluster_issuer: Name | None = None
    """The ClusterIssuer of cert-manager that makes the certificate, in place of :attr:`secret_name`."""
    ingress_annotations: Annotations = Field(default={})
    """Annotations for the ingress controller. The controller must not redirect requests to https itself: clients lose
    their token on such a redirect. ingress-nginx needs ``nginx.ingress.kubernetes.io/ssl-redirect: "false"``."""
    plain_http_networks: tuple[IpNetwork, ...] = ()
    """Networks whose programs may go on using the http address, where their tokens can be read on the way."""

    @model_validator(mode="after")
    def _has_one_certificate(self) -> Self:
        if (self.secret_name is None) == (self.cluster_issuer is None):
            raise ValueError("one of secret_name and cluster_issuer is needed")
        return self


class HostCertificate(Model):
    """The certificate with which the proxy on the submission host answers, for both names of clients and its own."""

    certificate_file: AbsolutePath
    """Certificate chain (PEM) on the submission host; Ansible copies it there."""
    key_file: AbsolutePath
    """Private key (PEM), which the proxy's account alone can read."""


class SlurmTls(Tls):
    """The certificates of the SLURM gateway: at the Ingress, and on the submission host."""

    host_certificate: HostCertificate | None = None
    """When absent, the submission host speaks plain HTTP, also to the Ingress."""
    service_annotations: Annotations = Field(default={})
    """Annotations by which the ingress controller uses TLS on its way to the submission host, for controllers that read
    them from the Service (Traefik)."""
