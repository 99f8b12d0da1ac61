"""An environment that nobody has touched for years works as it is."""

import pytest

from gateway.site import Backend
from tests.e2e import notebooks
from tests.e2e.notebooks import Notebook, on_worker

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240)]

ENVIRONMENT = "/depot/cms/conda/older"


def test_an_environment_of_2022_computes(backend: Backend, no_leftovers: None) -> None:
    with Notebook("alice", python=f"{ENVIRONMENT}/bin/python") as kernel:
        kernel.snippet(f"connect-{backend.value}")
        kernel.run(notebooks.new_cluster({"conda_env": ENVIRONMENT, "worker_memory": 1}))
        kernel.run(notebooks.connect())
        kernel.run("import distributed")
        assert on_worker(kernel, "distributed.__version__") == "2022.12.1"
        # Its nanny's imports do for the worker here as well.
        assert "serve" in on_worker(kernel, "open('/proc/self/cmdline').read()").split("\0")
        assert kernel.run("client.submit(lambda: 6 * 7, pure=False).result()") == 42
