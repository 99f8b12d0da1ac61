"""Test how long the cache of the directory serves an account, with and without an outage."""

import weakref

import pytest

from gateway.identity.accounts import AccountUnknown
from gateway.identity.directory import CachedDirectory, DirectoryUnavailable
from tests.unit.identity.samples import ERIN, RecordingDirectory


@pytest.fixture
def now():
    """The clock of the cache, in seconds; a test sets it."""
    return [0.0]


@pytest.fixture
def remembered(recorder, testbed_site, now):
    settings = testbed_site.identity.directory.model_copy(update={"cache_seconds": 60, "outage_seconds": 3600})
    return CachedDirectory(recorder, settings, clock=lambda: now[0])


@pytest.mark.weakness(6)
async def test_accounts_are_remembered_for_a_bounded_time(remembered, recorder, now):
    first = await remembered.account("alice")
    now[0] = 59.9
    assert await remembered.account("alice") is first
    now[0] = 60.0
    assert await remembered.account("alice") != first
    assert recorder.asked == ["alice", "alice"]


@pytest.mark.weakness(6)
async def test_older_accounts_count_for_a_bounded_time_while_the_directory_is_down(remembered, recorder, now):
    first = await remembered.account("alice")
    recorder.up = False
    now[0] = 3599.9
    assert await remembered.account("alice") is first
    now[0] = 3600.0
    with pytest.raises(DirectoryUnavailable):
        await remembered.account("alice")


async def test_an_outage_makes_no_account_younger(remembered, recorder, now):
    await remembered.account("alice")
    recorder.up = False
    for now[0] in (100.0, 3000.0):
        await remembered.account("alice")
    now[0] = 3600.0
    with pytest.raises(DirectoryUnavailable):
        await remembered.account("alice")


async def test_others_are_told_that_the_directory_is_down(remembered, recorder):
    await remembered.account("alice")
    recorder.up = False
    with pytest.raises(DirectoryUnavailable):
        await remembered.account("bob")


@pytest.fixture
def unknown(recorder, monkeypatch):
    """Have the directory know no name."""

    async def answer(name):
        recorder.asked.append(name)
        raise AccountUnknown(f"no account {name}")

    monkeypatch.setattr(recorder, "account", answer)


@pytest.mark.finding("R4g")
async def test_an_unknown_name_is_looked_up_again_after_a_while(remembered, recorder, unknown, now):
    for seconds in (0.0, 5.0, 9.9, 10.0):
        now[0] = seconds
        with pytest.raises(AccountUnknown, match="no account alice"):
            await remembered.account("alice")
    assert recorder.asked == ["alice"] * 2


async def test_an_account_that_the_directory_has_deleted_is_not_used_in_an_outage(
    remembered, recorder, monkeypatch, now
):
    await remembered.account("alice")
    now[0] = 60.0
    with monkeypatch.context() as context:
        context.setattr(recorder, "account", _raise_unknown)
        with pytest.raises(AccountUnknown):
            await remembered.account("alice")
    recorder.up, now[0] = False, 80.0
    with pytest.raises(DirectoryUnavailable):
        await remembered.account("alice")


async def _raise_unknown(name):
    raise AccountUnknown(f"no account {name}")


async def test_that_no_account_has_a_uid_is_remembered(testbed_site):
    recorder = RecordingDirectory(of_uid=None)
    remembered = CachedDirectory(recorder, testbed_site.identity.directory)
    for _ in range(2):
        assert await remembered.account_of_uid(30002) is None
    assert recorder.asked == [30002]


async def test_accounts_by_uid_are_remembered_apart_from_names(remembered, recorder):
    for _ in range(2):
        assert await remembered.account_of_uid(30002) == ERIN
    await remembered.account("30002")
    assert recorder.asked == [30002, "30002"]


async def test_the_memory_forgets_who_stays_away(remembered, now):
    known = [weakref.ref(await remembered.account(f"user{number}")) for number in range(100)]
    assert all(account() is not None for account in known)
    now[0] = 3600.0
    await remembered.account("alice")
    assert not any(account() is not None for account in known)
