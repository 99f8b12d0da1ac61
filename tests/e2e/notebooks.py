"""Notebooks of the testbed's people: kernels (:mod:`tests.e2e.kernel`) in the notebook container, driven by tests.

All tests that act as users use it. The functions below :class:`Notebook` that return text return the code of a cell.
"""

import contextlib
import json
import queue
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from gateway.site import Backend
from testbed import guide, notebook

KERNEL = Path(__file__).with_name("kernel.py").read_text()
PIXI_PROJECT = "/depot/cms/projects/analysis"
CONDA_ENVIRONMENT = "/depot/cms/conda/analysis"
SMALL = {"pixi_project": PIXI_PROJECT, "worker_memory": 1}
"""Options of a cluster of which many fit into the testbed's Kubernetes node, which has the machine's memory."""
CELL_SECONDS = 150
"""Timeout of a cell: longer than a cluster may take to start or fail (user guide, section 5)."""


class CellError(Exception):
    """An exception that a cell raised in the notebook."""

    def __init__(self, name: str, message: str, text: str) -> None:
        self.name, self.message = name, message
        super().__init__(f"{name}: {message}\n{text}")


class Notebook:
    """A kernel in the notebook container, run as a person; leaving the context ends it in order (see ``__exit__``).

    ``extra`` variables replace those of the facility (None leaves one out); ``python`` is the kernel's interpreter.
    """

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
        """End the kernel, which shuts down the clusters that it created."""
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
        """Run a cell and return the value of its last expression, or the value's repr when JSON can't hold it.

        Raises :class:`CellError` for an exception of the cell, ``AssertionError`` when the kernel does not answer
        within ``seconds``.
        """
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(code) + "\n")
            self._process.stdin.flush()
            line = self._replies.get(timeout=seconds)
        except (BrokenPipeError, queue.Empty):
            line = None
        if line is None:
            state = f"ended with code {self._process.poll()}" if self._process.poll() is not None else "still runs"
            raise AssertionError(
                f"no answer from {self.person}'s kernel within {seconds} s to\n{code}\n"
                f"The kernel {state}. It printed:\n{self.printed()}"
            )
        reply = json.loads(line)
        if "error" in reply:
            raise CellError(reply["error"], reply["message"], reply["traceback"])
        return reply["value"]

    def snippet(self, name: str) -> Any:
        """Run a snippet of the user guide; only its example paths are replaced."""
        return self.run(guide.snippet(name, self._paths))

    def printed(self) -> str:
        """Return the end of what the kernel wrote to standard error."""
        self._errors.seek(0)
        return self._errors.read()[-4000:]


@contextlib.contextmanager
def connected(person: str, backend: Backend, python: str = "python") -> Iterator[Notebook]:
    """Open a notebook as a person, connected to a gateway by the user guide's snippet (name ``gateway``)."""
    with Notebook(person, python=python) as kernel:
        connect(kernel, backend)
        yield kernel


def connect(kernel: Notebook, backend: Backend) -> None:
    """Connect a notebook to a gateway by the user guide's snippet."""
    kernel.snippet(f"connect-{backend.value}")


def start_cluster(kernel: Notebook, options: Mapping[str, object] | str = SMALL, workers: int = 1) -> str:
    """Create a cluster, wait for its workers and connect a client (names ``cluster``, ``client``); returns its name."""
    name = kernel.run(new_cluster(options))
    kernel.run(scale_and_connect(workers))
    return str(name)


@contextlib.contextmanager
def conda_environment(kernel: Notebook, path: str, interpreter: str) -> Iterator[None]:
    """Have a directory that looks like a Conda environment, whose interpreter is a program with this text."""
    remove = f"shutil.rmtree({path!r}, ignore_errors=True)"
    kernel.run(f"""
import os, shutil
{remove}
os.makedirs({path + "/bin"!r})
with open({path + "/bin/python"!r}, "w") as stream:
    stream.write({interpreter!r})
os.chmod({path + "/bin/python"!r}, 0o755)
""")
    try:
        yield
    finally:
        kernel.run(remove)


def proxy_path(person: str) -> str:
    """Return the path that the tests put for a person's VOMS proxy."""
    return f"/tmp/x509up_{person}"


def new_cluster(options: Mapping[str, object] | str, name: str = "cluster") -> str:
    """Return code that creates a cluster; its value is the cluster's name.

    ``options`` as text are arguments in Python's syntax, for values that only the notebook has.
    """
    arguments = options if isinstance(options, str) else f"**{dict(options)!r}"
    return f"{name} = gateway.new_cluster({arguments})\n{name}.name"


def scale_and_connect(workers: int = 1) -> str:
    """Return code that scales the cluster, connects a client to it and waits for the workers."""
    return (
        f"import os\ncluster.scale({workers})\nclient = cluster.get_client()\n"
        f"client.wait_for_workers({workers}, timeout=120)"
    )


def on_worker(kernel: Notebook, expression: str) -> Any:
    """Return the value that an expression of the kernel has on a worker of its client."""
    return kernel.run(f"client.submit(lambda: ({expression}), pure=False).result(timeout=60)")


def warnings_of(statement: str) -> str:
    """Return code whose value is the list of texts of the gateway's warnings that a statement causes."""
    return (
        "import warnings\n"
        "with warnings.catch_warnings(record=True) as caught:\n"
        "    warnings.simplefilter('always')\n"
        f"    {statement}\n"
        "[str(warning.message) for warning in caught if warning.category.__name__ == 'GatewayWarning']"
    )


@contextlib.contextmanager
def repeating(kernel: Notebook, statement: str) -> Iterator[Callable[[], int]]:
    """Have the notebook repeat a statement in a thread while the context lasts.

    Yields a function that ends the repetition and returns how often the statement ran; it fails when the statement
    raised an exception.
    """
    kernel.run(
        "import threading\n"
        "ending, runs, errors = threading.Event(), [], []\n"
        "def repeat():\n"
        "    while not ending.is_set():\n"
        "        try:\n"
        f"            {statement}\n"
        "        except Exception as error:\n"
        "            errors.append(repr(error))\n"
        "        runs.append(None)\n"
        "        ending.wait(0.1)\n"
        "thread = threading.Thread(target=repeat, daemon=True)\n"
        "thread.start()"
    )

    def count() -> int:
        kernel.run("ending.set()\nthread.join(120)")
        assert kernel.run("errors") == []
        return int(kernel.run("len(runs)"))

    try:
        yield count
    finally:
        kernel.run("ending.set()")
