"""Attacks by way of the launcher and of environments: no code of a user runs on the submission host."""

import json
from collections.abc import Iterator

import pytest

from gateway.site import Backend
from testbed import docker, hub, submission
from testbed.slurm import NODES
from testbed.waiting import until
from tests.ansible.hosts import by_docker, call_launcher
from tests.e2e import faults, notebooks
from tests.e2e.administration import Administrator, identity_of
from tests.e2e.back_ends import on_slurm
from tests.e2e.machines import SETTINGS, slurm_container
from tests.e2e.notebooks import CellError, Notebook
from tests.e2e.test_impersonation import REQUEST

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(180)]

PLACE = "/depot/cms/users/alice/marking"
SPY = f"""#!/bin/sh
uname -n >>{PLACE}/hosts
cat /proc/self/cgroup >>{PLACE}/cgroups
echo 'error: refuses to start' >&2
exit 3
"""


@pytest.fixture
def kernel(backend: Backend, no_leftovers: None) -> Iterator[Notebook]:
    """Return alice's notebook with an environment whose interpreter notes where it runs, and fails."""
    with (
        notebooks.connected("alice", backend) as opened,
        notebooks.conda_environment(opened, PLACE, SPY),
    ):
        yield opened


@pytest.mark.finding("R2")
@on_slurm
def test_an_environments_interpreter_runs_on_nodes_alone(
    backend: Backend, kernel: Notebook, administrator: Administrator
) -> None:
    before = administrator.all_objects()
    with pytest.raises(CellError, match="does not start: error: refuses to start") as refused:
        kernel.run(notebooks.new_cluster({"conda_env": PLACE}))
    assert refused.value.name == "ValueError"
    hosts = set(kernel.run(f"open({PLACE!r} + '/hosts').read().split()"))
    nodes = {docker.execute(slurm_container(node.name), ["uname", "-n"]).strip() for node in NODES}
    assert hosts
    assert hosts <= nodes
    assert docker.execute(submission.CONTAINER, ["uname", "-n"]).strip() not in hosts
    until("nothing is left of the refused cluster", lambda: administrator.all_objects() <= before, seconds=30)


@pytest.mark.finding("R2")
@on_slurm
@pytest.mark.parametrize("person", ["alice", "bob"])
def test_users_on_the_submission_host_do_not_reach_the_launcher(backend: Backend, person: str) -> None:
    ended = call_launcher(by_docker(), person, "{}")
    assert ended.rc != 0
    assert "PermissionError" in ended.stderr


@pytest.mark.finding("R6")
@on_slurm
def test_a_start_while_the_hub_hangs_says_so_and_leaves_nothing(
    backend: Backend, no_leftovers: None, administrator: Administrator
) -> None:
    """A start needs the hub's word on its token, whatever cookie the server knows the user by."""
    before = administrator.all_objects()
    with notebooks.connected("alice", backend) as opened:
        opened.run(f"ADDRESS = {SETTINGS.slurm.address!r}\n{REQUEST}")
        body = {"cluster_options": notebooks.SMALL}
        with faults.paused_machine(hub.NAME):
            status, text = opened.run(f"send('POST', '/api/v1/clusters/', body={body!r})")
        assert (status, "try again in a minute" in text) == (502, True), text
        until("nothing is left of the refused cluster", lambda: administrator.all_objects() <= before, seconds=60)


@pytest.mark.finding("R1")
@on_slurm
def test_a_job_of_the_user_that_is_not_the_clusters_is_not_cancelled(
    backend: Backend, administrator: Administrator
) -> None:
    """The request names a job that alice submitted by herself, with the name of our jobs."""
    uid, gid, _ = identity_of("alice")
    host = by_docker()
    slurm = SETTINGS.slurm
    options = f"--parsable --job-name=dask-gateway --account={slurm.account} --chdir=/tmp --output=/dev/null --time=5"
    partition = slurm.worker_jobs.partition
    submit = f"sbatch {options} --partition={partition} --hold --wrap true"
    with host.sudo("alice"):
        job = host.check_output(submit).split(";")[0].strip()
    try:
        request = {
            "action": "cancel",
            "cluster": "0" * 32,
            "username": "alice",
            "uid": uid,
            "gid": gid,
            "jobs": [job],
            "remove": False,
        }
        ended = call_launcher(host, slurm.system_user, json.dumps(request))
        assert json.loads(ended.stdout) == {"ok": True, "skipped": [job]}
        assert host.check_output(f"squeue --noheader --jobs={job} --format=%T") == "PENDING"
    finally:
        host.check_output(f"scancel {job}")
