"""Entry point of the launcher: answer the request on standard input."""

import json
import os
import sys
from pathlib import Path
from typing import Any

from gateway.as_user import preflight
from gateway.slurm.launcher import requests
from gateway.slurm.launcher.actions import ACTIONS


def answer(configuration: Path, text: str) -> dict[str, Any]:
    """Do what a request asks for and return the answer; raise no error.

    ``configuration`` is the file with the limits, ``text`` the request.
    """
    try:
        limits = requests.read_limits(configuration)
        request = requests.read_request(text, ACTIONS)
        user = requests.checked_user(limits, request)
        return {"ok": True, **ACTIONS[request["action"]](limits, user, request)}
    except preflight.RefusedError as refusal:
        return {"ok": False, "refusal": str(refusal)}
    except Exception as error:  # noqa: BLE001 - the server reads an answer in every case
        return {"ok": False, "error": f"{type(error).__name__}: {error}"}


def main() -> None:
    """Answer the request on standard input."""
    os.umask(0o077)
    json.dump(answer(requests.CONFIGURATION, sys.stdin.read()), sys.stdout)


if __name__ == "__main__":
    main()
