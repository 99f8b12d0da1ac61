"""Cores and memory in Kubernetes' notation. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass


def cores(amount: float) -> str:
    """Format CPU cores as millicores, for example ``1500m``."""
    return f"{round(amount * 1000)}m"


def gib(amount: float) -> str:
    """Format memory given in GiB (2**30 bytes) as MiB, for example ``1536Mi``."""
    return f"{round(amount * 1024)}Mi"


@dataclass(frozen=True)
class Amounts:
    """Requests and limits of a container: cores, and memory in GiB."""

    cores: float
    cores_limit: float
    memory_gib: float
    memory_limit_gib: float

    @property
    def requirements(self) -> Mapping[str, Mapping[str, str]]:
        """Return the value of a container's ``resources``."""
        return {
            "requests": {"cpu": cores(self.cores), "memory": gib(self.memory_gib)},
            "limits": {"cpu": cores(self.cores_limit), "memory": gib(self.memory_limit_gib)},
        }
