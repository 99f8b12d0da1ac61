"""How the gateway has the launcher do something as a user (:mod:`gateway.slurm.launcher` is what sudo starts)."""

import asyncio
import json
import sys
from collections.abc import Mapping
from typing import Any

from gateway.errors import Refusal
from gateway.slurm import launcher
from gateway.slurm.jobs import Owner

LAUNCHER = (sys.executable, "-I", "-m", launcher.__name__)
"""Exactly what sudo allows (ansible/roles/gateway)."""
ACT_SECONDS = 120
"""Bound on one call of the launcher: longer than what it bounds itself."""


class LauncherError(Exception):
    """The launcher could not do what it was asked for."""


async def act(owner: Owner, action: str, **arguments: Any) -> dict[str, Any]:
    """Have the launcher do something as a user.

    Raises :class:`Refusal` for what is the user's to mend, :class:`LauncherError` for the rest.
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
        # It can't be ended from here: it is another user's. Most likely it waits for a file system.
        raise LauncherError(f"{action!r} took longer than {ACT_SECONDS} s") from None
    return read_answer(action, output, errors)


def read_answer(action: str, output: bytes, errors: bytes) -> dict[str, Any]:
    """What the launcher answers. Raises :class:`Refusal` or :class:`LauncherError`."""
    try:
        answer: Mapping[str, Any] = json.loads(output)
    except ValueError:
        # sudo itself says no, or the program did not start.
        said = errors.decode(errors="replace").strip()[-500:]
        raise LauncherError(f"the launcher did not answer to {action!r}: {said}") from None
    if "refusal" in answer:
        raise Refusal(answer["refusal"])
    if not answer["ok"]:
        raise LauncherError(f"{action!r} failed: {answer['error']}")
    return dict(answer)
