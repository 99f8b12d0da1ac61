"""Why a cluster did not start or has ended, for its user and for the metrics. Pure."""

from collections.abc import Mapping, Sequence
from typing import Any

from dask_gateway_server.backends.kubernetes.controller import get_container_status

from gateway.as_user import preflight
from gateway.errors import Refusal, one_line
from gateway.kubernetes import names
from gateway.service.termination import EndCause, StartFailure, Termination

MOST_CHARACTERS = 400
STOPPED = Termination(EndCause.USER, "The cluster was stopped.")
DELETED = Termination(EndCause.FAILED, "The scheduler's pod was deleted.")
CAUSES = {
    **dict.fromkeys(
        (
            "ErrImageNeverPull",
            "ErrImagePull",
            "ImageInspectError",
            "ImagePullBackOff",
            "InvalidImageName",
            "RegistryUnavailable",
            "SignatureValidationFailed",
        ),
        StartFailure.IMAGE,
    ),
    **dict.fromkeys(("FailedAttachVolume", "FailedMapVolume", "FailedMount"), StartFailure.MOUNT),
}
"""Kubernetes' reasons why a pod does not run: those of waiting containers (``pkg/kubelet/images``) and of the kubelet's
events (``pkg/kubelet/events``)."""


def of_refusal(refusal: Refusal) -> Termination:
    """Return why a cluster ends whose DaskCluster the controller refuses."""
    return Termination(StartFailure.OTHER, _line(str(refusal)))


def of_end(scheduler: Mapping[str, Any], *, ran: bool) -> Termination:
    """Return why a scheduler pod has ended; ``ran`` tells whether its cluster was running before."""
    state = (get_container_status(scheduler, names.SCHEDULER_COMPONENT) or {}).get("state", {})
    ended = state.get("terminated", {})
    if ended.get("exitCode") == preflight.REFUSED and ended.get("message"):
        return Termination(EndCause.FAILED if ran else StartFailure.PREFLIGHT, _line(str(ended["message"])))
    why = ended.get("reason") or scheduler["status"].get("reason") or "Unknown"
    code = ended.get("exitCode", "unknown")
    reason = f"The scheduler ended{'' if ran else ' before it was ready'} ({why}, exit code {code})."
    return Termination(EndCause.FAILED if ran else StartFailure.JOB_ENDED, reason)


def of_delay(scheduler: Mapping[str, Any] | None, events: Sequence[Mapping[str, Any]], seconds: int) -> Termination:
    """Return why a scheduler did not start within so many seconds; ``events`` are those of its pod, oldest first.

    ``scheduler`` is None when the informer has seen no scheduler pod.
    """
    cause, text = _cause(scheduler, events)
    return Termination(cause, _line(f"The cluster did not start within {seconds} s: {text}"))


def _cause(scheduler: Mapping[str, Any] | None, events: Sequence[Mapping[str, Any]]) -> tuple[StartFailure, str]:
    if scheduler is None:
        return StartFailure.OTHER, "Kubernetes did not accept the scheduler's pod."
    conditions = {condition["type"]: condition for condition in scheduler["status"].get("conditions", ())}
    scheduled = conditions.get("PodScheduled", {})
    if scheduled.get("status") == "False":
        why = scheduled.get("message") or scheduled.get("reason")
        return StartFailure.UNSCHEDULABLE, f"no node takes the scheduler's pod ({why})"
    state = (get_container_status(scheduler, names.SCHEDULER_COMPONENT) or {}).get("state", {})
    waiting = state.get("waiting", {})
    if waiting.get("message"):
        return _told(waiting)
    warnings = [event for event in events if event.get("type") == "Warning" and event.get("message")]
    if "running" not in state and warnings:
        return _told(warnings[-1])
    if "running" in state:
        return StartFailure.NO_ANSWER, "the scheduler runs, but does not answer."
    return StartFailure.OTHER, f"the scheduler's pod waits ({waiting.get('reason') or 'no reason is known'})."


def _told(item: Mapping[str, Any]) -> tuple[StartFailure, str]:
    """Return cause and text of a waiting container's state, or of an event, that has a message."""
    reason = str(item.get("reason"))
    return CAUSES.get(reason, StartFailure.OTHER), f"{item['message']} ({reason})"


def _line(text: str) -> str:
    """Return the text as one line of bounded length, because the API server sends it as an HTTP reason."""
    line = one_line(text)
    return line if len(line) <= MOST_CHARACTERS else f"{line[:MOST_CHARACTERS]} ..."
