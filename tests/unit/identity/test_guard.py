"""Test the bounds on credentials that are not valid, and that valid ones have none."""

import asyncio

import pytest

from gateway.identity import guard as module
from gateway.identity.guard import Bounds, CredentialRefused, Guard, Recent, TooManyAttempts

BOUNDS = Bounds(attempts=3, attempt_seconds=10, refused_seconds=5)
pytestmark = pytest.mark.finding("R4g")


class Credentials:
    """A guard, its clock in seconds, and the checked credentials. Those that begin with ``good`` are valid."""

    def __init__(self):
        self.now, self.asked, self.valid = 0.0, [], lambda credential: credential.startswith("good")
        self.guard = Guard(BOUNDS, clock=lambda: self.now)

    async def send(self, credential, source="192.0.2.1"):
        async def check():
            self.asked.append(credential)
            await asyncio.sleep(0)
            if not self.valid(credential):
                raise CredentialRefused
            return credential

        return await self.guard.checked(source, credential, check)

    async def outcome(self, credential, source="192.0.2.1"):
        try:
            return await self.send(credential, source)
        except (CredentialRefused, TooManyAttempts) as error:
            return type(error)


@pytest.fixture
def credentials():
    return Credentials()


async def test_a_refused_credential_is_checked_again_after_a_while(credentials):
    for credentials.now in (0.0, 4.9, 5.0):
        assert await credentials.outcome("bad") is CredentialRefused
    assert credentials.asked == ["bad", "bad"]


async def test_a_source_has_a_bounded_number_of_attempts(credentials):
    outcomes = [await credentials.outcome(f"bad{number}") for number in range(10)]
    assert outcomes == [CredentialRefused] * 3 + [TooManyAttempts] * 7
    assert len(credentials.asked) == 3
    assert await credentials.outcome("bad", source="192.0.2.2") is CredentialRefused


async def test_attempts_are_forgiven_one_by_one(credentials):
    for number in range(4):
        await credentials.outcome(f"bad{number}")
    credentials.now = 10.0
    assert [await credentials.outcome(f"bad1{number}") for number in range(2)] == [CredentialRefused, TooManyAttempts]


async def test_valid_credentials_have_no_bound(credentials):
    assert await credentials.outcome("good") == "good"
    for number in range(4):
        await credentials.outcome(f"bad{number}")
    assert await credentials.outcome("good new") is TooManyAttempts
    assert [await credentials.outcome("good") for _ in range(20)] == ["good"] * 20


async def test_newcomers_spend_no_attempt(credentials):
    assert [await credentials.outcome(f"good{number}") for number in range(20)] == [f"good{n}" for n in range(20)]


async def test_a_credential_that_becomes_invalid_is_not_known_any_more(credentials):
    await credentials.send("good")
    credentials.valid = lambda _: False
    assert [await credentials.outcome("good") for _ in range(5)] == [CredentialRefused] * 5
    assert credentials.asked == ["good", "good"]


async def test_a_flood_at_once_is_checked_a_few_at_a_time(credentials):
    outcomes = await asyncio.gather(*(credentials.outcome(f"bad{number}") for number in range(100)))
    assert len(credentials.asked) <= BOUNDS.attempts + module.TURNS
    assert set(outcomes) == {CredentialRefused, TooManyAttempts}


async def test_newcomers_at_once_are_all_accepted(credentials):
    outcomes = await asyncio.gather(*(credentials.outcome(f"good{number}") for number in range(100)))
    assert outcomes == [f"good{number}" for number in range(100)]


async def test_a_newcomer_does_not_wait_for_ever(credentials, monkeypatch):
    monkeypatch.setattr(module, "TURN_SECONDS", 0.01)
    forever = asyncio.Event()
    stuck = [
        asyncio.ensure_future(credentials.guard.checked("192.0.2.1", f"stuck{number}", forever.wait))
        for number in range(module.TURNS)
    ]
    await asyncio.sleep(0)
    assert await credentials.outcome("good") is TooManyAttempts
    forever.set()
    await asyncio.gather(*stuck)
    assert await credentials.outcome("good") == "good"


async def test_an_error_of_the_check_spends_nothing(credentials):
    async def fail():
        raise OSError("no answer")

    for _ in range(10):
        with pytest.raises(OSError, match="no answer"):
            await credentials.guard.checked("192.0.2.1", "unsure", fail)
    assert await credentials.outcome("good") == "good"


def test_what_is_remembered_has_a_bound():
    recent = Recent(2)
    for key in ("a", "b"):
        recent.put(key, key)
    assert recent.get("a") == "a"
    recent.put("c", "c")
    assert [recent.get(key) for key in ("a", "b", "c")] == ["a", None, "c"]
    assert len(recent) == 2
