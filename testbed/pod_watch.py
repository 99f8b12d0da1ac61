"""Which pods there were, and how many at the same time: a watch misses none, however short they live."""

import contextlib
import json
import subprocess
import threading
import urllib.parse
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import IO

from testbed.paths import KUBECONFIG
from testbed.toolchain.programs import KUBECTL

TURN_SECONDS = 10
"""After which Kubernetes ends a watch, to be begun again."""


@dataclass(frozen=True)
class Event:
    """News of a pod."""

    kind: str
    """``ADDED``, ``MODIFIED`` or ``DELETED``."""
    pod: str


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
    """Watch pods, of which there are none yet, while the context lasts; what is yielded tells all events so far.

    It raises ``RuntimeError`` when events may be missing.
    """
    query = urllib.parse.urlencode({"labelSelector": selector})
    watch = Watch(f"/api/v1/namespaces/{namespace}/pods?{query}")
    thread = threading.Thread(target=watch.follow)
    thread.start()
    try:
        yield watch.events
    finally:
        watch.end()
        thread.join()


class Watch:
    """Goes on where it was when Kubernetes ends it, as it does with readers that seem slow to it."""

    def __init__(self, path: str) -> None:
        """Begin at the present state of the pods under a path of the API, which has a query."""
        self._path = path
        self._version: str = _version_of(path)
        self._events: list[Event] = []
        self._ending = threading.Event()
        self._fault: str | None = None

    def follow(self) -> None:
        """Take events until the end."""
        while not self._ending.is_set():
            with _answering(
                f"{self._path}&watch=1&timeoutSeconds={TURN_SECONDS}&resourceVersion={self._version}"
            ) as lines:
                for line in lines:
                    self.take(line)

    def take(self, line: bytes) -> None:
        """Take a line of a watch; one that is not complete comes again."""
        if not line.endswith(b"\n"):
            return
        news = json.loads(line)
        if news["type"] == "ERROR":
            self._fault = news["object"]["message"]
            self.end()
            return
        metadata = news["object"]["metadata"]
        self._version = metadata["resourceVersion"]
        self._events.append(Event(news["type"], metadata["name"]))

    def events(self) -> list[Event]:
        """All events so far. Raises ``RuntimeError`` when some may be missing."""
        if self._fault is not None:
            raise RuntimeError(f"the watch of {self._path} has ended: {self._fault}")
        return list(self._events)

    def end(self) -> None:
        """Take no more events than those of this turn."""
        self._ending.set()


def _version_of(path: str) -> str:
    with _answering(path) as answer:
        return str(json.load(answer)["metadata"]["resourceVersion"])


@contextlib.contextmanager
def _answering(path: str) -> Iterator[IO[bytes]]:
    command = (KUBECTL.ensure(), "--kubeconfig", KUBECONFIG, "get", "--raw", path)
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) as running:
        assert running.stdout is not None
        yield running.stdout
