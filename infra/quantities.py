"""Kubernetes' notation for amounts. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass


def cores(amount: float) -> str:
    """CPU cores as millicores, for example ``1500m``."""
    return f"{round(amount * 1000)}m"


def gib(amount: float) -> str:
    """Memory given in units of 2**30 bytes, for example ``1536Mi``."""
    return f"{round(amount * 1024)}Mi"


@dataclass(frozen=True)
class Amounts:
    """Cores and memory, both as request and as limit."""

    cores: float
    cores_limit: float
    memory_gib: float
    memory_limit_gib: float

    @property
    def requirements(self) -> Mapping[str, Mapping[str, str]]:
        """A container's ``resources``."""
        return {
            "requests": {"cpu": cores(self.cores), "memory": gib(self.memory_gib)},
            "limits": {"cpu": cores(self.cores_limit), "memory": gib(self.memory_limit_gib)},
        }
