"""Proof that the user of a request is present: JupyterHub says that the request's token is the user's."""

import json
import re
from typing import Any

from gateway.slurm.launcher.requests import Limits, RequestError

TOKEN = re.compile(r"[\x21-\x7e]{1,1024}")
"""A token that fits into a header. A text outside it would come back in an error of ``http.client``."""
UNKNOWN_TOKEN = frozenset({401, 403, 404})
"""Statuses of the hub's answer to a token that it does not know, or whose user it does not know."""
HUB_SECONDS = 5.0
"""Timeout of the connection and of each read. The unit bounds their sum."""
MOST_BYTES = 2**16
"""Bound on the hub's answer."""


class HubFaultError(Exception):
    """The hub does not answer, or its answer is malformed."""


def check(limits: Limits, username: str, token: object) -> None:
    """Check that a token is the one of the user with this name.

    Raises :class:`RequestError` for any other token, and :class:`HubFaultError` when the hub does not tell.
    """
    if not isinstance(token, str) or not TOKEN.fullmatch(token):
        raise RequestError("the request lacks the user's token of JupyterHub")
    status, content = _asked(limits, token)
    if status in UNKNOWN_TOKEN:
        raise RequestError("JupyterHub does not know the request's token")
    if status != 200:
        raise HubFaultError(f"JupyterHub answers {status}")
    user = _parsed(content)
    # A user's name could look like that of a service.
    if (user.get("kind"), user.get("name")) != ("user", username):
        raise RequestError(f"the request's token is not the one of {username!r}")


def _asked(limits: Limits, token: str) -> tuple[int, bytes]:
    """Return status and content of the hub's answer to the question whose token it is."""
    # Importing http.client costs more than the rest of an action that needs no token.
    import http.client  # noqa: PLC0415
    from urllib.parse import urlsplit  # noqa: PLC0415

    url = urlsplit(limits.hub_api_url)
    try:
        connection = _connection(limits, url.scheme, url.netloc)
        try:
            # http.client follows no redirect and reads no proxy from the environment.
            connection.request("GET", f"{url.path}/user", headers={"Authorization": f"token {token}"})
            response = connection.getresponse()
            return response.status, response.read(MOST_BYTES + 1)
        finally:
            connection.close()
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise HubFaultError(f"JupyterHub gives no readable answer ({type(error).__name__})") from None


def _connection(limits: Limits, scheme: str, address: str) -> Any:
    import http.client  # noqa: PLC0415

    if scheme != "https":
        return http.client.HTTPConnection(address, timeout=HUB_SECONDS)
    import ssl  # noqa: PLC0415

    context = ssl.create_default_context(cafile=limits.hub_ca_file)
    return http.client.HTTPSConnection(address, timeout=HUB_SECONDS, context=context)


def _parsed(content: bytes) -> dict[str, Any]:
    if len(content) > MOST_BYTES:
        raise HubFaultError(f"JupyterHub's answer has more than {MOST_BYTES} bytes")
    try:
        user = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise HubFaultError(f"JupyterHub gives no readable answer ({type(error).__name__})") from None
    if not isinstance(user, dict):
        raise HubFaultError("JupyterHub's answer is no JSON object")
    return user
