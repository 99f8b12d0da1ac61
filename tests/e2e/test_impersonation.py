"""Users who claim another identity, or use another user's cluster, are refused."""

import json
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from gateway.identity import accounts
from gateway.site import AccountSource, Backend
from testbed import docker, hub, notebook
from testbed.slurm import NODES
from tests.e2e import notebooks
from tests.e2e.administration import Administrator, identity_of
from tests.e2e.back_ends import on_kubernetes, on_slurm
from tests.e2e.fetching import fetch
from tests.e2e.machines import SETTINGS, slurm_container
from tests.e2e.notebooks import CellError, Notebook, on_worker

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240)]

PROJECT = notebooks.PIXI_PROJECT
REQUEST = """
import json, os, urllib.error, urllib.request

def send(method, path, body=None, headers=None, token=os.environ["JUPYTERHUB_API_TOKEN"]):
    headers = {"Authorization": f"jupyterhub {token}", **(headers or {})}
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(ADDRESS + path, method=method, data=data, headers=headers)
    try:
        answer = urllib.request.urlopen(request, timeout=30)
    except urllib.error.HTTPError as error:
        answer = error
    return answer.status, answer.read().decode()
"""


@pytest.fixture(scope="module")
def bob(backend: Backend, no_leftovers: None) -> Iterator[Notebook]:
    """Return bob's notebook with a cluster and a function ``send``, which makes any request to the gateway's API."""
    with notebooks.connected("bob", backend) as kernel:
        notebooks.start_cluster(kernel)
        kernel.run(f"ADDRESS = {SETTINGS.gateway(backend).address!r}\n{REQUEST}")
        yield kernel


@dataclass(frozen=True)
class Victim:
    """Alice's cluster."""

    kernel: Notebook
    name: str

    def works(self) -> bool:
        """Return whether the cluster still computes."""
        return bool(self.kernel.run("client.submit(lambda: 6 * 7, pure=False).result(timeout=60)") == 42)


@pytest.fixture(scope="module")
def victim(backend: Backend, no_leftovers: None) -> Iterator[Victim]:
    with notebooks.connected("alice", backend) as kernel:
        yield Victim(kernel, notebooks.start_cluster(kernel))


# Claims of another user's name.


@pytest.mark.weakness(1)
def test_a_name_instead_of_a_token_is_refused(backend: Backend) -> None:
    """By Basic authentication, the stock client claims a name without proof."""
    address = f"{SETTINGS.gateway(backend).address}/api/v1/clusters/"
    status, text = fetch(address, {"Authorization": "Basic YWxpY2U6"})
    assert status == 401, text


@pytest.mark.parametrize(
    "headers",
    [
        {"Authorization": "jupyterhub 0123456789abcdef"},
        {"Authorization": "token 0123456789abcdef"},
        {"Authorization": "jupyterhub"},
        {"Authorization": "alice"},
        {"X-Forwarded-User": "alice", "Remote-User": "alice"},
        {},
    ],
    ids=["wrong token", "another kind", "no token", "a bare name", "headers of a proxy", "nothing"],
)
@pytest.mark.weakness(1)
def test_a_request_without_valid_token_is_refused(headers: dict[str, str], backend: Backend) -> None:
    status, text = fetch(f"{SETTINGS.gateway(backend).address}/api/v1/clusters/", headers)
    assert status == 401, text


@pytest.mark.weakness(1)
def test_the_token_of_a_hub_service_is_refused(backend: Backend) -> None:
    """The hub accepts a service's token, but a service is not a user."""
    headers = {"Authorization": f"jupyterhub {(hub.SECRETS / 'hub-token').read_text()}"}
    status, text = fetch(f"{SETTINGS.gateway(backend).address}/api/v1/clusters/", headers)
    assert status in {401, 422}, text


@pytest.mark.weakness(1)
def test_another_name_in_headers_and_bodies_is_ignored(bob: Notebook, victim: Victim) -> None:
    headers = dict.fromkeys(("X-Forwarded-User", "X-Remote-User", "Remote-User", "X-User"), "alice")
    status, text = bob.run(f"send('GET', '/api/v1/clusters/?username=alice&user=alice', headers={headers!r})")
    assert status == 200, text
    assert list(json.loads(text)) == [bob.run("cluster.name")]
    body = {"username": "alice", "user": "alice", "cluster_options": {"pixi_project": PROJECT, "user": "alice"}}
    status, text = bob.run(f"send('POST', '/api/v1/clusters/', body={body!r}, headers={headers!r})")
    assert (status, "unknown option 'user'" in text) == (422, True), text


REFUSALS = {
    "ali": "no account named 'ali'",
    "a-cern-b": "no account named 'a-cern-b'",
    "al*e": "is not a user name",
    "alice)(uid=*": "is not a user name",
    "paf0001": "name of a pool account",
    "jovyan": "no account named 'jovyan'",
    "mallory": "no account named 'mallory'",
}
"""Name -> part of the refusal, for names that could be mistaken for those of others."""


@pytest.mark.weakness(4, 5, 12)
@pytest.mark.parametrize("person", REFUSALS)
def test_a_name_that_resembles_anothers_is_refused(person: str, backend: Backend, administrator: Administrator) -> None:
    before = administrator.all_objects()
    with notebooks.connected(person, backend) as kernel:
        for code in ("gateway.list_clusters()", notebooks.new_cluster({"pixi_project": PROJECT})):
            with pytest.raises(CellError) as refused:
                kernel.run(code)
            assert REFUSALS[person] in refused.value.message
    assert administrator.all_objects() <= before


# Claims of another user's uid and gid.

CLAIMED_UIDS = [
    "0",
    "1",
    "999",
    "20001",
    "65534",
    "-1",
    str(2**32),
    str(2**32 + 30001),
    " 0",
    "030001",
    "30001 ",
    "",
    "alice",
]


@pytest.mark.weakness(3, 14)
@on_kubernetes
@pytest.mark.parametrize("person", ["dave-cern", "frank-fnal"])
def test_a_wrong_uid_or_gid_is_refused(person: str, backend: Backend, administrator: Administrator) -> None:
    """Uids of other users and of the system, malformed uids, and with the right uid another gid."""
    uid, gid, _ = identity_of(person)
    others = [str(identity_of(other)[0]) for other in ("dave-cern", "erin-fnal") if other != person]
    claims = [(claim, str(gid)) for claim in [*CLAIMED_UIDS, *others]]
    claims += [(str(uid), wrong) for wrong in ("0", "20000", "21001", "-1", "")]
    before = administrator.all_objects()
    with notebooks.connected(person, backend) as kernel:
        for claim, group in claims:
            options = {"pixi_project": PROJECT, "env": {"NB_UID": claim, "NB_GID": group}}
            with pytest.raises(CellError) as refused:
                kernel.run(notebooks.new_cluster(options))
            assert refused.value.name == "ValueError", (claim, group)
            assert "NB_UID" in refused.value.message or "NB_GID" in refused.value.message
    assert administrator.all_objects() <= before


@pytest.mark.weakness(3)
@pytest.mark.parametrize(
    "variables", [{"NB_UID": "0", "NB_GID": "0"}, {"USER": "bob", "LOGNAME": "bob", "NB_USER": "bob"}]
)
def test_env_does_not_change_the_account_of_a_cluster(
    variables: dict[str, str], backend: Backend, no_leftovers: None
) -> None:
    with notebooks.connected("alice", backend) as kernel:
        notebooks.start_cluster(kernel, {**notebooks.SMALL, "env": variables})
        uid, gid, _ = identity_of("alice")
        assert on_worker(kernel, "(os.getuid(), os.getgid())") == [uid, gid]


def test_the_people_above_cover_both_sources_of_external_accounts() -> None:
    sources = {
        accounts.classify(person, SETTINGS.identity.classes).account
        for person in ("dave-cern", "erin-fnal", "frank-fnal")
    }
    assert sources == {AccountSource.HUB, AccountSource.POOL}


# Access to another user's cluster.


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", "", None),
        ("GET", "?wait", None),
        ("DELETE", "", None),
        ("POST", "/scale", {"count": 0}),
        ("POST", "/adapt", {"minimum": 0, "maximum": 0}),
        ("POST", "/heartbeat", {"count": 0, "active_workers": [], "closing_workers": [], "closed_workers": []}),
    ],
    ids=["get", "wait", "stop", "scale", "adapt", "heartbeat"],
)
@pytest.mark.weakness(1)
def test_requests_about_anothers_cluster_are_refused(
    method: str, path: str, body: object, bob: Notebook, victim: Victim
) -> None:
    status, text = bob.run(f"send({method!r}, '/api/v1/clusters/{victim.name}{path}', body={body!r})")
    assert status in {401, 403}, text
    assert "tls_key" not in text
    assert "dashboard_route" not in text
    assert victim.works()


@pytest.mark.weakness(1)
def test_a_clusters_token_is_refused_for_another_cluster(bob: Notebook, victim: Victim) -> None:
    token = on_worker(bob, "open(os.environ['DASK_GATEWAY_API_TOKEN']).read()")
    assert len(token) == 32
    header = {"Authorization": f"token {token}"}
    own = bob.run("cluster.name")
    heartbeat = {"count": 1, "active_workers": [], "closing_workers": [], "closed_workers": []}
    for method, path, body in (("DELETE", "", None), ("POST", "/heartbeat", heartbeat)):
        status, text = bob.run(
            f"send({method!r}, '/api/v1/clusters/{victim.name}{path}', body={body!r}, headers={header!r})"
        )
        assert status in {401, 403}, text
    assert own != victim.name
    assert victim.works()


@pytest.mark.weakness(1)
def test_a_scheduler_refuses_the_certificate_of_another_cluster(bob: Notebook, victim: Victim) -> None:
    """The name is enough for the route through the proxy; bob lacks the certificate of alice's cluster."""
    bob.run("""
from distributed import Client
def reach(name):
    address = cluster.scheduler_address.replace(cluster.name, name)
    with Client(address, security=cluster.security, timeout=10, set_as_default=False) as other:
        return len(other.scheduler_info()["workers"])
""")
    assert bob.run("reach(cluster.name)") == 1
    with pytest.raises(CellError):
        bob.run(f"reach({victim.name!r})")
    assert victim.works()


def test_requests_about_ones_own_cluster_are_answered(bob: Notebook) -> None:
    status, text = bob.run("send('GET', '/api/v1/clusters/' + cluster.name)")
    assert status == 200
    assert "BEGIN" in json.loads(text)["tls_key"]


@pytest.mark.weakness(15)
@on_kubernetes
def test_users_code_has_no_access_to_the_kubernetes_api(backend: Backend, bob: Notebook) -> None:
    assert on_worker(bob, "os.path.exists('/var/run/secrets/kubernetes.io')") is False
    bob.run(f"""
def status_of(resource):
    import os, ssl, urllib.error, urllib.request
    context = ssl._create_unverified_context()
    address = f"https://{{os.environ['KUBERNETES_SERVICE_HOST']}}/api/v1/namespaces/{SETTINGS.kubernetes.namespace}"
    try:
        return urllib.request.urlopen(f"{{address}}/{{resource}}", context=context).status
    except urllib.error.HTTPError as error:
        return error.code
""")
    assert {on_worker(bob, f"status_of({resource!r})") for resource in ("secrets", "pods", "configmaps")} <= {401, 403}


@pytest.mark.weakness(15)
@on_kubernetes
def test_users_code_has_no_privileges(backend: Backend, bob: Notebook) -> None:
    wanted = ("CapEff", "CapPrm", "CapBnd", "NoNewPrivs", "Seccomp")
    status = on_worker(bob, "dict(line.split(':', 1) for line in open('/proc/self/status').read().splitlines())")
    found = {name: status[name].strip() for name in wanted}
    nothing = "0" * 16
    assert found == {"CapEff": nothing, "CapPrm": nothing, "CapBnd": nothing, "NoNewPrivs": "1", "Seccomp": "2"}


ERROR_OF_OPEN = """
def error_of_open():
    try:
        open(%r).close()
    except OSError as error:
        return type(error).__name__
"""


@on_slurm
def test_anothers_cluster_folder_and_logs_are_not_readable(backend: Backend, bob: Notebook, victim: Victim) -> None:
    staging = SETTINGS.slurm.staging_directory.format(username="alice")
    for path in (staging, f"{staging}/{victim.name}/api-token", f"{staging}/logs/{victim.name}"):
        bob.run(ERROR_OF_OPEN % path)
        assert on_worker(bob, "error_of_open()") == "PermissionError"


@pytest.mark.weakness(13)
@pytest.mark.parametrize("container", [notebook.NAME, slurm_container(NODES[0].name)])
def test_users_do_not_read_the_munge_key(container: str, testbed: None) -> None:
    places = ["/etc/munge/munge.key", "/etc/secrets/munge", "/run/cluster/munge.key"]
    uid, gid, _ = identity_of("alice")
    command = ["setpriv", f"--reuid={uid}", f"--regid={gid}", "--clear-groups", "--", "cat", *places]
    octets_read = docker.execute(container, ["sh", "-c", f"{' '.join(command)} 2>/dev/null | wc -c"])
    assert octets_read.strip() == "0"


@pytest.mark.weakness(8)
@on_slurm
@pytest.mark.parametrize("person", ["dave-cern", "erin-fnal"])
def test_external_users_are_told_which_gateway_to_use(person: str, backend: Backend) -> None:
    with notebooks.connected(person, backend) as kernel:
        for code in ("gateway.list_clusters()", "gateway.cluster_options()", notebooks.new_cluster({})):
            with pytest.raises(CellError) as refused:
                kernel.run(code)
            assert refused.value.message == SETTINGS.slurm.refusal
