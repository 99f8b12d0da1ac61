"""Why a cluster is ended that did nothing wrong, on both gateways. Pure."""


def of_age(seconds: int) -> str:
    """It has lived for so long."""
    return f"The cluster has reached its lifetime of {_duration(seconds)}."


def of_absence(seconds: int) -> str:
    """Nobody seems to use it."""
    return f"No client was connected to the cluster for {_duration(seconds)}."


def _duration(seconds: int) -> str:
    hours = seconds / 3600
    return f"{hours:g} h" if hours >= 1 else f"{seconds} s"
