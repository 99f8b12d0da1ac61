"""Wheelhouses: the wheels of a locked list of requirements, for containers that have no way to PyPI."""

import sys
import tempfile
from pathlib import Path

from testbed import content, process
from testbed.paths import ROOT

PYTHON = "3.11"
"""Debian bookworm's, which every image has."""
GLIBC = ("2_36", "2_35", "2_34", "2_31", "2_28", "2_27", "2_26", "2_24", "2_17", "2_12", "2_5")
"""Platform tags that bookworm's C library can run; pip takes nothing newer then."""


def wheelhouse(name: str) -> content.Input:
    """The wheels of ``requirements/NAME.txt``, checked against its hashes, beside the list itself."""
    requirements = ROOT / "requirements" / f"{name}.txt"

    def make(directory: Path) -> None:
        platforms = [*(f"manylinux_{version}_x86_64" for version in GLIBC), "manylinux2014_x86_64", "any"]
        target = ["--only-binary=:all:", "--python-version", PYTHON, "--implementation", "cp"]
        for platform in platforms:
            target += ["--platform", platform]
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--require-hashes"]
        process.run([*pip, "--requirement", requirements, "--dest", directory, *target])
        (directory / "requirements.txt").write_bytes(requirements.read_bytes())

    return content.cached_input("wheels", f"{name}-{content.digest(requirements, PYTHON)}", make)


def project_wheel() -> content.Input:
    """A directory with the wheel of this project's own package."""
    sources = (ROOT / "pyproject.toml", ROOT / "gateway")

    def make(directory: Path) -> None:
        with tempfile.TemporaryDirectory() as scratch:
            process.run(["cp", "--recursive", *sources, scratch])
            pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-index", "--no-build-isolation"]
            process.run([*pip, "--wheel-dir", directory, scratch])

    return content.cached_input("project", content.digest(*sources), make)
