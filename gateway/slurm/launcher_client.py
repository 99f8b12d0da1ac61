"""The server's side of the launcher (:mod:`gateway.slurm.launcher`), which systemd starts for each connection."""

import asyncio
import functools
import json
from collections.abc import Mapping
from typing import Any

from gateway import settings
from gateway.errors import Refusal
from gateway.identity.hub import HubUnavailable
from gateway.slurm.jobs import Owner
from gateway.slurm.launcher.connections import MOST_ANSWER_BYTES
from gateway.slurm.launcher.slurm import JOB_ID

GRACE_SECONDS = 10
"""How much longer the server waits than systemd lets a call run: a call that the server gives up has ended."""


class LauncherError(Exception):
    """The launcher failed, or systemd did not start it."""


class LauncherClient:
    """Calls the launcher: at most so many calls at once, each for at most so many seconds."""

    def __init__(self, socket: str, most_calls: int, seconds: float) -> None:
        self._socket, self._seconds = socket, seconds
        self._free = asyncio.Semaphore(most_calls)

    async def act(self, owner: Owner, action: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """Do what :func:`act` does."""
        account = {"username": owner.username, "uid": owner.uid, "gid": owner.gid}
        request = {"action": action, "cluster": owner.cluster, **account, **arguments}
        async with self._free:
            try:
                answer = await asyncio.wait_for(self._answer(json.dumps(request).encode()), self._seconds)
            except TimeoutError:
                # Most likely the call waits for a file system.
                raise LauncherError(f"{action!r} took longer than {self._seconds:g} s") from None
            except (OSError, ValueError) as error:
                raise LauncherError(f"the launcher did not answer to {action!r}: {error}") from error
        return read_answer(action, answer)

    async def _answer(self, request: bytes) -> bytes:
        """Return the line that answers a request. Raises ``OSError``, or ``ValueError`` for a line beyond the bound."""
        reader, writer = await asyncio.open_unix_connection(self._socket, limit=MOST_ANSWER_BYTES)
        try:
            writer.write(request)
            writer.write_eof()
            return await reader.readline()
        finally:
            writer.close()


@functools.cache
def _client() -> LauncherClient:
    launcher = settings.current_site().slurm.launcher
    return LauncherClient(launcher.socket, launcher.most_calls, launcher.seconds + GRACE_SECONDS)


async def act(owner: Owner, action: str, **arguments: Any) -> dict[str, Any]:
    """Have the launcher do an action as the user of a cluster, and return its answer.

    Raises :class:`gateway.errors.Refusal` for a fault that the user can repair,
    :class:`gateway.identity.hub.HubUnavailable` for one of JupyterHub, :class:`LauncherError` for all others.
    """
    return await _client().act(owner, action, arguments)


def read_answer(action: str, line: bytes) -> dict[str, Any]:
    """Read the launcher's answer to an action.

    Raises what :func:`act` raises when the launcher did not do the action. The user could change the answer of a
    process with the user's account, so it is read as foreign data.
    """
    try:
        answer = json.loads(line)
    except (ValueError, RecursionError):
        # systemd ended the call, or refused the connection because too many calls run.
        raise LauncherError(f"the launcher did not answer to {action!r}") from None
    match answer:
        case {"ok": True, "job": str(job)} if JOB_ID.fullmatch(job):
            return {"job": job}
        case {"ok": True, "skipped": list(jobs)} if all(isinstance(job, str) and JOB_ID.fullmatch(job) for job in jobs):
            return {"skipped": jobs}
        case {"ok": True} if action != "submit" and answer.keys() == {"ok"}:
            return {}
        case {"ok": False, "refusal": str(refusal)}:
            raise Refusal(refusal)
        case {"ok": False, "hub": str(fault)}:
            raise HubUnavailable(fault)
        case {"ok": False, "error": str(error)}:
            raise LauncherError(f"{action!r} failed: {error}")
    raise LauncherError(f"the launcher's answer to {action!r} has another form: {line[:200]!r}")
