"""The testbed's container images: each is built from a Dockerfile and inputs whose content is its tag.

:mod:`testbed.images.table` lists them. An image that the engine has under its tag is never built again.
"""

import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from testbed import content, docker, process
from testbed.paths import PROJECT


@dataclass(frozen=True)
class Image:
    """How an image is built."""

    name: str
    dockerfile: Path
    base: "Image | None" = None
    """Given to the Dockerfile as build argument ``BASE``."""
    inputs: Mapping[str, content.Input] = field(default_factory=dict)
    """Name in the build context -> what to put there."""

    @property
    def override(self) -> str | None:
        """A reference that replaces the build: the variable ``NAME_IMAGE``, for example ``NODE_IMAGE``."""
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
        """Build the image, and its base, unless the engine has them; returns the reference."""
        if docker.image_id(self.reference) is None:
            if self.override:
                process.run(["docker", "pull", self.override])
            else:
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
