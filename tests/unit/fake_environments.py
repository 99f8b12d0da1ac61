"""Environments on disk, and plans for them: worlds of the tests of the preflight, the launcher and the gateways."""

import subprocess
import sys
import venv
from pathlib import Path

from gateway.as_user.preflight import MODULES, PROGRAMS, Plan

ENTRY = """\
import gc
import json
import os
import sys


def main(arguments, prog_name):
    assert arguments == sys.argv[2:]
    home = os.environ.get("HOME", "/")
    with open(os.environ["RECORD"], "w") as record:
        json.dump(
            {
                "name": prog_name,
                "argv": sys.argv[1:],
                "environ": {name.hex(): value.hex() for name, value in os.environb.items()},
                "path": sys.path,
                "collects": gc.isenabled(),
                "home_mode": os.path.exists(home) and os.stat(home).st_mode & 0o777,
            },
            record,
        )
"""
"""Source of the fake scheduler and worker: they record how they were started."""


def project(directory: Path, *names: str) -> Path:
    """Make a Pixi project with environments, each of which can start Python."""
    directory.mkdir()
    (directory / "pixi.toml").touch()
    for name in names:
        interpreter(directory / ".pixi" / "envs" / name)
    return directory


def interpreter(prefix: Path) -> Path:
    """Make an environment with an interpreter alone."""
    (prefix / "bin").mkdir(parents=True)
    (prefix / "bin" / "python").symlink_to(sys.executable)
    return prefix


def script(prefix: Path, text: str) -> Path:
    """Make an environment whose interpreter is a shell script."""
    (prefix / "bin").mkdir(parents=True)
    python = prefix / "bin" / "python"
    python.write_text(f"#!/bin/sh\n{text}\n")
    python.chmod(0o755)
    return prefix


def packages(prefix: Path) -> Path:
    """Return the directory of an environment's modules."""
    (found,) = (prefix / "lib").glob("python*/site-packages")
    return found


def environment(prefix: Path, python: str | None = None, **modules: str) -> Path:
    """Make an environment of this Python or another, with modules of that content, each as a package."""
    if python is None:
        venv.EnvBuilder(symlinks=True).create(prefix)
    else:
        subprocess.run([python, "-m", "venv", "--without-pip", "--symlinks", str(prefix)], check=True)
    for name, content in modules.items():
        (packages(prefix) / name).mkdir()
        (packages(prefix) / name / "__init__.py").write_text(content)
    return prefix


def complete(prefix: Path, python: str | None = None) -> Path:
    """Make an environment with empty modules for all that the preflight imports, and :data:`ENTRY` as programs."""
    environment(prefix, python, **dict.fromkeys(MODULES, ""))
    programs = packages(prefix) / "distributed" / "cli"
    programs.mkdir()
    for name in PROGRAMS.values():
        (programs / f"{name.rpartition('.')[2]}.py").write_text(ENTRY)
    return prefix


def plan(visible: Path, path: Path, name: str | None = None, **changed: object) -> Plan:
    """Return a plan for the environment of that name in a project, or for a Conda environment."""
    made = Plan(
        option="conda_env" if name is None else "pixi_project",
        path=str(path),
        prefix=str(path if name is None else path / ".pixi" / "envs" / name),
        name=name,
        visible=[str(visible)],
        markers=[],
        workers="SLURM workers",
        advice="put it under /depot/cms.",
        variables="",
    )
    return made._replace(**changed)
