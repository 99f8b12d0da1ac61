"""A worker imports Dask once, with its nanny; one that is restarted starts afresh."""

import pytest

from gateway.as_user import preflight
from gateway.site import Backend
from tests.e2e import notebooks
from tests.e2e.notebooks import Notebook

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240)]

LOOK = """
def look():
    import os
    command = open("/proc/self/cmdline").read()
    at_start = {name: os.environ.get(name) for name in %r}
    return os.getpid(), "multiprocessing-fork" in command, at_start, hash("text")
"""


def test_a_restarted_worker_starts_afresh(backend: Backend, no_leftovers: None) -> None:
    with Notebook("alice") as kernel:
        kernel.snippet(f"connect-{backend.value}")
        kernel.run(notebooks.new_cluster({"pixi_project": notebooks.PIXI_PROJECT, "worker_memory": 1}))
        kernel.run(notebooks.connect(2))
        kernel.run(LOOK % list(preflight.WORKER_START))
        first = kernel.run("list(client.run(look).values())")
        kernel.run("client.restart()")
        restarted = kernel.run("list(client.run(look).values())")
        assert [spawned for _, spawned, _, _ in first] == [False] * 2
        assert [spawned for _, spawned, _, _ in restarted] == [True] * 2
        assert {pid for pid, *_ in first}.isdisjoint(pid for pid, *_ in restarted)
        # What a nanny gives to the workers that it spawns; the second makes their hashes alike.
        assert [at_start for _, _, at_start, _ in (*first, *restarted)] == [preflight.WORKER_START] * 4
        assert len({value for *_, value in (*first, *restarted)}) == 1
        assert kernel.run("client.submit(lambda: 6 * 7, pure=False).result(timeout=60)") == 42
