"""Wheelhouses: the wheels of a locked list of requirements, for hosts and images that can't reach PyPI."""

import sys
import tempfile
from pathlib import Path

from release import content, process
from release.paths import ROOT

PYTHON = "3.11"
"""Version of Python for which wheels are downloaded: Debian 12's."""
GLIBC = ("2_36", "2_35", "2_34", "2_31", "2_28", "2_27", "2_26", "2_24", "2_17", "2_12", "2_5")
"""Versions of the GNU C library whose wheels Debian 12 can load; pip downloads no wheel for a later one."""


def wheelhouse(name: str) -> content.Input:
    """Return a directory with ``requirements.txt`` (a copy of ``requirements/NAME.txt``) and the wheels that it lists.

    pip checks the wheels against the list's hashes.
    """
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
    """Return a directory with the wheel of this project's own package."""
    sources = (ROOT / "pyproject.toml", ROOT / "gateway")

    def make(directory: Path) -> None:
        with tempfile.TemporaryDirectory() as scratch:
            process.run(["cp", "--recursive", *sources, scratch])
            pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-index", "--no-build-isolation"]
            process.run([*pip, "--wheel-dir", directory, scratch])

    return content.cached_input("project", content.digest(*sources), make)
