"""SLURM's queue over time: when jobs arrive, and when they have ended."""

import contextlib
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from testbed import slurm

PAUSE_SECONDS = 0.1
MOST_SECONDS = 240
LOOP = """
while :; do
    printf '%s ' "$(date +%s.%N)"; squeue --noheader --array --user "$1" --format %i | tr '\\n' ' '; echo
    read -r -t "$2" _; [ $? -gt 128 ] || break
done
"""
"""A program that prints one line per reading, and ends with its input."""


@dataclass(frozen=True)
class Look:
    """The jobs of a person's queue at a moment."""

    seconds: float
    """In seconds since the epoch; containers share the machine's clock."""
    jobs: frozenset[str]


def parsed(line: str) -> Look:
    """Parse a line of :data:`LOOP`."""
    seconds, *jobs = line.split()
    return Look(float(seconds), frozenset(jobs))


def seconds_until(looks: Sequence[Look], since: float, count: int, before: frozenset[str]) -> float | None:
    """Return the seconds after ``since`` at which the queue first held ``count`` jobs beside those of ``before``, or
    None."""
    found = (look.seconds for look in looks if look.seconds >= since and len(look.jobs - before) >= count)
    return next((seconds - since for seconds in found), None)


def seconds_until_gone(looks: Sequence[Look], since: float, before: frozenset[str]) -> float | None:
    """Return the seconds after ``since`` at which the queue held only jobs of ``before`` again, or None."""
    found = (look.seconds for look in looks if look.seconds >= since and not look.jobs - before)
    return next((seconds - since for seconds in found), None)


class Watch:
    """Readings of a person's queue, one after the other."""

    def __init__(self, stream: Iterator[str]) -> None:
        self.looks: list[Look] = []
        self._first = threading.Event()
        threading.Thread(target=self._follow, args=(stream,), daemon=True).start()

    def _follow(self, stream: Iterator[str]) -> None:
        for line in stream:
            self.looks.append(parsed(line))
            self._first.set()

    def now(self) -> frozenset[str]:
        """Return the jobs of the last reading. Raises ``TimeoutError`` when there is none."""
        if not self._first.wait(30):
            raise TimeoutError("squeue does not answer")
        return self.looks[-1].jobs

    def wait(self, what: str, found: Callable[[Sequence[Look]], float | None]) -> float:
        """Return the number that ``found`` gets from the readings as soon as there is one. Raises ``TimeoutError``."""
        deadline = time.monotonic() + MOST_SECONDS
        while (number := found(self.looks)) is None:
            if time.monotonic() > deadline:
                raise TimeoutError(f"not within {MOST_SECONDS} s: {what}")
            time.sleep(PAUSE_SECONDS)
        return number


@contextlib.contextmanager
def watched(account: str) -> Iterator[Watch]:
    """Watch the queue of an account while the context lasts."""
    command = ["docker", "exec", "--interactive", f"af-{slurm.CONTROLLER}", "bash", "-c", LOOP, "squeue"]
    process = subprocess.Popen(
        [*command, account, str(PAUSE_SECONDS)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        yield Watch(process.stdout)
    finally:
        process.stdin.close()
        process.wait(30)
