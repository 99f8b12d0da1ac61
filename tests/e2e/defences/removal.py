"""A way to remove a defence and to restore it, and edits of files by which most defences are removed."""

import signal
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

from release.paths import ROOT
from testbed.paths import STATE

SAVED = STATE / "defences"
"""Directory of what was saved of the testbed's objects, and of the output of tests."""


class Removal(ABC):
    """A way to remove a defence from the running testbed."""

    @abstractmethod
    def remove(self) -> None:
        """Save what is changed, remove the defence, and wait until the gateway works without it."""

    @abstractmethod
    def restore(self) -> None:
        """Restore what was saved, and wait until the gateway works with it. Do nothing when nothing is saved."""

    @property
    def edits(self) -> "tuple[Edit, ...]":
        """The edits of files of the repository that the removal makes where they are installed."""
        return ()

    @contextmanager
    def removed(self) -> Iterator[None]:
        """Remove the defence for the time of the context, and restore it in every case."""
        try:
            self.remove()
            yield
        finally:
            # A second Ctrl-C does not interrupt the restoration.
            handler = signal.signal(signal.SIGINT, signal.SIG_IGN)
            try:
                self.restore()
            finally:
                signal.signal(signal.SIGINT, handler)


class Both(Removal):
    """Several removals as one."""

    def __init__(self, *parts: Removal) -> None:
        self._parts = parts

    @property
    def edits(self) -> "tuple[Edit, ...]":
        """The edits of all parts."""
        return tuple(edit for part in self._parts for edit in part.edits)

    def remove(self) -> None:
        """Remove each part."""
        for part in self._parts:
            part.remove()

    def restore(self) -> None:
        """Restore each part, the last one first; one that fails keeps no other from it."""
        with ExitStack() as stack:
            for part in self._parts:
                stack.callback(part.restore)


class EditError(Exception):
    """The text that an edit replaces does not stand exactly once in the file."""


class Edit(NamedTuple):
    """The replacement of a text in a file, which has the text once."""

    source: str
    """Path in the repository of the file, or of the template from which it is made."""
    old: str
    new: str
    installed: str | None = None
    """Path of the file where it is installed; None for a module of ``gateway``, which the installed Python finds."""

    @property
    def module(self) -> str:
        """The name of the Python module."""
        return self.source.removesuffix(".py").replace("/", ".")

    def applied(self, text: str) -> str:
        """Return a file's text after the edit. Raises :class:`EditError`."""
        count = text.count(self.old)
        if count != 1:
            raise EditError(f"{self.source}: {count} places have the text {self.old!r}, not one")
        return text.replace(self.old, self.new)

    def source_text(self) -> str:
        """Return the text of the file in the repository."""
        return Path(ROOT, self.source).read_text()


FIND = "import importlib.util, sys; print(importlib.util.find_spec(sys.argv[1]).origin)"
"""Python that prints the path of the module that its argument names."""
