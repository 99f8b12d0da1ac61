"""The user guide's snippets as alice, on both gateways."""

import sys

from gateway import site
from gateway.site import Backend
from testbed import guide, hub, notebook
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


def script(backend: Backend) -> str:
    """The guide's snippets in a row: connect, create, compute, a report of what came out, shut down."""
    first = [guide.snippet(f"connect-{backend.value}"), guide.snippet("create", PATHS)]
    # The guide's last line of a cell shows a widget; as a script it must not keep the cluster from ending.
    rest = "".join(f"    {line}\n" for line in f"{guide.snippet('compute')}{REPORT}".splitlines() if line)
    return "\n".join([*first, f"try:\n{rest}finally:", f"    {guide.snippet('shutdown')}"])


def run() -> int:
    """Run it on both gateways; returns 0 when both computed, else 1."""
    try:
        return max(_run_on(backend) for backend in Backend)
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
