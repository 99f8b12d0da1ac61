"""The secrets by which schedulers know the gateway's proxy (:mod:`gateway.as_user.dashboard_guard`)."""

import functools
import hmac

from gateway import settings
from gateway.service.dashboards import signing

KEY_LABEL = b"dask-gateway: secrets of dashboards"


def secret_of(cluster: str) -> str:
    """Return the secret of a cluster's dashboard, which follows from the gateway's API token of the hub.

    After a restart the gateway gives the same one. Raises ``OSError`` when the token can't be read.
    """
    return hmac.digest(_key(), cluster.encode(), "sha256").hex()


@functools.cache
def _key() -> bytes:
    return signing.derived_key(settings.hub_token(), KEY_LABEL)
