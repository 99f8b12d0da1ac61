"""The SLURM gateway's configuration, and the jobs that upstream's backend makes of it."""

import base64
import dataclasses
import shlex
from types import SimpleNamespace

import pytest
from dask_gateway_server.options import Options

from gateway.options import GIB, ClusterRequest
from gateway.slurm.__main__ import SlurmGateway, main
from gateway.slurm.backend import FacilitySlurmBackend, FacilitySlurmClusterConfig
from gateway.slurm.config import cluster_config, server_config
from gateway.users import Account

ALICE = ClusterRequest(
    username="alice",
    user_class="purdue",
    account=Account("alice", 20001, 20000, (21001,)),
    prefix="/depot/cms/users/alice/.pixi/envs/default",
    environment={"PATH": "/bin", "MINE": "a b"},
    worker_cores=2.0,
    worker_memory_bytes=4 * GIB,
)
DASK = f"{ALICE.prefix}/bin/dask"


@pytest.fixture
def submission(testbed_site, monkeypatch):
    """What the launcher gets for a request: command, variables and script, of scheduler or worker."""
    monkeypatch.setattr(FacilitySlurmBackend, "get_staging_directory", lambda self, cluster: "/staging/c1")
    config = server_config(testbed_site)
    config.FacilitySlurmBackend.db_encrypt_keys = [base64.b64encode(bytes(32)).decode()]
    backend = FacilitySlurmBackend(config=config)

    def make(request, *, worker, **changed):
        cluster = SimpleNamespace(
            name="c1",
            username=request.username,
            token="secret",
            scheduler_address="tls://node:1",
            config=FacilitySlurmClusterConfig(**{**cluster_config(testbed_site, request), **changed}),
        )
        return backend.get_submit_cmd_env_stdin(cluster, SimpleNamespace(name="w1") if worker else None)

    return make


@pytest.mark.parametrize("worker", [False, True], ids=["scheduler", "worker"])
def test_jobs_end_after_the_lifetime_and_are_charged_to_the_site(submission, testbed_site, worker):
    command, _, _ = submission(ALICE, worker=worker)
    minutes = testbed_site.slurm.timeouts.lifetime_seconds // 60
    assert {f"--time={minutes}", "--account=cms", "--partition=hammer-nodes"} <= set(command)


@pytest.mark.parametrize(("seconds", "minutes"), [(60, 1), (61, 2), (86400, 1440)])
def test_lifetime_is_never_rounded_down(submission, seconds, minutes):
    command, _, _ = submission(ALICE, worker=True, lifetime_seconds=seconds)
    assert f"--time={minutes}" in command


def test_worker_gets_what_was_asked_for(submission):
    command, _, script = submission(ALICE, worker=True)
    assert {"--cpus-per-task=2", "--mem=4096M"} <= set(command)
    words = shlex.split(script.splitlines()[-1])
    assert words[:2] == [DASK, "worker"]
    assert words[words.index("--nthreads") + 1] == "2"
    assert words[words.index("--memory-limit") + 1] == str(4 * GIB)


def test_scheduler_gets_what_the_site_says(submission):
    command, _, script = submission(ALICE, worker=False)
    assert {"--cpus-per-task=1", "--mem=2048M"} <= set(command)
    assert shlex.split(script.splitlines()[-1])[:2] == [DASK, "scheduler"]


@pytest.mark.parametrize("worker", [False, True], ids=["scheduler", "worker"])
def test_a_path_means_nothing_to_the_shell_of_the_job(submission, worker):
    prefix = "/depot/cms/users/alice/$(id) 'x'; echo"
    _, _, script = submission(dataclasses.replace(ALICE, prefix=prefix), worker=worker)
    assert shlex.split(script.splitlines()[-1])[0] == f"{prefix}/bin/dask"


@pytest.mark.parametrize("worker", [False, True], ids=["scheduler", "worker"])
def test_secrets_and_values_are_variables_and_no_arguments(submission, worker):
    command, environment, script = submission(ALICE, worker=worker)
    assert environment["DASK_GATEWAY_API_TOKEN"] == "secret"
    assert environment["MINE"] == "a b"
    assert "secret" not in " ".join([*command, script])
    (exported,) = (word for word in command if word.startswith("--export="))
    assert exported.removeprefix("--export=").split(",") == sorted(environment)


def test_jobs_have_a_home_of_their_own(submission):
    _, _, script = submission(ALICE, worker=True)
    first, *_ = script.splitlines()
    assert first == "#!/bin/sh"
    assert 'export HOME="/tmp/dask-$(id -u)"' in script


def test_server_keeps_clusters_over_a_restart(testbed_site):
    config = server_config(testbed_site)
    backend = config.FacilitySlurmBackend
    assert config.Proxy.externally_managed is True
    assert backend.stop_clusters_on_shutdown is False
    assert backend.db_url == "sqlite:////var/lib/dask-gateway/gateway.sqlite"
    assert isinstance(backend.cluster_options, Options)


def test_only_the_proxy_is_reachable_from_elsewhere(testbed_site):
    config = server_config(testbed_site)
    assert config.DaskGateway.address == "127.0.0.1:8088"
    assert config.Proxy.address == ":8000"
    assert config.FacilitySlurmBackend.api_url == "http://submission:8000/api"


def test_start_timeout_is_of_schedulers_and_waiting_workers_are_no_failure(testbed_site):
    backend = server_config(testbed_site).FacilitySlurmBackend
    assert backend.cluster_start_timeout == 120
    assert backend.worker_start_timeout == 86400


def test_service_is_named_exactly(monkeypatch):
    started = []
    monkeypatch.setattr(SlurmGateway, "launch_instance", lambda *, argv: started.append(argv))
    main(["server"])
    main(["proxy"])
    assert started == [[], ["proxy"]]
    for wrong in ([], ["servr"], ["server", "more"]):
        with pytest.raises(SystemExit, match=r"usage: python -m gateway.slurm server\|proxy"):
            main(wrong)
