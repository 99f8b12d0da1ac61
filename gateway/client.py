"""The configuration of users' Dask Gateway client, ``/etc/dask/gateway.yaml``, rendered from a site.

Run ``python -m gateway.client SITE_FILE`` to print it, for example while building the notebooks' image.
"""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import yaml

from gateway import site

HEADER = "# Rendered from the site file by gateway/client.py.\n"


def client_configuration(settings: site.Site) -> Mapping[str, object]:
    """What makes ``Gateway()`` without arguments reach the Kubernetes gateway, as whoever the JupyterHub token names.

    The SLURM gateway needs its two addresses as arguments (user guide, section 1), the authentication is the same.
    """
    kubernetes = settings.kubernetes
    return {
        "gateway": {
            "address": kubernetes.address,
            # As text: a number alone would mean a port of the address' own host.
            "proxy-address": f"{kubernetes.proxy_host}:{kubernetes.proxy_port}",
            "auth": {"type": "jupyterhub"},
        }
    }


def render(settings: site.Site) -> str:
    """The file's text."""
    return HEADER + yaml.safe_dump(client_configuration(settings), sort_keys=False)


def main(arguments: Sequence[str]) -> int:
    """Print the configuration of the site whose file is given; returns the exit code."""
    if len(arguments) != 1:
        sys.stderr.write("usage: python -m gateway.client SITE_FILE\n")
        return 2
    try:
        settings = site.load(Path(arguments[0]))
    except site.SiteError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    sys.stdout.write(render(settings))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
