"""Which pods there were, and how many at the same time: a watch misses none, however short they live."""

import contextlib
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from testbed.paths import KUBECONFIG
from testbed.toolchain.programs import KUBECTL

LINE = '{.type} {.object.metadata.name}{"\\n"}'
SECONDS_TO_END = 10


@dataclass(frozen=True)
class Event:
    """News of a pod."""

    kind: str
    """``ADDED``, ``MODIFIED`` or ``DELETED``."""
    pod: str


def parsed(text: str) -> list[Event]:
    """The events of what kubectl has printed so far; a line that is not complete yet does not count."""
    return [Event(*line.split()) for line in text.splitlines(keepends=True) if line.endswith("\n")]


def made(events: Sequence[Event]) -> set[str]:
    """All pods that ever were."""
    return {event.pod for event in events}


def most(events: Sequence[Event]) -> int:
    """How many pods there were at the same time, at most."""
    present: set[str] = set()
    counts = [0]
    for event in events:
        (present.discard if event.kind == "DELETED" else present.add)(event.pod)
        counts.append(len(present))
    return max(counts)


@contextlib.contextmanager
def watched(namespace: str, selector: str) -> Iterator[Callable[[], list[Event]]]:
    """Watch pods while the context lasts; what is yielded tells all events so far.

    It raises ``RuntimeError`` when the watch has ended by itself: events may be missing then.
    """
    command = (
        *(KUBECTL.ensure(), "--kubeconfig", KUBECONFIG, "--namespace", namespace, "get", "pods"),
        *("--selector", selector, "--watch", "--output-watch-events", "--output", f"jsonpath={LINE}"),
    )
    with (
        tempfile.NamedTemporaryFile("r") as output,
        open(output.name, "w") as stream,  # noqa: PTH123 - two positions in one file
        subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=stream) as watch,
    ):

        def events() -> list[Event]:
            if watch.poll() is not None:
                raise RuntimeError(f"the watch of {selector} has ended with code {watch.returncode}")
            output.seek(0)
            return parsed(output.read())

        try:
            yield events
        finally:
            watch.terminate()
            watch.wait(timeout=SECONDS_TO_END)
