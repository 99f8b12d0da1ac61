"""Why a cluster has not started or has ended, for its user. Pure."""

from collections.abc import Mapping, Sequence
from typing import Any

from dask_gateway_server.backends.kubernetes.controller import get_container_status

from gateway import preflight
from gateway.kubernetes import names

MOST_CHARACTERS = 400
STOPPED = "The cluster was stopped."


def of_end(scheduler: Mapping[str, Any], *, ran: bool) -> str:
    """Why a scheduler's pod has ended; ``ran`` when its cluster was running before."""
    state = (get_container_status(scheduler, names.SCHEDULER_COMPONENT) or {}).get("state", {})
    ended = state.get("terminated", {})
    if ended.get("exitCode") == preflight.REFUSED and ended.get("message"):
        return _line(str(ended["message"]))
    why = ended.get("reason") or scheduler["status"].get("reason") or "Unknown"
    code = ended.get("exitCode", "unknown")
    return f"The scheduler ended{'' if ran else ' before it was ready'} ({why}, exit code {code})."


def of_delay(scheduler: Mapping[str, Any] | None, events: Sequence[Mapping[str, Any]], seconds: int) -> str:
    """Why a scheduler has not started within so many seconds; ``events`` are its pod's, the oldest first."""
    return _line(f"The cluster did not start within {seconds} s: {_cause(scheduler, events)}")


def _cause(scheduler: Mapping[str, Any] | None, events: Sequence[Mapping[str, Any]]) -> str:
    if scheduler is None:
        return "Kubernetes did not accept the scheduler's pod."
    conditions = {condition["type"]: condition for condition in scheduler["status"].get("conditions", ())}
    scheduled = conditions.get("PodScheduled", {})
    if scheduled.get("status") == "False":
        return f"no node takes the scheduler's pod ({scheduled.get('message') or scheduled.get('reason')})"
    state = (get_container_status(scheduler, names.SCHEDULER_COMPONENT) or {}).get("state", {})
    waiting = state.get("waiting", {})
    if waiting.get("message"):
        return f"{waiting['message']} ({waiting.get('reason')})"
    warnings = [event for event in events if event.get("type") == "Warning" and event.get("message")]
    if "running" not in state and warnings:
        return f"{warnings[-1]['message']} ({warnings[-1].get('reason')})"
    if "running" in state:
        return "the scheduler runs, but does not answer."
    return f"the scheduler's pod waits ({waiting.get('reason') or 'no reason is known'})."


def _line(text: str) -> str:
    """One line of bounded length: it travels as an HTTP reason."""
    line = " ".join(text.split())
    return line if len(line) <= MOST_CHARACTERS else f"{line[:MOST_CHARACTERS]} ..."
