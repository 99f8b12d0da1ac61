"""Users' requests that the tests of several rooms share."""

import dataclasses

from gateway.identity.accounts import Account, AccountUnknown
from gateway.identity.directory import DirectoryUnavailable
from gateway.kubernetes import cluster_spec
from gateway.request.environments import Environment
from gateway.request.options import ClusterRequest
from gateway.site import GIB

CANARY = "f3b1c0ffee"

ALICE = ClusterRequest(
    username="alice",
    user_class="purdue",
    account=Account("alice", 20001, 20000, (21001,)),
    environment=Environment("pixi_project", "/depot/cms/projects/analysis", "default"),
    variables={"PATH": "/bin", "USER": "alice", "PROMPT": f"$(whoami) has $$5 {CANARY}"},
    worker_cores=2.0,
    worker_memory_bytes=4 * GIB,
)

DAVE = dataclasses.replace(ALICE, username="dave-cern", user_class="cern", account=Account("paf0001", 30001, 30000, ()))

ACCOUNTS = (ALICE.account, DAVE.account, Account("bob", 20002, 20000, ()), Account("paf1002", 30002, 30000, ()))


class People:
    """A directory with the accounts of the samples, which a test can change and take down."""

    def __init__(self):
        self.accounts, self.up = list(ACCOUNTS), True

    async def account(self, name):
        account = self._first(account for account in self.accounts if account.name == name)
        if account is None:
            raise AccountUnknown("The directory has no such account.")
        return account

    async def account_of_uid(self, uid):
        return self._first(account for account in self.accounts if account.uid == uid)

    def _first(self, found):
        if not self.up:
            raise DirectoryUnavailable("The account can't be looked up now: try again in a minute.")
        return next(found, None)


def options_of(request):
    """Return the options from which a request was made, with defaults."""
    environment = request.environment
    named = {"pixi_project": "", "pixi_env": "default", "conda_env": "", environment.option: environment.path}
    if environment.name is not None:
        named["pixi_env"] = environment.name
    return {
        **named,
        "worker_cores": request.worker_cores,
        "worker_memory": request.worker_memory_bytes / GIB,
        "env": {},
    }


def spec_of(site, request):
    """Return the spec of a DaskCluster as the API server creates it for a request."""
    (user_class,) = (item for item in site.identity.classes if item.name == request.user_class)
    return cluster_spec.of_request(request, options_of(request), user_class)
