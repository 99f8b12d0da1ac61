"""What one user may hold in all clusters together: the arithmetic and the messages. Pure."""

import heapq
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from gateway.site import GIB, UserTotal


@dataclass(frozen=True, order=True)
class Resources:
    """Cores and memory, in whole units: fractions of cores would not add up."""

    millicores: int = 0
    memory_bytes: int = 0

    @classmethod
    def of(cls, cores: float, memory_bytes: int) -> Self:
        """From cores, which are rounded as upstream's controller writes them into pods."""
        return cls(round(cores * 1000), memory_bytes)

    @classmethod
    def of_role(cls, config: Mapping[str, Any], role: str) -> Self:
        """What one ``scheduler`` or ``worker`` with a cluster's configuration takes."""
        return cls.of(config[f"{role}_cores"], config[f"{role}_memory"])

    @classmethod
    def of_total(cls, total: UserTotal) -> Self:
        """From the site's bound."""
        return cls.of(total.cores, round(total.memory_gib * GIB))

    def __add__(self, other: "Resources") -> "Resources":
        return Resources(self.millicores + other.millicores, self.memory_bytes + other.memory_bytes)

    def __sub__(self, other: "Resources") -> "Resources":
        return Resources(self.millicores - other.millicores, self.memory_bytes - other.memory_bytes)

    def __mul__(self, count: int) -> "Resources":
        return Resources(self.millicores * count, self.memory_bytes * count)

    def covers(self, other: "Resources") -> bool:
        """Whether the other fits into this."""
        return other.millicores <= self.millicores and other.memory_bytes <= self.memory_bytes

    def share_of(self, total: "Resources") -> float:
        """The greater of the two fractions of a total that this is."""
        return max(self.millicores / total.millicores, self.memory_bytes / total.memory_bytes)

    def __str__(self) -> str:
        cores = self.millicores / 1000
        return f"{cores:g} {'core' if cores == 1 else 'cores'} and {self.memory_bytes / GIB:.4g} GB"


def sum_of(amounts: Iterable[Resources]) -> Resources:
    """All of them together."""
    return sum(amounts, Resources())


def fitting(room: Resources, one: Resources, wanted: int) -> int:
    """How many of the wanted, each of this size, there is room for."""
    return min(
        wanted,
        max(0, room.millicores) // one.millicores if one.millicores else wanted,
        max(0, room.memory_bytes) // one.memory_bytes if one.memory_bytes else wanted,
    )


@dataclass(frozen=True)
class Claim:
    """What a cluster holds, and how many workers more it wants."""

    cluster: str
    held: Resources
    worker: Resources
    """Of one."""
    wanted: int


def granted(room: Resources, total: Resources, claims: Sequence[Claim]) -> dict[str, int]:
    """Cluster -> how many of the wanted workers it gets.

    Fair between the clusters of a user: the next worker is always for the one that holds the least, as a fraction of
    the user's total (dominant resource fairness, Ghodsi et al., NSDI 2011). Nobody loses what is held already.
    """
    grants = dict.fromkeys((claim.cluster for claim in claims), 0)
    heap = [(claim.held.share_of(total), index, claim.held) for index, claim in enumerate(claims) if claim.wanted > 0]
    heapq.heapify(heap)
    while heap:
        _, index, held = heapq.heappop(heap)
        claim = claims[index]
        if not room.covers(claim.worker):
            continue
        room -= claim.worker
        held += claim.worker
        grants[claim.cluster] += 1
        if grants[claim.cluster] < claim.wanted:
            heapq.heappush(heap, (held.share_of(total), index, held))
    return grants


def holdings(held: Mapping[str, Resources], total: Resources) -> str:
    """What a user holds and where, in a sentence."""
    summed = sum_of(held.values())
    clusters = sorted(held.items(), key=lambda item: item[1], reverse=True)
    where = ", ".join(f"{name} ({amount})" for name, amount in clusters)
    return f"You hold {summed} of {total}" + (f": {where}." if where else ".")


def refusal(scheduler: Resources, held: Mapping[str, Resources], total: Resources) -> str:
    """Why a new cluster can't even have its scheduler."""
    return (
        f"There is no room for another cluster: its scheduler needs {scheduler}. {holdings(held, total)}"
        " Shut a cluster down, or scale one down, and try again."
    )


def trimmed(wanted: int, grant: int, held: Mapping[str, Resources], total: Resources) -> str:
    """What somebody is told whose cluster gets fewer workers than asked for."""
    return (
        f"The cluster gets {grant} of the {wanted} workers that you asked for. {holdings(held, total)}"
        " The others start by themselves as soon as you free room for them."
    )
