"""Whoever tries to be, or to reach, somebody else is refused."""

import json
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from gateway.identity import accounts
from gateway.site import AccountSource, Backend
from testbed import cluster as kind
from testbed import docker, hub
from testbed.waiting import until
from tests.e2e import administration, notebooks
from tests.e2e.administration import Administrator
from tests.e2e.notebooks import CellError, Notebook, on_worker

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240)]

SETTINGS = administration.SETTINGS
PROJECT = notebooks.PIXI_PROJECT
REQUEST = """
import json, os, urllib.error, urllib.request

def ask(method, path, body=None, headers=None, token=os.environ["JUPYTERHUB_API_TOKEN"]):
    headers = {"Authorization": f"jupyterhub {token}", **(headers or {})}
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(ADDRESS + path, method=method, data=data, headers=headers)
    try:
        answer = urllib.request.urlopen(request, timeout=30)
    except urllib.error.HTTPError as error:
        answer = error
    return answer.status, answer.read().decode()
"""


def asking(kernel: Notebook, backend: Backend) -> Notebook:
    """The notebook, with a function that asks the gateway's API anything."""
    kernel.run(f"ADDRESS = {SETTINGS.gateway(backend).address!r}\n{REQUEST}")
    return kernel


@pytest.fixture(scope="module")
def bob(backend: Backend, no_leftovers: None) -> Iterator[Notebook]:
    """Bob's notebook, with a cluster of his own."""
    with Notebook("bob") as kernel:
        kernel.snippet(f"connect-{backend.value}")
        kernel.run(notebooks.new_cluster(notebooks.SMALL))
        kernel.run(notebooks.connect())
        yield asking(kernel, backend)


@dataclass(frozen=True)
class Victim:
    """Alice's cluster."""

    kernel: Notebook
    name: str

    def works(self) -> bool:
        """Whether it still computes."""
        return bool(self.kernel.run("client.submit(lambda: 6 * 7, pure=False).result(timeout=60)") == 42)


@pytest.fixture(scope="module")
def victim(backend: Backend, no_leftovers: None) -> Iterator[Victim]:
    with Notebook("alice") as kernel:
        kernel.snippet(f"connect-{backend.value}")
        kernel.run(notebooks.new_cluster(notebooks.SMALL))
        kernel.run(notebooks.connect())
        yield Victim(kernel, kernel.run("cluster.name"))


# Being somebody else: the name.


@pytest.mark.weakness(1)
def test_a_name_instead_of_a_token(backend: Backend) -> None:
    """Basic authentication, by which the stock client claims a name without proof."""
    address = f"{SETTINGS.gateway(backend).address}/api/v1/clusters/"
    status, text = administration.fetch(address, {"Authorization": "Basic YWxpY2U6"})
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
    ids=["wrong token", "another kind", "no token", "a bare name", "a proxy's word", "nothing"],
)
@pytest.mark.weakness(1)
def test_no_good_token(headers: dict[str, str], backend: Backend) -> None:
    status, text = administration.fetch(f"{SETTINGS.gateway(backend).address}/api/v1/clusters/", headers)
    assert status == 401, text


@pytest.mark.weakness(1)
def test_the_hubs_own_token_is_nobody(backend: Backend) -> None:
    """A service's token is good at the hub, but a service is no user."""
    headers = {"Authorization": f"jupyterhub {(hub.SECRETS / 'hub-token').read_text()}"}
    status, text = administration.fetch(f"{SETTINGS.gateway(backend).address}/api/v1/clusters/", headers)
    assert status in {401, 422}, text


@pytest.mark.weakness(1)
def test_another_name_in_headers_and_bodies(bob: Notebook, victim: Victim) -> None:
    headers = dict.fromkeys(("X-Forwarded-User", "X-Remote-User", "Remote-User", "X-User"), "alice")
    status, text = bob.run(f"ask('GET', '/api/v1/clusters/?username=alice&user=alice', headers={headers!r})")
    assert status == 200, text
    assert list(json.loads(text)) == [bob.run("cluster.name")]
    body = {"username": "alice", "user": "alice", "cluster_options": {"pixi_project": PROJECT, "user": "alice"}}
    status, text = bob.run(f"ask('POST', '/api/v1/clusters/', body={body!r}, headers={headers!r})")
    assert (status, "unknown option 'user'" in text) == (422, True), text


NAMES = {
    "ali": "no account named 'ali'",
    "a-cern-b": "no account named 'a-cern-b'",
    "al*e": "is not a user name",
    "alice)(uid=*": "is not a user name",
    "paf0001": "name of a pool account",
    "jovyan": "no account named 'jovyan'",
    "mallory": "no account named 'mallory'",
}


@pytest.mark.weakness(4, 5, 12)
@pytest.mark.parametrize("person", NAMES)
def test_a_name_that_is_like_anothers(person: str, backend: Backend, administrator: Administrator) -> None:
    before = administrator.everything()
    with Notebook(person) as kernel:
        kernel.snippet(f"connect-{backend.value}")
        for code in ("gateway.list_clusters()", notebooks.new_cluster({"pixi_project": PROJECT})):
            with pytest.raises(CellError) as refused:
                kernel.run(code)
            assert NAMES[person] in refused.value.message
    assert administrator.everything() <= before


# Being somebody else: the numbers.

CLAIMS = [
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


@pytest.fixture(scope="module")
def holders(backend: Backend, no_leftovers: None) -> dict[str, str]:
    """Who holds which account of the pool, when erin has used hers."""
    with Notebook("erin-fnal") as kernel:
        kernel.snippet(f"connect-{backend.value}")
        kernel.snippet("environment-variables")
    return holders_now()


def holders_now() -> dict[str, str]:
    name = f"pool-holders-{SETTINGS.kubernetes.release}"
    found = kind.kubectl("get", "configmap", name, f"--namespace={SETTINGS.kubernetes.namespace}", "--output=json")
    return dict(json.loads(found).get("data", {}))


@pytest.mark.weakness(3, 14)
@pytest.mark.parametrize("backend", [Backend.KUBERNETES], indirect=True, ids=str, scope="session")
@pytest.mark.parametrize("person", ["dave-cern", "frank-fnal"])
def test_numbers_that_are_not_ones_own(
    person: str, backend: Backend, holders: dict[str, str], administrator: Administrator
) -> None:
    """Another's, the system's, none at all; and with the right uid, another group."""
    erins = next(uid for uid, holder in holders.items() if holder == "erin-fnal")
    uid, gid, _ = administration.directory_identity(administration.account_name(person))
    davids, _, _ = administration.directory_identity(administration.account_name("dave-cern"))
    others = [str(davids)] if person != "dave-cern" else []
    claims = [(claim, str(gid)) for claim in [*CLAIMS, erins, *others]]
    claims += [(str(uid), wrong) for wrong in ("0", "20000", "21001", "-1", "")]
    before = administrator.everything()
    with Notebook(person) as kernel:
        kernel.snippet(f"connect-{backend.value}")
        for claim, group in claims:
            options = {"pixi_project": PROJECT, "env": {"NB_UID": claim, "NB_GID": group}}
            with pytest.raises(CellError) as refused:
                kernel.run(notebooks.new_cluster(options))
            assert refused.value.name == "ValueError", (claim, group)
            assert "NB_UID" in refused.value.message or "NB_GID" in refused.value.message
    assert administrator.everything() <= before
    assert holders_now() == holders


@pytest.mark.weakness(3)
@pytest.mark.parametrize(
    "variables", [{"NB_UID": "0", "NB_GID": "0"}, {"USER": "bob", "LOGNAME": "bob", "NB_USER": "bob"}]
)
def test_env_does_not_change_whose_cluster_it_is(
    variables: dict[str, str], backend: Backend, no_leftovers: None
) -> None:
    with Notebook("alice") as kernel:
        kernel.snippet(f"connect-{backend.value}")
        kernel.run(notebooks.new_cluster({**notebooks.SMALL, "env": variables}))
        kernel.run(notebooks.connect())
        uid, gid, _ = administration.directory_identity("alice")
        assert on_worker(kernel, "(os.getuid(), os.getgid())") == [uid, gid]


@pytest.mark.weakness(14)
@pytest.mark.parametrize("backend", [Backend.KUBERNETES], indirect=True, ids=str, scope="session")
def test_an_account_of_the_pool_stays_its_holders_over_a_restart(backend: Backend, holders: dict[str, str]) -> None:
    namespace = f"--namespace={SETTINGS.kubernetes.namespace}"
    deployment = f"deployment/api-{SETTINGS.kubernetes.release}"
    kind.kubectl("rollout", "restart", deployment, namespace)
    kind.kubectl("rollout", "status", deployment, namespace, "--timeout=120s")
    until("the API answers", lambda: all(healthy(backend) for _ in range(3)), seconds=60)
    assert holders_now() == holders
    erins = next(uid for uid, holder in holders.items() if holder == "erin-fnal")
    _, gid, _ = administration.directory_identity(administration.account_name("erin-fnal"))
    with Notebook("frank-fnal") as kernel:
        kernel.snippet(f"connect-{backend.value}")
        env = {"NB_UID": erins, "NB_GID": str(gid)}
        with pytest.raises(CellError, match="held by another user"):
            kernel.run(notebooks.new_cluster({"pixi_project": PROJECT, "env": env}))


def healthy(backend: Backend) -> bool:
    return administration.fetch(f"{SETTINGS.gateway(backend).address}/api/version")[0] == 200


def test_both_ways_to_an_external_account_are_tried_here() -> None:
    sources = {
        accounts.classify(person, SETTINGS.identity.classes).account
        for person in ("dave-cern", "erin-fnal", "frank-fnal")
    }
    assert sources == {AccountSource.HUB, AccountSource.POOL}


# Reaching what is somebody else's.


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
    ids=["look", "wait for", "stop", "scale", "adapt", "speak for"],
)
@pytest.mark.weakness(1)
def test_anothers_cluster(method: str, path: str, body: object, bob: Notebook, victim: Victim) -> None:
    status, text = bob.run(f"ask({method!r}, '/api/v1/clusters/{victim.name}{path}', body={body!r})")
    assert status in {401, 403}, text
    assert "tls_key" not in text
    assert "dashboard_route" not in text
    assert victim.works()


@pytest.mark.weakness(1)
def test_anothers_cluster_with_the_token_of_ones_own(bob: Notebook, victim: Victim) -> None:
    token = on_worker(bob, "open(os.environ['DASK_GATEWAY_API_TOKEN']).read()")
    assert len(token) == 32
    header = {"Authorization": f"token {token}"}
    own = bob.run("cluster.name")
    heartbeat = {"count": 1, "active_workers": [], "closing_workers": [], "closed_workers": []}
    for method, path, body in (("DELETE", "", None), ("POST", "/heartbeat", heartbeat)):
        status, text = bob.run(
            f"ask({method!r}, '/api/v1/clusters/{victim.name}{path}', body={body!r}, headers={header!r})"
        )
        assert status in {401, 403}, text
    assert own != victim.name
    assert victim.works()


@pytest.mark.weakness(1)
def test_anothers_scheduler_takes_no_certificate_but_its_own(bob: Notebook, victim: Victim) -> None:
    """Bob knows the name, and so the way through the proxy; what he lacks is the cluster's key."""
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


def test_ones_own_cluster_can_be_looked_at(bob: Notebook) -> None:
    """The same questions are answered when they are about what is one's own."""
    status, text = bob.run("ask('GET', '/api/v1/clusters/' + cluster.name)")
    assert status == 200
    assert "BEGIN" in json.loads(text)["tls_key"]


@pytest.mark.weakness(15)
@pytest.mark.parametrize("backend", [Backend.KUBERNETES], indirect=True, ids=str, scope="session")
def test_users_code_can_ask_kubernetes_nothing(backend: Backend, bob: Notebook) -> None:
    assert on_worker(bob, "os.path.exists('/var/run/secrets/kubernetes.io')") is False
    bob.run(f"""
def kubernetes(what):
    import os, ssl, urllib.error, urllib.request
    context = ssl._create_unverified_context()
    address = f"https://{{os.environ['KUBERNETES_SERVICE_HOST']}}/api/v1/namespaces/{SETTINGS.kubernetes.namespace}"
    try:
        return urllib.request.urlopen(f"{{address}}/{{what}}", context=context).status
    except urllib.error.HTTPError as error:
        return error.code
""")
    assert {on_worker(bob, f"kubernetes({what!r})") for what in ("secrets", "pods", "configmaps")} <= {401, 403}


@pytest.mark.weakness(15)
@pytest.mark.parametrize("backend", [Backend.KUBERNETES], indirect=True, ids=str, scope="session")
def test_users_code_has_no_privileges(backend: Backend, bob: Notebook) -> None:
    wanted = ("CapEff", "CapPrm", "CapBnd", "NoNewPrivs", "Seccomp")
    status = on_worker(bob, "dict(line.split(':', 1) for line in open('/proc/self/status').read().splitlines())")
    found = {name: status[name].strip() for name in wanted}
    nothing = "0" * 16
    assert found == {"CapEff": nothing, "CapPrm": nothing, "CapBnd": nothing, "NoNewPrivs": "1", "Seccomp": "2"}


LOOK = """
def look():
    try:
        open(%r).close()
    except OSError as error:
        return type(error).__name__
"""


@pytest.mark.parametrize("backend", [Backend.SLURM], indirect=True, ids=str, scope="session")
def test_anothers_folder_and_logs_on_slurm(backend: Backend, bob: Notebook, victim: Victim) -> None:
    staging = SETTINGS.slurm.staging_directory.format(username="alice")
    for path in (staging, f"{staging}/{victim.name}/api-token", f"{staging}/logs/{victim.name}"):
        bob.run(LOOK % path)
        assert on_worker(bob, "look()") == "PermissionError"


@pytest.mark.weakness(13)
@pytest.mark.parametrize("container", ["af-notebook", "af-hammer-a000"])
def test_nobodys_work_reads_the_munge_key(container: str, testbed: None) -> None:
    places = ["/etc/munge/munge.key", "/etc/secrets/munge", "/run/cluster/munge.key"]
    uid, gid, _ = administration.directory_identity("alice")
    command = ["setpriv", f"--reuid={uid}", f"--regid={gid}", "--clear-groups", "--", "cat", *places]
    ended = docker.execute(container, ["sh", "-c", f"{' '.join(command)} 2>/dev/null | wc -c"])
    assert ended.strip() == "0"


@pytest.mark.weakness(8)
@pytest.mark.parametrize("backend", [Backend.SLURM], indirect=True, ids=str, scope="session")
@pytest.mark.parametrize("person", ["dave-cern", "erin-fnal"])
def test_external_users_are_told_at_once_where_to_go(person: str, backend: Backend) -> None:
    with Notebook(person) as kernel:
        kernel.snippet(f"connect-{backend.value}")
        for code in ("gateway.list_clusters()", "gateway.cluster_options()", notebooks.new_cluster({})):
            with pytest.raises(CellError) as refused:
                kernel.run(code)
            assert refused.value.message == SETTINGS.slurm.refusal
