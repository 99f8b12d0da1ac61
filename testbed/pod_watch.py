"""Which pods existed, and how many at the same time. A watch misses none, however short they live."""

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
"""After this time Kubernetes ends a watch, which then starts again."""


@dataclass(frozen=True)
class Event:
    """A change of a pod."""

    kind: str
    """``ADDED``, ``MODIFIED`` or ``DELETED``."""
    pod: str


def made(events: Sequence[Event]) -> set[str]:
    """Return the names of all pods that existed at any time."""
    return {event.pod for event in events}


def most(events: Sequence[Event]) -> int:
    """Return the largest number of pods that existed at the same time."""
    present: set[str] = set()
    counts = [0]
    for event in events:
        (present.discard if event.kind == "DELETED" else present.add)(event.pod)
        counts.append(len(present))
    return max(counts)


@contextlib.contextmanager
def watched(namespace: str, selector: str) -> Iterator[Callable[[], list[Event]]]:
    """Watch pods while the context lasts; it begins before there are any. Yields a function that returns all events so
    far.

    That function raises ``RuntimeError`` when events may be missing.
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
    """A watch of pods that resumes where Kubernetes has ended it. Kubernetes ends watches of readers that seem slow."""

    def __init__(self, path: str) -> None:
        """Begin at the present state of the pods under an API path; the path has a query already."""
        self._path = path
        self._version: str = _version_of(path)
        self._events: list[Event] = []
        self._ending = threading.Event()
        self._fault: str | None = None

    def follow(self) -> None:
        """Take events until :meth:`end`."""
        while not self._ending.is_set():
            with _answering(
                f"{self._path}&watch=1&timeoutSeconds={TURN_SECONDS}&resourceVersion={self._version}"
            ) as lines:
                for line in lines:
                    self.take(line)

    def take(self, line: bytes) -> None:
        """Take a line of a watch. An incomplete line is ignored, because the resumed watch repeats it."""
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
        """Return all events so far. Raises ``RuntimeError`` when some may be missing."""
        if self._fault is not None:
            raise RuntimeError(f"the watch of {self._path} has ended: {self._fault}")
        return list(self._events)

    def end(self) -> None:
        """Take no more events after the current request."""
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
