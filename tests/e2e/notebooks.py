"""Notebooks of the testbed's people, driven from here."""

import contextlib
import json
import queue
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from testbed import guide, notebook

KERNEL = Path(__file__).with_name("kernel.py").read_text()
PIXI_PROJECT = "/depot/cms/projects/analysis"
CONDA_ENVIRONMENT = "/depot/cms/conda/analysis"
SMALL = {"pixi_project": PIXI_PROJECT, "worker_memory": 1}
"""Options of a cluster of which many fit into the testbed's Kubernetes node, which has the machine's memory."""
CELL_SECONDS = 150
"""Longer than a cluster may take to start or fail (user guide, section 5)."""


class CellError(Exception):
    """An exception that a cell raised in the notebook."""

    def __init__(self, name: str, message: str, text: str) -> None:
        self.name, self.message = name, message
        super().__init__(f"{name}: {message}\n{text}")


class Notebook:
    """A kernel in the notebook container, run as a person. Leaving the context ends it as a user's would end."""

    def __init__(self, person: str, extra: Mapping[str, str | None] | None = None, python: str = "python") -> None:
        self.person = person
        self._paths = {
            guide.PIXI_PROJECT: PIXI_PROJECT,
            guide.CONDA_ENVIRONMENT: CONDA_ENVIRONMENT,
            guide.VOMS_PROXY: proxy_path(person),
        }
        self._errors = tempfile.TemporaryFile("w+")  # noqa: SIM115 - closed in __exit__
        self._session = notebook.Session(person, extra)
        self._process = subprocess.Popen(
            self._session.command([python, "-c", KERNEL]),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
        )
        self._replies: queue.Queue[str | None] = queue.Queue()
        threading.Thread(target=self._receive, daemon=True).start()

    def __enter__(self) -> "Notebook":
        return self

    def __exit__(self, *_: object) -> None:
        """End the kernel, which closes its clusters: those that it created are shut down."""
        assert self._process.stdin is not None
        try:
            with contextlib.suppress(BrokenPipeError):
                self._process.stdin.close()
            self._process.wait(timeout=60)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            raise AssertionError(f"{self.person}'s kernel did not end; it printed:\n{self.printed()}") from None
        finally:
            self._session.__exit__()
            self._errors.close()

    def _receive(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._replies.put(line)
        self._replies.put(None)

    def run(self, code: str, seconds: float = CELL_SECONDS) -> Any:
        """Run a cell; returns the value of its last expression as JSON can hold it (else its repr).

        Raises :class:`CellError` for what the cell raised, ``AssertionError`` when there was no answer.
        """
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(code) + "\n")
            self._process.stdin.flush()
            line = self._replies.get(timeout=seconds)
        except (BrokenPipeError, queue.Empty):
            line = None
        if line is None:
            state = f"ended with code {self._process.poll()}" if self._process.poll() is not None else "runs on"
            raise AssertionError(
                f"no answer from {self.person}'s kernel within {seconds} s to\n{code}\nit {state}, and printed:\n"
                f"{self.printed()}"
            )
        reply = json.loads(line)
        if "error" in reply:
            raise CellError(reply["error"], reply["message"], reply["traceback"])
        return reply["value"]

    def snippet(self, name: str) -> Any:
        """Run a snippet of the user guide, with nothing but its paths replaced."""
        return self.run(guide.snippet(name, self._paths))

    def printed(self) -> str:
        """The last of what the kernel wrote to standard error."""
        self._errors.seek(0)
        return self._errors.read()[-4000:]


def proxy_path(person: str) -> str:
    """The path that the tests put for a person's VOMS proxy."""
    return f"/tmp/x509up_{person}"


def new_cluster(options: Mapping[str, object] | str, name: str = "cluster") -> str:
    """The code of a cell that creates a cluster; its value is the cluster's name."""
    arguments = options if isinstance(options, str) else f"**{dict(options)!r}"
    return f"{name} = gateway.new_cluster({arguments})\n{name}.name"


def connect(workers: int = 1) -> str:
    """The code of a cell that scales the cluster and connects a client to it."""
    return (
        f"import os\ncluster.scale({workers})\nclient = cluster.get_client()\n"
        f"client.wait_for_workers({workers}, timeout=120)"
    )


def on_worker(kernel: Notebook, expression: str) -> Any:
    """What an expression of the kernel gives on a worker of its client."""
    return kernel.run(f"client.submit(lambda: ({expression}), pure=False).result(timeout=60)")


def warnings_of(code: str) -> str:
    """The code of a cell whose value are the texts of the gateway's warnings that a statement gives."""
    return (
        "import warnings\n"
        "with warnings.catch_warnings(record=True) as caught:\n"
        "    warnings.simplefilter('always')\n"
        f"    {code}\n"
        "[str(warning.message) for warning in caught if warning.category.__name__ == 'GatewayWarning']"
    )


@contextlib.contextmanager
def asked_all_the_time(kernel: Notebook, question: str) -> Iterator[Callable[[], int]]:
    """Have the notebook run a statement over and over; what is yielded tells how often, and fails for its errors."""
    kernel.run(
        "import threading\n"
        "asking, asked, faults = threading.Event(), [], []\n"
        "def ask():\n"
        "    while not asking.is_set():\n"
        "        try:\n"
        f"            {question}\n"
        "        except Exception as error:\n"
        "            faults.append(repr(error))\n"
        "        asked.append(None)\n"
        "        asking.wait(0.1)\n"
        "thread = threading.Thread(target=ask, daemon=True)\n"
        "thread.start()"
    )

    def result() -> int:
        kernel.run("asking.set()\nthread.join(120)")
        assert kernel.run("faults") == []
        return int(kernel.run("len(asked)"))

    try:
        yield result
    finally:
        kernel.run("asking.set()")
