"""A scheduler's HTTP server that answers requests of the gateway's proxy only, which knows a secret of the cluster.

Any user of a node of SLURM can connect to its ports, and so pass by the login before the dashboard. One file, standard
library only, for Python >= 3.8: it runs in the user's interpreter.
"""

import hmac
import os
from typing import Any

SECRET = "DASK_GATEWAY_DASHBOARD_SECRET"  # noqa: S105 - the name of a variable
"""Environment variable with the secret. Where it is missing, the network alone keeps other users away."""
HEADER = "X-Dask-Gateway-Dashboard"
"""The header in which the proxy sends the secret."""


def install() -> None:
    """Make distributed's HTTP servers refuse requests without the secret, if the cluster has one."""
    secret = os.environ.get(SECRET)
    if not secret:
        return
    from distributed.http.routing import RoutingApplication  # noqa: PLC0415 - the gateways don't have it
    from tornado.web import ErrorHandler  # noqa: PLC0415

    find_handler = RoutingApplication.find_handler

    def find_guarded(self: Any, request: Any, **options: Any) -> Any:
        if is_same(request.headers.get(HEADER, ""), secret):
            return find_handler(self, request, **options)
        return self.get_handler_delegate(request, ErrorHandler, {"status_code": 403})

    RoutingApplication.find_handler = find_guarded


def is_same(given: str, secret: str) -> bool:
    """Return whether a header has the secret, in a time that does not tell how much of it is right."""
    return hmac.compare_digest(given.encode(errors="replace"), secret.encode())
