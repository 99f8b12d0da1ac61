"""Time the testbed's own commands on this machine.

Each run is a whole process, as a person would start it. A cold run gets empty directories for the caches of the project
and of Go, and Docker's images are removed before it.
"""

import os
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from release import process
from release.paths import PROJECT, ROOT
from testbed import down
from testbed.toolchain import docker_engine


@dataclass(frozen=True)
class Measurement:
    """A command that is timed, and what happens before it."""

    title: str
    command: tuple[str, ...]
    prepare: Callable[[], None]
    environment: Mapping[str, str]


def measurements(cold: str | None) -> Iterator[Measurement]:
    """Return the measurements in order; ``cold`` is an empty directory for caches, or None."""
    up, nothing = ("make", "testbed"), dict[str, str]()
    if cold:
        caches = {"XDG_CACHE_HOME": f"{cold}/cache", "GOCACHE": f"{cold}/go-build", "GOMODCACHE": f"{cold}/go-modules"}
        yield Measurement("`make testbed-slurm`, no caches, no images", (*up[:1], "testbed-slurm"), _forget, caches)
        yield Measurement("`make testbed`, no caches, no images", up, _forget, caches)
    yield Measurement("`make testbed`, caches and images, nothing up", up, _down, nothing)
    yield Measurement("`make testbed`, already up", up, lambda: None, nothing)


def _down() -> None:
    down.down(process.say)


def _forget() -> None:
    docker_engine.ensure()
    references = process.capture(["docker", "images", "--quiet", "--filter", f"label={PROJECT}=image"]).split()
    _down()
    docker_engine.ensure()
    base = process.capture(["docker", "images", "--quiet", f"{PROJECT}/*"]).split()
    for reference in sorted({*references, *base}):
        process.capture(["docker", "rmi", "--force", reference])


def seconds(measurement: Measurement) -> float:
    """Run a measurement's command; return its seconds. Raises ``subprocess.CalledProcessError`` when it fails."""
    measurement.prepare()
    started = time.monotonic()
    environment = {**os.environ, **measurement.environment}
    subprocess.run(measurement.command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, check=True)
    return time.monotonic() - started


def rows(*, is_cold: bool) -> Iterator[str]:
    """Yield the lines of the table, each as soon as it is measured."""
    yield "| what | seconds |"
    yield "|---|---|"
    with tempfile.TemporaryDirectory(prefix=f"{PROJECT}-cold-", ignore_cleanup_errors=True) as directory:
        for measurement in measurements(directory if is_cold else None):
            yield f"| {measurement.title} | {seconds(measurement):.0f} |"
