"""Users' requests that the tests of several rooms share."""

import dataclasses

from gateway.identity.accounts import Account
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
