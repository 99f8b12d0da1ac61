"""The paths that a gateway's processes and their deployment share: the site file, the hub's token, the metrics.

Pulumi (``infra/``) mounts the files at these paths and tells Prometheus the path of the metrics.
"""

import functools
import os
from pathlib import Path

from gateway import site

SITE_VARIABLE = "AF_SITE"
DEFAULT_SITE = "/etc/dask-gateway/site.yaml"
HUB_TOKEN_VARIABLE = "AF_HUB_TOKEN_FILE"  # noqa: S105 - the name of a variable that names a file
DEFAULT_HUB_TOKEN = "/etc/dask-gateway-secrets/hub-token"  # noqa: S105 - a path
METRICS_PATH = "/metrics"
"""The HTTP path of every process' metrics."""
DASHBOARD_AUTHORIZE_PATH = "/dashboards/authorize"
"""The HTTP path at which Traefik asks a gateway whether a visitor may see a dashboard."""
DASHBOARD_CALLBACK_PATH = "/dashboards/callback"
"""The HTTP path to which JupyterHub sends a browser after a login."""


@functools.cache
def current_site() -> site.Site:
    """Return the site that this process serves. Raises :class:`gateway.site.SiteError` when its file is not valid."""
    return site.load(Path(os.environ.get(SITE_VARIABLE, DEFAULT_SITE)))


def hub_token() -> str:
    """Return the gateway's own JupyterHub API token. Raises ``OSError`` when its file can't be read."""
    return Path(os.environ.get(HUB_TOKEN_VARIABLE, DEFAULT_HUB_TOKEN)).read_text().strip()
