"""An environment with the Dask of 2022 works unchanged, in the notebook and in the cluster."""

import pytest

from gateway.site import Backend
from tests.e2e import notebooks
from tests.e2e.notebooks import on_worker

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240)]

ENVIRONMENT = "/depot/cms/conda/older"


def test_an_environment_of_2022_computes(backend: Backend, no_leftovers: None) -> None:
    with notebooks.connected("alice", backend, python=f"{ENVIRONMENT}/bin/python") as kernel:
        notebooks.start_cluster(kernel, {"conda_env": ENVIRONMENT, "worker_memory": 1})
        kernel.run("import distributed")
        assert on_worker(kernel, "distributed.__version__") == "2022.12.1"
        # The nanny's spare interpreter has become the worker, and keeps the nanny's arguments (docs/decisions/0014).
        assert "serve" in on_worker(kernel, "open('/proc/self/cmdline').read()").split("\0")
        assert kernel.run("client.submit(lambda: 6 * 7, pure=False).result()") == 42
