"""Time what users wait for, through the stock client, on both gateways: part of ``make bench``.

Prints a table for docs/performance.md.
"""

import json
import statistics
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from gateway.site import Backend
from testbed import guide, notebook
from testbed.demo import PERSON, PIXI_PROJECT

REPETITIONS = 10
TIMEOUT_SECONDS = 900
BARE = "/depot/cms/users/alice/bench-environment"
"""An environment without Dask, made for the measurement."""
PAUSE_SECONDS = 4
"""Between clusters: the one before is gone by then."""

SCRIPT = """
import json, shutil, subprocess, time
{connect}
subprocess.run(["/usr/bin/python3", "-m", "venv", "--without-pip", "--clear", "{bare}"], check=True)
# The client blocks for ever when the garbage collector closes it (see tests/e2e/kernel.py).
kept = []

def seconds(options):
    started = time.perf_counter()
    try:
        cluster = gateway.new_cluster(**options)
    except ValueError as error:
        kept.append(error)
        return time.perf_counter() - started
    taken = time.perf_counter() - started
    kept.append(cluster)
    cluster.shutdown()
    time.sleep({pause})
    return taken

print(json.dumps({{name: [seconds(options) for _ in range({repetitions})] for name, options in {requests}.items()}}))
shutil.rmtree("{bare}")
"""


@dataclass(frozen=True)
class Request:
    """What is asked for."""

    title: str
    options: dict[str, object]


REQUESTS = (
    Request("refused before anything runs (`worker_cores=-1`)", {"pixi_project": PIXI_PROJECT, "worker_cores": -1}),
    Request(
        "refused after a look as the user (`pixi_env` not installed)", {"pixi_project": PIXI_PROJECT, "pixi_env": "x"}
    ),
    Request("refused after an import (environment without Dask)", {"conda_env": BARE}),
    Request("`new_cluster` to a running cluster", {"pixi_project": PIXI_PROJECT}),
)


def measured(backend: Backend) -> dict[str, list[float]]:
    """Title -> seconds of each repetition. Raises ``RuntimeError`` with what the client said."""
    script = SCRIPT.format(
        connect=guide.snippet(f"connect-{backend.value}"),
        bare=BARE,
        pause=PAUSE_SECONDS,
        repetitions=REPETITIONS,
        requests=repr({request.title: request.options for request in REQUESTS}),
    )
    ended = notebook.run_as(PERSON, ["python", "-"], script, timeout_seconds=TIMEOUT_SECONDS)
    if ended.returncode:
        raise RuntimeError(ended.stderr)
    found: dict[str, list[float]] = json.loads(ended.stdout.splitlines()[-1])
    return found


def rows() -> Iterator[str]:
    """The table's rows: medians, and the worst in brackets."""
    results = {backend: measured(backend) for backend in Backend}
    yield "| what, in seconds: median (worst) of " + f"{REPETITIONS} | Kubernetes | SLURM |"
    yield "|---|---|---|"
    for request in REQUESTS:
        cells = [
            f"{statistics.median(times):.2f} ({max(times):.2f})"
            for times in (results[backend][request.title] for backend in (Backend.KUBERNETES, Backend.SLURM))
        ]
        yield f"| {request.title} | {' | '.join(cells)} |"


def main(_arguments: Sequence[str]) -> int:
    """Measure and print the table; the testbed must be up."""
    for row in rows():
        sys.stdout.write(f"{row}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
