"""Entry point of the launcher: answer the request on the connection that is standard input."""

import contextlib
import os
import socket
import sys
from pathlib import Path
from typing import Any

from gateway.as_user import preflight
from gateway.slurm.launcher import accounts, connections, presence, requests
from gateway.slurm.launcher.actions import ACTIONS, NEED_PRESENCE


def answer(connection: socket.socket, configuration: Path) -> dict[str, Any]:
    """Become the user of the connection's request, do what it asks for, and return the answer; raise no error.

    ``configuration`` is the file with the limits.
    """
    try:
        limits = requests.read_limits(configuration)
        accounts.check_peer(limits, connections.peer(connection))
        request = requests.read_request(connections.received(connection), ACTIONS)
        token = request.pop("token", None)
        account = accounts.checked(limits, request)
        if request["action"] in NEED_PRESENCE:
            presence.check(limits, account.name, token)
        accounts.become(account)
        user = requests.User.of(limits, account.name)
        return {"ok": True, **ACTIONS[request["action"]](limits, user, request)}
    except preflight.RefusedError as refusal:
        return {"ok": False, "refusal": str(refusal)}
    except presence.HubFaultError as fault:
        return {"ok": False, "hub": str(fault)}
    except Exception as error:  # noqa: BLE001 - the server reads an answer in every case
        return {"ok": False, "error": f"{type(error).__name__}: {error}"}


def main() -> None:
    """Answer the request on standard input, which is a connected socket."""
    os.umask(0o077)
    with socket.socket(fileno=os.dup(sys.stdin.fileno())) as connection:
        line = connections.line(answer(connection, requests.CONFIGURATION))
        # The server may have given the call up.
        with contextlib.suppress(OSError):
            connections.send(connection, line)


if __name__ == "__main__":
    main()
