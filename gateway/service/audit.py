"""Write one line for each change that a user requests of a cluster: the user, the source address, and the outcome.

A line is a JSON object, so no value of it can begin a new line. It holds no body of a request and no token.
"""

import json
import logging
import re

from aiohttp import web

from gateway.identity import source
from gateway.identity.authenticator import PERSON

LOGGER = logging.getLogger("gateway.audit")
"""A logger of its own, by whose name administrators route the lines."""
MOST_CHARACTERS = 128
"""Bound of each value in a line."""
CLUSTERS = "/api/v1/clusters/"
ACTIONS = {
    ("POST", CLUSTERS): "create",
    ("DELETE", f"{CLUSTERS}{{cluster_name}}"): "stop",
    ("POST", f"{CLUSTERS}{{cluster_name}}/scale"): "scale",
    ("POST", f"{CLUSTERS}{{cluster_name}}/adapt"): "adapt",
}
"""Method and route -> the action of the lines."""
CLUSTER_TOKEN = "cluster"  # noqa: S105 - a user's name in lines
"""Stands for the user where a cluster asks with its own token."""
STRANGE = re.compile(r"[^\x20-\x7e]")


def action_of(request: web.Request) -> str | None:
    """Return the action that a request asks for; None for requests that change no cluster."""
    resource = request.match_info.route.resource
    return None if resource is None else ACTIONS.get((request.method, resource.canonical))


def person_of(request: web.BaseRequest) -> str | None:
    """Return the user of a request whose credential was accepted; None for any other request."""
    if PERSON in request:
        return request[PERSON]
    if "user" not in request:
        return None
    return CLUSTER_TOKEN if request["user"] is None else str(request["user"].name)


def record(request: web.Request, action: str, status: int, cluster: str) -> None:
    """Write the line of a request.

    A request without an accepted credential, or without the one that its action needs, makes none: its log has it.
    """
    person = person_of(request)
    if person is not None and status != web.HTTPUnauthorized.status_code:
        LOGGER.info(
            line(
                user=person,
                source=request.get(source.SOURCE, source.UNKNOWN),
                action=action,
                cluster=cluster,
                outcome="accepted" if status < 400 else "refused",
                status=str(status),
            )
        )


def line(**fields: str) -> str:
    """Return the JSON object of the fields, in ASCII, with bounded values."""
    return json.dumps({name: plain(value) for name, value in fields.items()})


def plain(text: str) -> str:
    """Return the beginning of a text, in printable ASCII."""
    return STRANGE.sub("?", text[:MOST_CHARACTERS])


def created_cluster(response: web.StreamResponse) -> str:
    """Return the name in the answer to a request for a cluster; empty without one."""
    if response.status != web.HTTPCreated.status_code or not isinstance(response, web.Response):
        return ""
    return str(json.loads(response.text or "{}").get("name", ""))
