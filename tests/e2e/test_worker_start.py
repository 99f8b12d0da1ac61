"""The first worker is its nanny's spare interpreter (docs/decisions/0014); a restarted worker is spawned anew."""

import pytest

from gateway.as_user import preflight
from gateway.site import Backend
from tests.e2e import notebooks

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240)]

PROCESS_STATE = """
def process_state():
    import os
    command = open("/proc/self/cmdline").read()
    at_start = {name: os.environ.get(name) for name in %r}
    return os.getpid(), "multiprocessing-fork" in command, at_start, hash("text")
"""


def test_a_restarted_worker_is_spawned_anew(backend: Backend, no_leftovers: None) -> None:
    with notebooks.connected("alice", backend) as kernel:
        notebooks.start_cluster(kernel, workers=2)
        kernel.run(PROCESS_STATE % list(preflight.WORKER_START))
        first = kernel.run("list(client.run(process_state).values())")
        kernel.run("client.restart()")
        restarted = kernel.run("list(client.run(process_state).values())")
        assert [spawned for _, spawned, _, _ in first] == [False] * 2
        assert [spawned for _, spawned, _, _ in restarted] == [True] * 2
        assert {pid for pid, *_ in first}.isdisjoint(pid for pid, *_ in restarted)
        # A nanny sets these variables for the workers that it spawns; PYTHONHASHSEED makes their hashes equal.
        assert [at_start for _, _, at_start, _ in (*first, *restarted)] == [preflight.WORKER_START] * 4
        assert len({value for *_, value in (*first, *restarted)}) == 1
        assert kernel.run("client.submit(lambda: 6 * 7, pure=False).result(timeout=60)") == 42
