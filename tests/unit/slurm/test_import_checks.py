"""When an environment is checked again, and which clusters share the result of a check."""

import asyncio

import pytest

from gateway.errors import Refusal
from gateway.slurm import import_checks


class Check:
    """A check of an environment that ends when the test sets ``goes_on``."""

    def __init__(self, *errors):
        self.errors, self.begun, self.goes_on = list(errors), 0, asyncio.Event()

    async def __call__(self):
        self.begun += 1
        await self.goes_on.wait()
        error = self.errors.pop(0) if self.errors else None
        if error is not None:
            raise error


async def outcomes(checks, check, count):
    waiting = [asyncio.ensure_future(checks.passed("environment", check)) for _ in range(count)]
    await asyncio.sleep(0)
    check.goes_on.set()
    return await asyncio.gather(*waiting, return_exceptions=True)


async def test_many_at_once_cause_one_look():
    checks, check = import_checks.ImportChecks(), Check()
    assert await outcomes(checks, check, 30) == [None] * 30
    await checks.passed("environment", check)
    assert check.begun == 1


async def test_another_state_is_another_look():
    checks, check = import_checks.ImportChecks(), Check()
    check.goes_on.set()
    await checks.passed(("environment", 1), check)
    await checks.passed(("environment", 2), check)
    assert check.begun == 2


async def test_a_refusal_is_for_all_who_wait_and_not_remembered():
    checks, refusal = import_checks.ImportChecks(), Refusal("lacks dask")
    check = Check(refusal)
    assert await outcomes(checks, check, 3) == [refusal] * 3
    await checks.passed("environment", check)
    assert check.begun == 2


async def test_another_error_is_of_one_cluster_alone():
    checks, error = import_checks.ImportChecks(), OSError("its folder is gone")
    check = Check(error)
    assert await outcomes(checks, check, 3) == [error, None, None]


async def test_who_gives_up_takes_nobody_along():
    checks, check = import_checks.ImportChecks(), Check()
    first, second = (asyncio.ensure_future(checks.passed("environment", check)) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    check.goes_on.set()
    await second
    assert check.begun == 1
    with pytest.raises(asyncio.CancelledError):
        await first


async def test_only_so_many_are_remembered(monkeypatch):
    monkeypatch.setattr(import_checks, "MOST_REMEMBERED", 2)
    checks, check = import_checks.ImportChecks(), Check()
    check.goes_on.set()
    for number in (1, 2, 3, 3, 1):
        await checks.passed(number, check)
    assert check.begun == 4
