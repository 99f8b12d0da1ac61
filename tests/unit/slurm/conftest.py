"""A back end without SLURM, and a stand-in for the launcher."""

import base64
from types import SimpleNamespace

import pytest
from dask_gateway_server.backends.db_base import DataManager
from dask_gateway_server.models import User

from gateway.identity.accounts import classify
from gateway.identity.authenticator import FacilityUser
from gateway.slurm import launcher_client, start
from gateway.slurm.backend import FacilitySlurmBackend
from gateway.slurm.configuration import server_config
from tests.unit.slurm.world import ALICE, TOKEN, Queue


@pytest.fixture
def running(testbed_site):
    """The back end with an empty database and a queue without reconcilers."""
    config = server_config(testbed_site)
    config.FacilitySlurmBackend.db_encrypt_keys = [base64.b64encode(bytes(32)).decode()]
    backend = FacilitySlurmBackend(config=config, site=testbed_site, accounting_command="/bin/false")
    backend.db, backend.queue = DataManager(), Queue()
    return backend


@pytest.fixture
def launcher(monkeypatch):
    """The requests to the launcher in ``asked``. It answers by ``answers``, else that all is well.

    Before its answer, it awaits ``meanwhile`` with the name of the action.
    """

    async def nothing(action):
        pass

    stand_in = SimpleNamespace(asked=[], answers={"start": {"job": "7"}}, meanwhile=nothing)

    async def act(owner, action, **arguments):
        await stand_in.meanwhile(action)
        stand_in.asked.append({"action": action, "cluster": owner.cluster, **arguments})
        found = stand_in.answers.get(action, {"job": "7"})
        if isinstance(found, BaseException):
            raise found
        return found

    monkeypatch.setattr(launcher_client, "act", act)
    # Tests that wait for the preflight set it by themselves.
    monkeypatch.setattr(start, "PREFLIGHT_SECONDS", 0)
    return stand_in


@pytest.fixture
def alice(testbed_site):
    user = FacilityUser(User("alice"), classify("alice", testbed_site.identity.classes), ALICE.account)
    return user.with_token(TOKEN)
