"""Every promise of the user guide, on both back ends, by the guide's own snippets."""

from collections.abc import Callable
from urllib.parse import urlsplit

import pytest

from gateway.site import Backend
from testbed import hub
from tests.e2e import notebooks
from tests.e2e.administration import Administrator, identity_of
from tests.e2e.fetching import by_https, fetch
from tests.e2e.machines import SETTINGS
from tests.e2e.notebooks import CellError, Notebook

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240)]

OpenNotebook = Callable[[str], Notebook]
IDENTITY = """
def identity():
    import os
    return os.getuid(), os.getgid(), sorted(set(os.getgroups()) | {os.getgid()})
"""
ON_WORKERS = "list(client.run(%s).values())"


def on_workers(kernel: Notebook, function: str) -> list[object]:
    """Return the results of a function, given as an expression, on each worker of the kernel's client."""
    return list(kernel.run(ON_WORKERS % function))


def identities(kernel: Notebook) -> list[object]:
    kernel.run(IDENTITY)
    return [*on_workers(kernel, "identity"), kernel.run("client.run_on_scheduler(identity)")]


def expected_identity(person: str) -> list[object]:
    uid, gid, groups = identity_of(person)
    return [uid, gid, sorted(groups)]


# One cluster that tests share.


def test_snippets_compute(alice: Notebook) -> None:
    assert alice.run("total") == sum(number**2 for number in range(10))


def test_scale_gives_that_many_workers(alice: Notebook) -> None:
    alice.run("client.wait_for_workers(2, timeout=60)")
    assert len(on_workers(alice, "lambda: 1")) == 2


def test_workers_and_scheduler_have_the_users_identity(alice: Notebook) -> None:
    assert identities(alice) == [expected_identity("alice")] * 3


def test_environment_variables_arrive(alice: Notebook) -> None:
    assert on_workers(alice, "lambda: os.environ['X509_USER_PROXY']") == [notebooks.proxy_path("alice")] * 2


def test_tokens_stay_in_the_notebook(alice: Notebook) -> None:
    assert alice.run("'JUPYTERHUB_API_TOKEN' in os.environ") is True
    assert on_workers(alice, "lambda: 'JUPYTERHUB_API_TOKEN' in os.environ") == [False] * 2


def test_workers_run_in_the_default_pixi_environment(alice: Notebook) -> None:
    alice.run("import sys")
    prefix = f"{notebooks.PIXI_PROJECT}/.pixi/envs/default"
    assert on_workers(alice, "lambda: sys.prefix") == [prefix] * 2
    assert alice.run("client.run_on_scheduler(lambda: sys.prefix)") == prefix


def test_workers_have_the_cores_and_memory_of_the_snippet(alice: Notebook) -> None:
    each = "[(worker['nthreads'], worker['memory_limit']) for worker in client.scheduler_info()['workers'].values()]"
    assert alice.run(each) == [[1, 4 * 2**30]] * 2


def test_volumes_are_as_the_table_says(alice: Notebook, backend: Backend) -> None:
    seen = volumes_seen(alice)
    assert seen == {volume.path: volume.access_for(backend, "purdue").value for volume in SETTINGS.storage}


def test_home_is_not_there(alice: Notebook) -> None:
    assert on_workers(alice, "lambda: os.path.exists('/home/alice')") == [False] * 2


def test_files_belong_to_the_user(alice: Notebook) -> None:
    path = "/depot/cms/users/alice/written-by-a-worker.txt"
    write = f"client.submit(lambda: open({path!r}, 'w').write('results'), pure=False).result()"
    alice.run(write)
    assert alice.run(f"open({path!r}).read()") == "results"
    assert alice.run(f"(os.stat({path!r}).st_uid, os.remove({path!r}))[0]") == expected_identity("alice")[0]


def test_dashboard_answers_under_the_public_address(alice: Notebook, backend: Backend) -> None:
    link = alice.snippet("dashboard")
    assert urlsplit(link).hostname == SETTINGS.gateway(backend).host
    status, page = fetch(by_https(link), {"Authorization": f"token {hub.token(alice.person)}"})
    assert (status, "Dask" in page) == (200, True), (link, page[:300])


def test_another_notebook_discovers_the_cluster(alice: Notebook, backend: Backend) -> None:
    with notebooks.connected("alice", backend) as other:
        other.snippet("discover")
        assert other.run("cluster_name") == alice.run("cluster.name")
        assert other.run("client.submit(lambda: 6 * 7, pure=False).result()") == 42
    # The cluster outlives a notebook that has connected to it and has not created it.
    assert alice.run("client.submit(lambda: 6 * 7, pure=False).result()") == 42


def test_client_snippet_gives_another_client(alice: Notebook) -> None:
    alice.run("first = client")
    alice.snippet("client")
    assert alice.run("client is not first and client.submit(lambda: 6 * 7).result()") == 42
    alice.run("client = first")


def test_users_do_not_see_each_others_clusters(alice: Notebook, open_notebook: OpenNotebook) -> None:
    bob = open_notebook("bob")
    assert bob.run("[report.name for report in gateway.list_clusters()]") == []
    bob.snippet("create-pixi")
    bob.run(notebooks.scale_and_connect())
    assert identities(bob) == [expected_identity("bob")] * 2

    names = {
        kernel.person: kernel.run("[report.name for report in gateway.list_clusters()]") for kernel in (alice, bob)
    }
    assert names == {kernel.person: [kernel.run("cluster.name")] for kernel in (alice, bob)}
    with pytest.raises(CellError) as refused:
        bob.run(f"gateway.connect({names['alice'][0]!r})")
    assert names["alice"][0] in refused.value.message
    with pytest.raises(CellError):
        bob.run(f"gateway.stop_cluster({names['alice'][0]!r})")
    assert alice.run("client.submit(lambda: 6 * 7, pure=False).result()") == 42


# Environments.


@pytest.mark.parametrize(
    ("snippet", "prefix"),
    [
        ("create-pixi-env", f"{notebooks.PIXI_PROJECT}/.pixi/envs/my-env"),
        ("create-conda", notebooks.CONDA_ENVIRONMENT),
    ],
)
def test_workers_run_in_the_chosen_environment(snippet: str, prefix: str, open_notebook: OpenNotebook) -> None:
    kernel = open_notebook("alice")
    kernel.snippet(snippet)
    kernel.run("import sys\ncluster.scale(1)\nclient = cluster.get_client()")
    assert kernel.run("client.submit(lambda: sys.prefix).result(timeout=120)") == prefix
    assert kernel.run("client.run_on_scheduler(lambda: sys.prefix)") == prefix


# Shutdown of a cluster.


def test_shutdown_leaves_nothing(open_notebook: OpenNotebook, administrator: Administrator) -> None:
    kernel = open_notebook("alice")
    kernel.snippet("create-pixi")
    kernel.run(notebooks.scale_and_connect())
    name = kernel.run("cluster.name")
    assert administrator.object_kinds(name) == OBJECT_KINDS[administrator.backend]
    kernel.snippet("shutdown")
    administrator.await_end(name, seconds=60)
    assert name not in kernel.run("[report.name for report in gateway.list_clusters()]")


OBJECT_KINDS = {
    Backend.KUBERNETES: {
        *("pod", "secret", "service", "endpointslice", "networkpolicy"),
        *("ingressroute", "ingressroutetcp", "route"),
    },
    Backend.SLURM: {"job", "folder", "route"},
}
"""The kinds of objects of a running cluster."""


# Who may use the gateways.


@pytest.mark.parametrize("headers", [{}, {"Authorization": "jupyterhub 0123456789abcdef"}], ids=["none", "wrong"])
def test_a_request_without_valid_token_is_refused(headers: dict[str, str], backend: Backend) -> None:
    status, text = fetch(f"{SETTINGS.gateway(backend).address}/api/v1/clusters/", headers)
    assert status == 401, text


def test_a_name_instead_of_a_token_is_refused(backend: Backend) -> None:
    """By Basic authentication, the stock client claims a name without proof."""
    status, text = fetch(f"{SETTINGS.gateway(backend).address}/api/v1/clusters/", {"Authorization": "Basic YWxpY2U6"})
    assert status == 401, text


def test_a_user_without_account_is_refused(open_notebook: OpenNotebook) -> None:
    mallory = open_notebook("mallory")
    with pytest.raises(CellError) as refused:
        mallory.snippet("create-pixi")
    assert "mallory" in refused.value.message


@pytest.mark.parametrize("snippet", ["environment-variables", "custom-environment"])
def test_a_cern_user_works_by_the_guide_or_is_refused(
    snippet: str, backend: Backend, open_notebook: OpenNotebook
) -> None:
    dave = open_notebook("dave-cern")
    if "cern" not in SETTINGS.gateway(backend).classes:
        with pytest.raises(CellError) as refused:
            dave.snippet(snippet)
        assert SETTINGS.gateway(backend).refusal in refused.value.message
        return
    dave.snippet(snippet)
    dave.run(notebooks.scale_and_connect())
    assert identities(dave) == [expected_identity("dave-cern")] * 2
    assert on_workers(dave, "lambda: os.environ['X509_USER_PROXY']") == [notebooks.proxy_path("dave-cern")]
    assert volumes_seen(dave) == {volume.path: volume.access_for(backend, "cern").value for volume in SETTINGS.storage}


def volumes_seen(kernel: Notebook) -> dict[str, str]:
    """Return volume path -> access that the kernel's workers have, in the site's words."""
    markers = {volume.path: volume.marker for volume in SETTINGS.storage}
    kernel.run(f"""
def volumes():
    import os

    def access(path, marker):
        if not os.path.exists(os.path.join(path, marker)):
            return "none"
        return "read-only" if os.statvfs(path).f_flag & os.ST_RDONLY else "read-write"

    return {{path: access(path, marker) for path, marker in {markers!r}.items()}}
""")
    first, *others = on_workers(kernel, "volumes")
    assert all(other == first for other in others)
    assert isinstance(first, dict)
    return first
