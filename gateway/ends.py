"""Why a cluster is ended that did nothing wrong, on both gateways. Pure."""


def reason(age_seconds: float, lifetime_seconds: int, alone_seconds: float, client_gone_seconds: int) -> str | None:
    """Why a cluster of this age, to which for so long no client was connected, has to end; None when it has not."""
    if age_seconds >= lifetime_seconds:
        return f"The cluster has reached its lifetime of {_duration(lifetime_seconds)}."
    if alone_seconds >= client_gone_seconds:
        return f"No client was connected to the cluster for {_duration(client_gone_seconds)}."
    return None


def _duration(seconds: int) -> str:
    hours = seconds / 3600
    return f"{hours:g} h" if hours >= 1 else f"{seconds} s"
