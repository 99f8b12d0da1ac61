"""Container images, each built from a Dockerfile and inputs whose content gives its tag.

An image that the Docker engine has under its tag is never built again.
"""

import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from release import content, process
from release.paths import PROJECT


def image_id(reference: str) -> str | None:
    """Return the id of an image that the Docker engine has, or None."""
    try:
        return process.capture(["docker", "image", "inspect", "--format", "{{.Id}}", reference]).strip()
    except process.CommandError:
        return None


class Base(Protocol):
    """An image on which another one is built."""

    @property
    def reference(self) -> str:
        """Name and tag, or name and digest."""

    def ensure(self) -> str:
        """Have the image in the Docker engine; return the reference."""


@dataclass(frozen=True)
class ReadyImage:
    """An image that a registry, or the engine already, has."""

    reference: str

    def ensure(self) -> str:
        """Pull the image unless the engine has it; return the reference. Raises :class:`process.CommandError`."""
        if image_id(self.reference) is None:
            process.run(["docker", "pull", self.reference])
        return self.reference


@dataclass(frozen=True)
class Image:
    """How an image is built."""

    name: str
    dockerfile: Path
    base: Base | None = None
    """Given to the Dockerfile as build argument ``BASE``."""
    inputs: Mapping[str, content.Input] = field(default_factory=dict)
    """Path in the build context -> the file or directory that is copied there."""

    @property
    def override(self) -> str | None:
        """Reference that replaces the build: the environment variable ``NAME_IMAGE``, for example ``NODE_IMAGE``."""
        return os.environ.get(f"{self.name.upper().replace('-', '_')}_IMAGE") or None

    @property
    def reference(self) -> str:
        """Name and tag."""
        return self.override or f"{PROJECT}/{self.name}:{self.digest}"

    @property
    def digest(self) -> str:
        """Hash of everything that the image is built from."""
        inputs = [f"{name}={self.inputs[name].key}" for name in sorted(self.inputs)]
        return content.digest(self.dockerfile, self.base.reference if self.base else "", *inputs)

    def ensure(self) -> str:
        """Build the image and its base, or pull the override, unless the engine has them; return the reference.

        Raises :class:`process.CommandError` when the build or the pull fails.
        """
        if self.override:
            return ReadyImage(self.override).ensure()
        if image_id(self.reference) is None:
            self._build()
        return self.reference

    def _build(self) -> None:
        arguments = ["--build-arg", f"BASE={self.base.ensure()}"] if self.base else []
        with tempfile.TemporaryDirectory(prefix=f"{PROJECT}-{self.name}-") as scratch:
            context = Path(scratch)
            for name, given in self.inputs.items():
                _copy(given.make(), context / name)
            build = ["docker", "build", "--network", "host", "--label", f"{PROJECT}=image", "--tag", self.reference]
            process.run([*build, *arguments, "--file", self.dockerfile, context], environment={"DOCKER_BUILDKIT": "0"})


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        shutil.copytree(source, target, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
    else:
        shutil.copy2(source, target)
