"""Run the Pulumi program without Kubernetes, and record the declared objects as manifests."""

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pulumi
from pulumi.runtime import mocks

from infra.program import build
from infra.stack_settings import StackSettings

KUBERNETES = "kubernetes:"
SIGNATURE_KEY = "4dabf18193072939515e22adb298388d"
SECRET_SIGNATURE = "1b47061264138c4ac30d75fd1eb44270"
"""Key and value with which the protocol of Pulumi's engine marks secrets."""


@dataclass
class Recorder(mocks.Mocks):
    """Stand-in for Pulumi's engine: it creates each resource at once, with the inputs as outputs."""

    resources: list[mocks.MockResourceArgs] = field(default_factory=list)

    def new_resource(self, args: mocks.MockResourceArgs) -> tuple[str, dict[str, Any]]:
        self.resources.append(args)
        return args.name, args.inputs

    def call(self, args: mocks.MockCallArgs) -> dict[str, Any]:
        raise AssertionError(f"the program calls {args.token}, which needs a cluster")

    @property
    def manifests(self) -> "Manifests":
        return Manifests([_plain(args.inputs) for args in self.resources if args.typ.startswith(KUBERNETES)])


@dataclass(frozen=True)
class Manifests:
    """Kubernetes objects."""

    objects: list[dict[str, Any]]

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return iter(self.objects)

    def of_kind(self, kind: str) -> dict[str, dict[str, Any]]:
        """Return the objects of a kind, by name. Fails when two have the same name."""
        found = [manifest for manifest in self.objects if manifest["kind"] == kind]
        by_name = {manifest["metadata"]["name"]: manifest for manifest in found}
        assert len(by_name) == len(found), f"two objects of kind {kind} have the same name"
        return by_name

    def get(self, kind: str, name: str) -> dict[str, Any]:
        """Return the object of that kind and name. Fails when it is missing, and lists the names that exist."""
        by_name = self.of_kind(kind)
        assert name in by_name, f"no {kind} {name}; there are: {', '.join(sorted(by_name)) or 'none'}"
        return by_name[name]


def is_secret(value: Any) -> bool:
    """Return whether Pulumi encrypts a recorded input in its state."""
    return isinstance(value, dict) and value.get(SIGNATURE_KEY) == SECRET_SIGNATURE


def _plain(value: Any) -> Any:
    """Return the value as Kubernetes gets it: without marks of secrets, and with integers for the protocol's floats."""
    if is_secret(value):
        return _plain(value["value"])
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def record(program: Callable[[], None]) -> Recorder:
    """Run a program and return its recorder. Raises the program's exceptions."""
    recorder = Recorder()
    # This event loop is closed at the end. Pulumi would leave its own open, which breaks other tests.
    loop = asyncio.new_event_loop()
    # pulumi.runtime.test raises an error below. asyncio would print it again, after all tests.
    loop.set_exception_handler(lambda *_: None)
    asyncio.set_event_loop(loop)
    try:
        mocks.set_mocks(recorder, project="af-dask-gateway", stack="test")
        pulumi.runtime.test(program)()
    finally:
        asyncio.set_event_loop(None)
        loop.close()
    return recorder


def render(settings: StackSettings) -> Manifests:
    """Return the objects of a stack with these settings."""
    return record(lambda: build(settings)).manifests
