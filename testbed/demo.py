"""Run the user guide's snippets as alice, on each gateway that is up."""

import sys

from gateway import site
from gateway.site import Backend
from testbed import cluster, docker, guide, hub, notebook, submission
from testbed.paths import SITE

PERSON = "alice"
PIXI_PROJECT = "/depot/cms/projects/analysis"
"""On Depot, which the workers of both back ends see."""
PATHS = {guide.PIXI_PROJECT: PIXI_PROJECT, guide.VOMS_PROXY: "/depot/cms/users/alice/x509up"}
REPORT = """
import os
def place():
    return f"uid {os.getuid()}, gid {os.getgid()} on {os.uname().nodename}"
print("  sum of the squares of 0..9:", total)
for worker in sorted(client.run(place).values()):
    print("  a worker runs as", worker)
print("  dashboard:", cluster.dashboard_link)
"""
TIMEOUT_SECONDS = 240
HOSTS = {Backend.KUBERNETES: cluster.NODE, Backend.SLURM: submission.CONTAINER}
"""The container in which each gateway runs."""


def script(backend: Backend) -> str:
    """Return a program of the guide's snippets: connect, create, compute, report the results, shut down."""
    first = [guide.snippet(f"connect-{backend.value}"), guide.snippet("create", PATHS)]
    # Even a failed computation must not keep the cluster from ending.
    rest = "".join(f"    {line}\n" for line in f"{guide.snippet('compute')}{REPORT}".splitlines() if line)
    return "\n".join([*first, f"try:\n{rest}finally:", f"    {guide.snippet('shutdown')}"])


def run() -> int:
    """Run the snippets on each gateway that is up.

    Returns 0 when each of them computed, else 1; 1 too when none is up.
    """
    up = [backend for backend in Backend if docker.is_running(HOSTS[backend])]
    for backend in Backend:
        if backend not in up:
            _write(f"{backend.value} is down; `make testbed` brings it up.\n")
    try:
        return max((_run_on(backend) for backend in up), default=1)
    except hub.NoTokenError as error:
        sys.stderr.write(f"{error}\n")
        return 1


def _run_on(backend: Backend) -> int:
    _write(f"{backend.value}, as {PERSON}, at {site.load(SITE).gateway(backend).address}\n")
    completed = notebook.run_as(PERSON, ["python", "-"], script(backend), timeout_seconds=TIMEOUT_SECONDS)
    _write(completed.stdout)
    if completed.returncode:
        _write(f"  FAILED with exit code {completed.returncode}\n{completed.stderr}")
    return min(completed.returncode, 1)


def _write(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()
