"""Compute how many workers a user total allows, and write the messages about it. Pure."""

import heapq
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

from gateway.site import GIB, UserTotal

UNBOUNDED = 10**18
"""Cores in thousandths, or bytes, that a site without a user total allows: more than any site has."""


@dataclass(frozen=True, order=True)
class Resources:
    """Cores, memory and a number of workers, in whole units: sums of fractional cores would not be exact."""

    millicores: int = 0
    memory_bytes: int = 0
    workers: int = 0

    @classmethod
    def of(cls, cores: float, memory_bytes: int) -> Self:
        """Return resources; cores become millicores, rounded as upstream's controller rounds them for pods."""
        return cls(round(cores * 1000), memory_bytes)

    @classmethod
    def of_role(cls, config: Mapping[str, Any], role: str) -> Self:
        """Return the resources of one ``scheduler`` or one ``worker`` (the role) with a cluster's configuration."""
        return replace(cls.of(config[f"{role}_cores"], config[f"{role}_memory"]), workers=int(role == "worker"))

    @classmethod
    def of_total(cls, total: UserTotal | None, workers: int) -> Self:
        """Return what a site allows to a user: resources, and a number of workers."""
        if total is None:
            return cls(UNBOUNDED, UNBOUNDED, workers)
        return replace(cls.of(total.cores, round(total.memory_gib * GIB)), workers=workers)

    def __add__(self, other: "Resources") -> "Resources":
        return Resources(
            self.millicores + other.millicores, self.memory_bytes + other.memory_bytes, self.workers + other.workers
        )

    def __sub__(self, other: "Resources") -> "Resources":
        return self + other * -1

    def __mul__(self, count: int) -> "Resources":
        return Resources(self.millicores * count, self.memory_bytes * count, self.workers * count)

    def covers(self, other: "Resources") -> bool:
        """Return whether the other resources fit into these."""
        return (
            other.millicores <= self.millicores
            and other.memory_bytes <= self.memory_bytes
            # A scheduler takes no worker's place: it fits even where the user holds more than the site's bound.
            and other.workers <= max(0, self.workers)
        )

    def share_of(self, total: "Resources") -> float:
        """Return the largest of the fractions of a total: of its cores, of its memory, of its workers."""
        return max(
            self.millicores / total.millicores,
            self.memory_bytes / total.memory_bytes,
            self.workers / max(1, total.workers),
        )

    def __str__(self) -> str:
        cores = self.millicores / 1000
        return f"{cores:g} {'core' if cores == 1 else 'cores'} and {self.memory_bytes / GIB:.4g} GB"


def sum_of(items: Iterable[Resources]) -> Resources:
    """Return the sum of the resources."""
    return sum(items, Resources())


def fitting(room: Resources, one: Resources, wanted: int) -> int:
    """Return how many of the wanted items of this size fit into the room; the room may be negative."""
    return min(
        wanted,
        max(0, room.millicores) // one.millicores if one.millicores else wanted,
        max(0, room.memory_bytes) // one.memory_bytes if one.memory_bytes else wanted,
        max(0, room.workers) // one.workers if one.workers else wanted,
    )


@dataclass(frozen=True)
class Claim:
    """The resources that a cluster holds, and the number of workers that it requests in addition."""

    cluster: str
    held: Resources
    worker: Resources
    """The resources of one worker."""
    wanted: int


def granted(room: Resources, total: Resources, claims: Sequence[Claim]) -> dict[str, int]:
    """Return the grant of each cluster: how many of its wanted workers fit into the room.

    The clusters of a user share fairly: the next worker goes to the cluster that holds the smallest fraction of the
    user total (dominant resource fairness, Ghodsi et al., NSDI 2011). No cluster loses resources that it holds.
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
    """Return a sentence with the resources that a user holds in each cluster."""
    summed = sum_of(held.values())
    clusters = sorted(held.items(), key=lambda item: item[1], reverse=True)
    where = ", ".join(f"{name} ({resources})" for name, resources in clusters)
    bound = "" if total.millicores >= UNBOUNDED else f" of {total}"
    return f"You hold {summed}{bound}" + (f": {where}." if where else ".")


def refusal(scheduler: Resources, held: Mapping[str, Resources], total: Resources) -> str:
    """Return the message for a user whose total has no room for the scheduler of a new cluster."""
    return (
        f"There is no room for another cluster: its scheduler needs {scheduler}. {holdings(held, total)}"
        " Shut a cluster down, or scale one down, and try again."
    )


def trimmed(wanted: int, grant: int, held: Mapping[str, Resources], total: Resources) -> str:
    """Return the message for a user whose cluster gets fewer workers than the user requested."""
    workers = sum_of(held.values()).workers
    bound = f" The site allows {total.workers} workers to a user." if workers + wanted > total.workers else ""
    return (
        f"The cluster gets {grant} of the {wanted} workers that you asked for. {holdings(held, total)}{bound}"
        " The others start by themselves as soon as you free room for them."
    )


def bounded(wanted: int, maximum: int) -> str:
    """Return the message for a user who requests more workers than the site allows to a cluster."""
    return f"The site allows {maximum} workers to a cluster: the cluster requests {maximum} instead of {wanted}."
