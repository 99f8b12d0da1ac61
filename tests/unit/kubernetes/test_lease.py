"""One holder at a time, whatever clocks of other processes and Kubernetes do."""

import asyncio
import itertools
import logging
from types import SimpleNamespace

import pytest
from kubernetes_asyncio.client.rest import ApiException

from gateway.kubernetes.controller.lease import (
    GIVE_UP_SECONDS,
    LEASE_SECONDS,
    PAUSE_SECONDS,
    RENEWAL_SECONDS,
    REQUEST_SECONDS,
    Lease,
)


class Leases:
    """Kubernetes with the one Lease that it stores."""

    def __init__(self, holder=None):
        self.holder, self.version, self.is_up = holder, 1, True
        self.reads, self.writes, self.faults = 0, 0, iter(())
        self._requested = asyncio.Event()

    def _lease(self):
        metadata = SimpleNamespace(resource_version=str(self.version))
        spec = SimpleNamespace(holder_identity=self.holder) if self.version > 1 or self.holder else None
        return SimpleNamespace(metadata=metadata, spec=spec)

    async def until(self, condition):
        """Wait for requests until the condition is true."""
        while not condition():
            self._requested.clear()
            await self._requested.wait()

    async def read_namespaced_lease(self, name, namespace):
        assert (name, namespace) == ("controller-k8s", "cms")
        if not self.is_up:
            raise ApiException(status=500)
        self.reads += 1
        self._requested.set()
        lease = self._lease()
        # Processes that read at the same time see the same version.
        await asyncio.sleep(0)
        return lease

    async def patch_namespaced_lease(self, name, namespace, change, _content_type):
        assert _content_type == "application/merge-patch+json"
        if not self.is_up or next(self.faults, False):
            raise ApiException(status=500)
        if change["metadata"]["resourceVersion"] != str(self.version):
            raise ApiException(status=409)
        self.version, self.writes = self.version + 1, self.writes + 1
        self.holder = change["spec"]["holderIdentity"]
        self._requested.set()
        return self._lease()


class Clock:
    """A clock that only pauses move on."""

    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now

    async def sleep(self, seconds):
        self.now += seconds
        await asyncio.sleep(0)


@pytest.fixture
def clock():
    return Clock()


def held_by(leases, holder, clock):
    return Lease(leases, "controller-k8s", "cms", holder, logging.getLogger("test"), clock, clock.sleep)


@pytest.mark.parametrize("before", [None, "", "first"])
async def test_who_comes_first_has_it_and_has_it_again_after_a_restart(clock, before):
    leases = Leases(before)
    await held_by(leases, "first", clock).acquire()
    assert leases.holder == "first"
    assert clock.now == 100.0


async def test_of_two_at_once_one_has_it(clock):
    leases = Leases()
    first, second = (held_by(leases, name, clock) for name in ("first", "second"))
    assert sorted(await asyncio.gather(first.try_acquire(), second.try_acquire())) == [False, True]
    assert leases.writes == 1


async def test_the_next_one_waits_until_it_is_left(clock):
    leases = Leases()
    first, second = (held_by(leases, name, clock) for name in ("first", "second"))
    await first.acquire()
    assert not await second.try_acquire()
    await first.release()
    assert await second.try_acquire()
    assert leases.holder == "second"


async def test_a_lease_that_is_renewed_is_nobody_elses(clock):
    leases = Leases()
    first, second = (held_by(leases, name, clock) for name in ("first", "second"))
    await first.acquire()
    for _ in range(10):
        assert not await second.try_acquire()
        clock.now += LEASE_SECONDS - 1
        assert await first.try_renew()


async def test_the_lease_of_a_lost_holder_is_taken_after_its_time(clock):
    leases = Leases("lost")
    await held_by(leases, "next", clock).acquire()
    assert leases.holder == "next"
    assert LEASE_SECONDS <= clock.now - 100.0 <= LEASE_SECONDS + PAUSE_SECONDS


async def test_a_holder_that_can_not_renew_it_gives_up_before_others_begin(clock):
    leases = Leases()
    lease = held_by(leases, "first", clock)
    await lease.acquire()
    leases.is_up = False
    await lease.keep()
    assert GIVE_UP_SECONDS <= clock.now - 100.0 <= GIVE_UP_SECONDS + PAUSE_SECONDS
    assert GIVE_UP_SECONDS + PAUSE_SECONDS + REQUEST_SECONDS < LEASE_SECONDS


async def test_a_process_that_loses_its_lease_exits(clock, caplog):
    leases, codes = Leases(), []
    lease = held_by(leases, "first", clock)
    await lease.acquire()
    leases.is_up = False
    await lease.keep_or_exit(codes.append)
    assert codes == [1]
    assert "The lease controller-k8s is lost" in caplog.text


async def test_a_holder_that_was_replaced_gives_up_and_takes_nothing_back(clock):
    leases = Leases()
    first, second = (held_by(leases, name, clock) for name in ("first", "second"))
    await first.acquire()
    leases.holder, leases.version = "", leases.version + 1
    await second.acquire()
    since = clock.now
    await first.keep()
    assert clock.now - since == RENEWAL_SECONDS + PAUSE_SECONDS
    await first.release()
    assert leases.holder == "second"


async def test_short_faults_of_kubernetes_cost_nothing(clock):
    leases = Leases()
    lease = held_by(leases, "first", clock)
    await lease.acquire()
    leases.faults = itertools.chain([True, True, True, False] * 20, itertools.repeat(True))
    await lease.keep()
    assert leases.writes == 1 + 20


async def test_a_lease_is_renewed_without_a_look_and_others_may_label_it(clock):
    leases = Leases()
    lease = held_by(leases, "first", clock)
    await lease.acquire()
    kept = asyncio.ensure_future(lease.keep())
    for _ in range(2):
        reads, writes = leases.reads, leases.writes
        await leases.until(lambda writes=writes: leases.writes >= writes + 20)
        assert leases.reads == reads
        leases.version += 1
        await leases.until(lambda reads=reads: leases.reads > reads)
    assert not kept.done()
    kept.cancel()
