"""Where a running gateway finds its site and its secrets."""

import functools
import os
from pathlib import Path

from gateway import site

SITE_VARIABLE = "AF_SITE"
DEFAULT_SITE = "/etc/dask-gateway/site.yaml"
HUB_TOKEN_VARIABLE = "AF_HUB_TOKEN_FILE"  # noqa: S105 - the name of a variable that names a file
DEFAULT_HUB_TOKEN = "/etc/dask-gateway-secrets/hub-token"  # noqa: S105 - a path


@functools.cache
def current_site() -> site.Site:
    """The site that this process serves. Raises :class:`gateway.site.SiteError`."""
    return site.load(Path(os.environ.get(SITE_VARIABLE, DEFAULT_SITE)))


def hub_token() -> str:
    """The gateway's own JupyterHub API token. Raises ``OSError`` when its file can't be read."""
    return Path(os.environ.get(HUB_TOKEN_VARIABLE, DEFAULT_HUB_TOKEN)).read_text().strip()
