"""Time the testbed's own commands on this machine: ``make bench``.

Each run is a whole process, as a person would start it. Prints a table for docs/performance.md. With ``--cold`` the
caches of the project, of Go and of Docker's images are put out of reach first, by giving the run empty ones.
"""

import argparse
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from testbed import down, process
from testbed.paths import PROJECT, ROOT
from testbed.toolchain import docker_engine


@dataclass(frozen=True)
class Measurement:
    """What is timed, after what."""

    title: str
    command: tuple[str, ...]
    prepare: Callable[[], None]
    environment: Mapping[str, str]


def measurements(cold: str | None) -> Iterator[Measurement]:
    """What is timed, in order; ``cold`` is an empty directory for caches, or None."""
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
    """How long the command takes. Raises ``subprocess.CalledProcessError`` when it fails."""
    measurement.prepare()
    started = time.monotonic()
    environment = {**os.environ, **measurement.environment}
    subprocess.run(measurement.command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, check=True)
    return time.monotonic() - started


def main(arguments: Sequence[str]) -> int:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(prog="python -m testbed.bench", description="Time the testbed's commands.")
    parser.add_argument("--cold", action="store_true", help="begin without caches and images (about 40 minutes each)")
    given = parser.parse_args(arguments)
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    write = sys.stdout.write
    write(f"{os.cpu_count()} cores, {memory:.0f} GiB, {platform.freedesktop_os_release()['PRETTY_NAME']}\n\n")
    write("| what | seconds |\n|---|---|\n")
    with tempfile.TemporaryDirectory(prefix=f"{PROJECT}-cold-", ignore_cleanup_errors=True) as directory:
        for measurement in measurements(directory if given.cold else None):
            write(f"| {measurement.title} | {seconds(measurement):.0f} |\n")
            sys.stdout.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
