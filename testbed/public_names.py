"""The public names of the gateways, as the user guide has them, and the address that they resolve to here.

Docker's resolver knows them inside of the testbed's containers. ``make hosts`` prints them for the machine itself.
"""

from collections.abc import Iterable

from gateway import site
from testbed.paths import SITE

ADDRESS = "172.30.0.10"
"""In the testbed's network: of the Kubernetes node, or of :mod:`testbed.front` where the SLURM half runs alone."""


def public_names(backends: Iterable[site.Backend] = tuple(site.Backend)) -> list[str]:
    """Return the names of the gateways of these back ends and of their proxies."""
    described = site.load(SITE)
    gateways = [described.gateway(backend) for backend in backends]
    return sorted({name for gateway in gateways for name in (gateway.host, gateway.proxy_host)})


def hosts_lines() -> list[str]:
    """Return lines for ``/etc/hosts`` that give the names of all gateways their address."""
    return [f"{ADDRESS} {name}" for name in public_names()]
