"""Faster imports of Dask in schedulers, nannies and workers: no garbage collection, libyaml, packages executed late.

The preflight loads this file from beside its own, as the user and in the user's interpreter: standard library only,
Python >= 3.8.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import importlib.util
import sys
import threading
from collections.abc import Iterator
from types import ModuleType, SimpleNamespace
from typing import Any


@contextlib.contextmanager
def quick_imports() -> Iterator[None]:
    """Import Dask within this context in five sixths of the time; afterwards, the interpreter is as before.

    Imports make little garbage, so the garbage collector pauses. Dask's defaults are in YAML files (not reported
    upstream), so PyYAML uses libyaml where it can.
    """
    gc.disable()
    try:
        with _libyaml():
            yield
    finally:
        gc.enable()


@contextlib.contextmanager
def _libyaml() -> Iterator[None]:
    try:
        yaml: Any = importlib.import_module("yaml")
    except ImportError:
        # Dask imports yaml next, and its error is the one to report.
        yaml = SimpleNamespace(SafeLoader=None)
    pure = yaml.SafeLoader
    yaml.SafeLoader = getattr(yaml, "CSafeLoader", pure)
    try:
        yield
    finally:
        yaml.SafeLoader = pure


class LateModule(ModuleType):
    """A module that is executed at the first access to one of its attributes.

    The standard library's ``LazyLoader`` executes a module at the next import statement already.
    """

    _lock = threading.RLock()
    _is_loading = False

    def __init__(self, spec: Any) -> None:
        super().__init__(spec.name)
        self.__spec__, self.__loader__, self.__file__ = spec, spec.loader, spec.origin
        # Leave __path__ unset: an import of a submodule reads it, and so executes the package first.
        self.__package__ = spec.name

    def __getattr__(self, name: str) -> Any:
        """Execute the module, and return its attribute of that name."""
        with LateModule._lock:
            if isinstance(self, LateModule):
                self._load(name)
        return getattr(self, name)

    def _load(self, name: str) -> None:
        if self._is_loading:
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r} yet")
        self._is_loading = True
        try:
            spec: Any = self.__spec__
            self.__path__ = spec.submodule_search_locations
            spec.loader.exec_module(self)
            self.__class__ = ModuleType  # type: ignore[assignment] # the base class
        finally:
            del self._is_loading


def import_late(package: str) -> None:
    """Import a package that is executed at the first access to an attribute; do nothing if it is not installed."""
    spec = importlib.util.find_spec(package)
    if spec is not None and package not in sys.modules:
        sys.modules[package] = LateModule(spec)


def allocate_without_numpy() -> None:
    """Make distributed receive messages into bytearrays, as it does where numpy is missing.

    distributed imports numpy for nothing else (not reported upstream): numpy leaves memory for large messages
    uninitialized. A version that allocates otherwise executes numpy at its first message.
    """
    for name, module in list(sys.modules.items()):
        if name.startswith("distributed.") and hasattr(module, "host_array"):
            module.host_array = lambda size: memoryview(bytearray(size))  # type: ignore[attr-defined]
