"""Render the configuration of the dask-gateway client, ``/etc/dask/gateway.yaml``, from a site.

Run ``python -m gateway.client SITE_FILE`` to print it, for example while building the image of the notebooks.
"""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import yaml

from gateway import site

HEADER = "# Rendered from the site file by gateway/client.py.\n"


def client_configuration(settings: site.Site) -> Mapping[str, object]:
    """Return the settings with which ``Gateway()`` without arguments reaches the Kubernetes gateway.

    The JupyterHub token of the notebook names the user. The SLURM gateway needs its two addresses as arguments (user
    guide, section 1); the authentication is the same.
    """
    kubernetes = settings.kubernetes
    return {
        "gateway": {
            "address": kubernetes.address,
            # Text with a host: the client takes a number alone as a port on the host of the address.
            "proxy-address": f"{kubernetes.proxy_host}:{kubernetes.proxy_port}",
            "auth": {"type": "jupyterhub"},
        }
    }


def render(settings: site.Site) -> str:
    """Return the text of the file."""
    return HEADER + yaml.safe_dump(client_configuration(settings), sort_keys=False)


def main(arguments: Sequence[str]) -> int:
    """Print the configuration for the given site file, and return the exit code."""
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
