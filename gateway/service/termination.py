"""How clusters end, on both gateways: the causes that metrics count, and the bounds of time. Pure."""

from dataclasses import dataclass
from enum import StrEnum


class EndCause(StrEnum):
    """Why a cluster is over that did not fail to start."""

    USER = "user"
    LIFETIME = "lifetime"
    CLIENT_GONE = "client-gone"
    FAILED = "failed"


class StartFailure(StrEnum):
    """Why a cluster never ran."""

    TOTAL = "total"
    """The user's total leaves no room for its scheduler."""
    PREFLIGHT = "preflight"
    """Its environment or its storage was found wanting."""
    UNSCHEDULABLE = "unschedulable"
    """No node takes its scheduler."""
    QUEUE = "queue"
    """Its scheduler's job still waits in SLURM's queue."""
    IMAGE = "image"
    MOUNT = "mount"
    LAUNCHER = "launcher"
    """The submission host could not act as its user."""
    JOB_ENDED = "job-ended"
    """Its scheduler's job or pod ended before it was ready."""
    NO_ANSWER = "no-answer"
    """Its scheduler runs and does not answer."""
    OTHER = "other"


Cause = EndCause | StartFailure


@dataclass(frozen=True)
class Termination:
    """That a cluster has to end, or has ended by itself."""

    cause: Cause
    reason: str
    """For its user: one line."""

    @property
    def failed(self) -> bool:
        """Whether something went wrong."""
        return self.cause is EndCause.FAILED or isinstance(self.cause, StartFailure)


def due(
    age_seconds: float, lifetime_seconds: int, alone_seconds: float, client_gone_seconds: int
) -> Termination | None:
    """The end of a cluster of this age, to which for so long no client was connected; None when it has time left."""
    if age_seconds >= lifetime_seconds:
        return Termination(EndCause.LIFETIME, f"The cluster has reached its lifetime of {_duration(lifetime_seconds)}.")
    if alone_seconds >= client_gone_seconds:
        reason = f"No client was connected to the cluster for {_duration(client_gone_seconds)}."
        return Termination(EndCause.CLIENT_GONE, reason)
    return None


def _duration(seconds: int) -> str:
    hours = seconds / 3600
    return f"{hours:g} h" if hours >= 1 else f"{seconds} s"
