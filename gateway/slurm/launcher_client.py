"""The server's side of the launcher (:mod:`gateway.slurm.launcher`), which sudo starts as a user."""

import asyncio
import json
import sys
from collections.abc import Mapping
from typing import Any

from gateway.errors import Refusal
from gateway.slurm import launcher
from gateway.slurm.jobs import Owner

LAUNCHER = (sys.executable, "-I", "-m", launcher.__name__)
"""The exact command that sudo allows (ansible/roles/gateway)."""
ACT_SECONDS = 120
"""Timeout of one call of the launcher; longer than the timeouts inside the launcher."""


class LauncherError(Exception):
    """The launcher failed, or sudo did not start it."""


async def act(owner: Owner, action: str, **arguments: Any) -> dict[str, Any]:
    """Have the launcher do an action as the user of a cluster, and return its answer.

    Raises :class:`gateway.errors.Refusal` for a fault that the user can repair, :class:`LauncherError` for all others.
    """
    request = {"action": action, "cluster": owner.cluster, "uid": owner.uid, "gid": owner.gid}
    process = await asyncio.create_subprocess_exec(
        *("sudo", "-nHu", owner.username, *LAUNCHER),
        env={},
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        output, errors = await asyncio.wait_for(
            process.communicate(json.dumps({**request, **arguments}).encode()), ACT_SECONDS
        )
    except TimeoutError:
        # The gateway can't kill the process of another user. Most likely the process waits for a file system.
        raise LauncherError(f"{action!r} took longer than {ACT_SECONDS} s") from None
    return read_answer(action, output, errors)


def read_answer(action: str, output: bytes, errors: bytes) -> dict[str, Any]:
    """Read the launcher's answer to an action.

    Raises :class:`gateway.errors.Refusal` or :class:`LauncherError` when the launcher did not do the action.
    """
    try:
        answer: Mapping[str, Any] = json.loads(output)
    except ValueError:
        # sudo refused the command, or the launcher did not start.
        said = errors.decode(errors="replace").strip()[-500:]
        raise LauncherError(f"the launcher did not answer to {action!r}: {said}") from None
    if "refusal" in answer:
        raise Refusal(answer["refusal"])
    if not answer["ok"]:
        raise LauncherError(f"{action!r} failed: {answer['error']}")
    return dict(answer)
