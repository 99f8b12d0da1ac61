"""Define the causes for which clusters end on both gateways, and apply lifetime and client-gone timeout. Pure."""

from dataclasses import dataclass
from enum import StrEnum


class EndCause(StrEnum):
    """The cause for which a cluster ends after it was started or while it starts, without a failed start."""

    USER = "user"
    LIFETIME = "lifetime"
    CLIENT_GONE = "client-gone"
    FAILED = "failed"


class StartFailure(StrEnum):
    """The cause for which the start of a cluster failed."""

    TOTAL = "total"
    """The user total leaves no room for its scheduler."""
    PREFLIGHT = "preflight"
    """The preflight refused its environment or its storage."""
    UNSCHEDULABLE = "unschedulable"
    """Kubernetes can't place its scheduler on a node."""
    QUEUE = "queue"
    """Its scheduler's job still waits in SLURM's queue at the start timeout."""
    IMAGE = "image"
    MOUNT = "mount"
    LAUNCHER = "launcher"
    """The launcher on the submission host failed to act as its user."""
    JOB_ENDED = "job-ended"
    """Its scheduler's job or pod ended before it was ready."""
    NO_ANSWER = "no-answer"
    """Its scheduler runs, but did not report before the start timeout."""
    OTHER = "other"


Cause = EndCause | StartFailure


@dataclass(frozen=True)
class Termination:
    """The decision to end a cluster, or the fact that it has ended by itself."""

    cause: Cause
    reason: str
    """The text for its user: one line."""

    @property
    def failed(self) -> bool:
        """Return whether the cause is a failure."""
        return self.cause is EndCause.FAILED or isinstance(self.cause, StartFailure)


def due(
    age_seconds: float, lifetime_seconds: int, alone_seconds: float, client_gone_seconds: int
) -> Termination | None:
    """Return the termination of a cluster past its lifetime or its client-gone timeout, or None before both.

    ``alone_seconds`` is the time since a client was last connected.
    """
    if age_seconds >= lifetime_seconds:
        return Termination(EndCause.LIFETIME, f"The cluster has reached its lifetime of {_duration(lifetime_seconds)}.")
    if alone_seconds >= client_gone_seconds:
        reason = f"No client was connected to the cluster for {_duration(client_gone_seconds)}."
        return Termination(EndCause.CLIENT_GONE, reason)
    return None


def _duration(seconds: int) -> str:
    hours = seconds / 3600
    return f"{hours:g} h" if hours >= 1 else f"{seconds} s"
