"""Results as numbers and as a table: medians, 95th percentiles, and whether goals are reached. Pure."""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum


class Statistic(StrEnum):
    """The value of a series that is compared."""

    MEDIAN = "median"
    P95 = "p95"

    def of(self, values: Sequence[float]) -> float:
        """Return a quantile of one value or more, interpolated on a straight line as ``numpy.percentile`` does."""
        if self is Statistic.MEDIAN or len(values) == 1:
            return statistics.median(values)
        return statistics.quantiles(values, n=20, method="inclusive")[-1]


@dataclass(frozen=True)
class Goal:
    """A value that a result must not exceed."""

    most: float
    """As a multiple of stock's; in seconds when stock has no such value."""
    by: Statistic = Statistic.MEDIAN


@dataclass(frozen=True)
class Result:
    """Values of a measurement in seconds."""

    title: str
    ours: Sequence[float]
    stock: Sequence[float] = ()
    """Empty where stock has no such feature."""
    goal: Goal | None = None
    errors: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """Side -> its errors. After an error of ours no goal is reached."""

    @property
    def ratio(self) -> float | None:
        """Return ours as a multiple of stock's."""
        if not self.ours or not self.stock:
            return None
        statistic = self.goal.by if self.goal else Statistic.MEDIAN
        ours, stock = statistic.of(self.ours), statistic.of(self.stock)
        # The kernel counts processor time in hundredths of a second: an idle gateway may have taken none.
        return ours / stock if stock else math.inf if ours else 1.0

    @property
    def is_reached(self) -> bool | None:
        """Return whether the goal is reached; None without a goal or without values to compare."""
        if self.goal is None:
            return None
        if self.errors.get("ours"):
            return False
        if self.ratio is not None:
            return self.ratio <= self.goal.most
        return None if self.errors.get("stock") or not self.ours else self.goal.by.of(self.ours) <= self.goal.most

    def as_json(self) -> dict[str, object]:
        """Return all values, for a closer analysis."""
        return {
            "title": self.title,
            "unit": "seconds",
            "ours": list(self.ours),
            "stock": list(self.stock),
            "errors": {side: list(texts) for side, texts in self.errors.items()},
            "goal": {"most": self.goal.most, "by": self.goal.by.value} if self.goal else None,
            "ratio": self.ratio,
            "reached": self.is_reached,
        }


HEADER = (
    "| what | ours: median (p95) | stock: median (p95) | ours / stock | to reach | reached |",
    "|---|---|---|---|---|---|",
)


def row(result: Result) -> str:
    """Return the result's line of the Markdown table."""
    cells = [
        result.title,
        _cell(result.ours, result.errors.get("ours", ())),
        _cell(result.stock, result.errors.get("stock", ())),
        "" if result.ratio is None else f"{result.ratio:.2f}",
        _goal(result),
        {True: "yes", False: "**no**", None: ""}[result.is_reached],
    ]
    return f"| {' | '.join(cells)} |"


def _cell(values: Sequence[float], errors: Sequence[str]) -> str:
    text = f"{duration(Statistic.MEDIAN.of(values))} ({duration(Statistic.P95.of(values))})" if values else ""
    return ", ".join(part for part in (text, f"{len(errors)} errors" if errors else "") if part)


def _goal(result: Result) -> str:
    if result.goal is None:
        return ""
    if not result.stock and not result.errors.get("stock"):
        return f"{duration(result.goal.most)}"
    return f"{result.goal.most:g} x" + (" (p95)" if result.goal.by is Statistic.P95 else "")


def duration(seconds: float) -> str:
    """Return seconds in three digits or fewer."""
    return f"{seconds * 1000:.3g} ms" if seconds < 0.1 else f"{seconds:.2f} s"
