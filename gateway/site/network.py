"""The section ``kubernetes.network``: where the gateway's pods and users' pods may connect to."""

import ipaddress
from collections.abc import Mapping
from typing import Annotated, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, model_validator

from gateway.site.types import Model, Name, Port

DEFAULT_PORTS = {"http": 80, "https": 443, "ldaps": 636}
"""Scheme of a URL -> its port when the URL names none."""


def _is_range(text: str) -> str:
    ipaddress.IPv4Network(text)
    return text


AddressRange = Annotated[
    str,
    Field(pattern=r"^\d{1,3}(\.\d{1,3}){3}/\d{1,2}$", description="IPv4 addresses as ADDRESS/BITS"),
    AfterValidator(_is_range),
]


class Pods(Model):
    """Pods of one namespace."""

    namespace: Name
    labels: Annotated[dict[str, str], Field(min_length=1)]
    """Labels that select these pods in the namespace. Pods of users in that namespace must not carry them."""


class Destination(Model):
    """Where a service listens. NetworkPolicies see a pod's own address and port, never those of its Service."""

    addresses: tuple[AddressRange, ...] = ()
    pods: Pods | None = None
    ports: Annotated[tuple[Port, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _is_somewhere(self) -> Self:
        if not self.addresses and self.pods is None:
            raise ValueError("addresses or pods are needed")
        return self


class Network(Model):
    """The connections that NetworkPolicies allow to pods. All others are refused."""

    kubernetes_api: Destination
    """The API server of Kubernetes: the gateway's own pods reach it, users' pods never do."""
    dns: Destination
    """The DNS of the Kubernetes cluster, by UDP and TCP."""
    hub: Destination | None = None
    """JupyterHub's API; needed unless ``host_aliases`` has the host of ``identity.hub.api_url``."""
    directory: Destination | None = None
    """The directory; needed unless ``host_aliases`` has the host of ``identity.directory.url``."""
    data_addresses: tuple[AddressRange, ...] = ()
    """Data servers at private addresses that users' pods may reach, on all ports. They reach the public Internet
    without an entry here."""
    closed_addresses: tuple[AddressRange, ...] = ()
    """Public addresses that users' pods may not reach: the facility's own machines."""


def destination(key: str, url: str, listed: Destination | None, aliases: Mapping[str, str]) -> Destination:
    """Return where the service of a URL listens: as the site lists it under ``key``, else at its host alias.

    Raises ``ValueError`` when neither is known.
    """
    if listed is not None:
        return listed
    parts = urlsplit(url)
    address = aliases.get(parts.hostname or "")
    if address is None:
        raise ValueError(f"kubernetes.network.{key} is needed, because kubernetes.host_aliases lacks the host of {url}")
    return Destination(addresses=(f"{address}/32",), ports=(parts.port or DEFAULT_PORTS[parts.scheme],))
