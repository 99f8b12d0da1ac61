"""Hostile users beside a working one, for 20 minutes a back end: the working one notices nothing (``make soak``).

bob attacks as a user who has a cluster, mallory as a person without an account, and both as anybody on the network.
Alice lists her clusters and computes, first alone, then beside them.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from statistics import quantiles

import pytest

from gateway.site import Backend
from tests.e2e import notebooks, processes
from tests.e2e.administration import Administrator
from tests.e2e.machines import SETTINGS
from tests.e2e.notebooks import Notebook

SECONDS = int(os.environ.get("SOAK_SECONDS", "1200"))
"""How long the attacks last."""
QUIET_SECONDS = max(60, SECONDS // 10)
"""How long alice works alone before, for comparison."""

pytestmark = [pytest.mark.e2e, pytest.mark.soak, pytest.mark.timeout(SECONDS + QUIET_SECONDS + 600)]

SLOWER = 2
"""Bound on the 95th percentile of alice's requests beside the attacks, in multiples of that without them."""
GROWTH_MIB = 60
"""Bound on the growth of a process's memory from the middle of the attacks to their end: allocators keep some."""
GROWTH_DESCRIPTORS = 50

WORK = """
import time
def work(seconds):
    took, end = {"list": [], "compute": []}, time.monotonic() + seconds
    while time.monotonic() < end:
        for name, act in (
            ("list", gateway.list_clusters),
            ("compute", lambda: client.submit(lambda: 6 * 7, pure=False).result(timeout=60)),
        ):
            began = time.monotonic()
            act()
            took[name].append(time.monotonic() - began)
        time.sleep(0.2)
    return took
"""
ATTACKS = """
import json, os, random, socket, threading, time, urllib.error, urllib.parse, urllib.request
ended = threading.Event()
counts = {}

def ask(method, path, token, body=None):
    data = None if body is None else json.dumps(body).encode()
    headers = {"Authorization": token, "Content-Type": "application/json"}
    request = urllib.request.Request(ADDRESS + path, method=method, data=data, headers=headers)
    try:
        return urllib.request.urlopen(request, timeout=30).status
    except urllib.error.HTTPError as error:
        return error.code

def mine():
    return "jupyterhub " + os.environ["JUPYTERHUB_API_TOKEN"]

def unknown_tokens():
    return ask("GET", "/api/v1/clusters/", "jupyterhub %032x" % random.getrandbits(128))

def forged_heartbeats():
    name = "%032x" % random.getrandbits(128)
    address = {"scheduler_address": "tls://127.0.0.1:22", "dashboard_address": 123, "api_address": "x" * 70000}
    body = {**address, "count": "many", "active_workers": [1] * 1000}
    return ask("POST", f"/api/v1/clusters/{name}/heartbeat", "token x", body)

def huge_options():
    return ask("POST", "/api/v1/clusters/", mine(), {"cluster_options": {"conda_env": "/" + "x" * 100000}})

def wrong_bodies():
    return ask("POST", "/api/v1/clusters/", mine(), random.choice([[], 1, "x", None, {"cluster_options": []}]))

def huge_scale():
    return ask("POST", f"/api/v1/clusters/{MINE}/scale", mine(), {"count": 10**9}) if MINE else 0

def half_open():
    host = urllib.parse.urlsplit(ADDRESS).hostname
    with socket.create_connection((host, random.choice([80, 443])), timeout=10) as connection:
        connection.sendall(random.choice([b"GET / HTTP/1.1\\r\\nHost:", b"\\x16\\x03\\x01\\x02\\x00\\x01", b""]))
        ended.wait(5)
    return 0

ALL = [unknown_tokens, forged_heartbeats, huge_options, wrong_bodies, huge_scale, half_open]

def attack():
    while not ended.is_set():
        kind = random.choice(ALL)
        try:
            answer = kind()
        except Exception as error:
            answer = type(error).__name__
        counts[f"{kind.__name__} {answer}"] = counts.get(f"{kind.__name__} {answer}", 0) + 1
        ended.wait(0.1)

def begin():
    global threads
    threads = [threading.Thread(target=attack, daemon=True) for _ in range(4)]
    for thread in threads:
        thread.start()
"""


@contextmanager
def attacked(kernels: list[Notebook]) -> Iterator[None]:
    """Have these notebooks attack while the context lasts."""
    for kernel in kernels:
        kernel.run("begin()")
    try:
        yield
    finally:
        for kernel in kernels:
            kernel.run("ended.set()")
            print(f"{kernel.person}: {kernel.run('counts')}")


def percentiles(took: dict[str, list[float]]) -> dict[str, float]:
    """Return name of a request -> the 95th percentile of its durations in seconds."""
    return {name: quantiles(values, n=20)[-1] for name, values in took.items()}


def growths(earlier: dict[int, processes.Usage], later: dict[int, processes.Usage]) -> dict[str, tuple[float, int]]:
    """Return process -> growth of its memory in MiB and of its open descriptors; fails when a process has ended."""
    assert set(earlier) <= set(later), "a process of a gateway ended"
    return {
        f"{pid} {usage.command}": (
            later[pid].resident_mib - usage.resident_mib,
            later[pid].descriptors - usage.descriptors,
        )
        for pid, usage in earlier.items()
    }


def test_a_working_user_notices_no_hostile_ones(
    backend: Backend, open_notebook: Callable[[str], Notebook], administrator: Administrator
) -> None:
    before = administrator.all_objects()
    with ExitStack() as stack:
        alice, bob = open_notebook("alice"), open_notebook("bob")
        mallory = stack.enter_context(Notebook("mallory"))
        names = [notebooks.start_cluster(kernel) for kernel in (alice, bob)]
        for kernel, mine in ((bob, names[1]), (mallory, "")):
            kernel.run(f"ADDRESS, MINE = {SETTINGS.gateway(backend).address!r}, {mine!r}\n{ATTACKS}")
        alice.run(WORK)
        quiet = percentiles(alice.run(f"work({QUIET_SECONDS})", seconds=QUIET_SECONDS + 120))
        with attacked([bob, mallory]):
            half = SECONDS // 2
            first = alice.run(f"work({half})", seconds=half + 120)
            middle = processes.usage()
            second = alice.run(f"work({half})", seconds=half + 120)
            end = processes.usage()
        attacked_times = percentiles({name: first[name] + second[name] for name in first})
        print(f"p95 in s: alone {quiet}, attacked {attacked_times}; growth {growths(middle, end)}")
        for name, seconds in attacked_times.items():
            assert seconds <= SLOWER * quiet[name], name
        for process, (mib, descriptors) in growths(middle, end).items():
            assert (mib < GROWTH_MIB, descriptors < GROWTH_DESCRIPTORS) == (True, True), process
        for kernel in (alice, bob):
            kernel.run("cluster.shutdown()")
    administrator.await_no_leftovers(before, seconds=300)
