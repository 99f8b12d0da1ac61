"""Take down the testbed: remove all its containers, networks, mounts and processes."""

import shutil
from collections.abc import Callable

from release import process
from testbed import cluster, docker, fake_nodes
from testbed.paths import STATE
from testbed.toolchain import docker_engine


def down(report: Callable[[str], None]) -> None:
    """Remove everything but the caches: images and programs stay, so that the next start is quick."""
    fake_nodes.end_process()
    if docker_engine.answers():
        cluster.remove()
        for kind, listing in (("container", ["ps", "--all"]), ("network", ["network", "ls"])):
            names = _labelled(listing)
            for name in names:
                _remove(kind, name)
            report(f"{len(names)} {kind}s removed")
    if docker_engine.stop():
        report("Docker engine stopped")
    shutil.rmtree(STATE, ignore_errors=True)
    report(f"{STATE} removed")


def _labelled(listing: list[str]) -> list[str]:
    return process.capture(["docker", *listing, "--quiet", "--filter", f"label={docker.LABEL}"]).split()


def _remove(kind: str, name: str) -> None:
    options = ["--force", "--volumes"] if kind == "container" else []
    process.capture(["docker", kind, "rm", *options, name])
