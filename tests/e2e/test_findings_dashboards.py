"""A dashboard opens to the cluster's owner alone, after a login at JupyterHub; its address is no secret."""

from urllib.parse import urlsplit

import pytest

from gateway.as_user import dashboard_guard
from gateway.kubernetes import names
from gateway.service.dashboards.logins import LOGIN_COOKIE
from gateway.site import Backend
from testbed import docker, hub, submission
from testbed.slurm import NODES
from tests.e2e.back_ends import on_slurm
from tests.e2e.browsing import visit
from tests.e2e.fetching import by_https, fetch, fetch_in_container
from tests.e2e.machines import RELEASE, SETTINGS, kubectl, slurm_container
from tests.e2e.notebooks import Notebook

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240), pytest.mark.finding("R5")]

ADMINISTRATOR = "olga"
HTML = {"Accept": "text/html,application/xhtml+xml"}


@pytest.fixture(scope="module")
def page(alice: Notebook) -> str:
    """Return the address of the dashboard of alice's cluster, which other users may know."""
    return by_https(alice.snippet("dashboard"))


def authorization(person: str, kind: str = "token") -> dict[str, str]:
    return {"Authorization": f"{kind} {hub.token(person)}"}


def log_of(backend: Backend) -> str:
    """Return what the gateway has logged in the last minutes."""
    if backend is Backend.SLURM:
        unit = ["journalctl", "--no-pager", "--unit", "dask-gateway", "--since", "-5min"]
        return docker.execute(submission.CONTAINER, unit)
    labels = names.selector(names.component_labels(RELEASE, names.API_COMPONENT))
    return kubectl("logs", "--selector", labels, "--since", "5m", "--tail", "-1")


def test_without_a_login_a_program_is_refused(page: str) -> None:
    status, text = fetch(page)
    assert (status, "JupyterHub token" in text, "bokeh" in text) == (401, True, False), text[:300]


def test_without_a_login_a_browser_comes_to_the_hub(page: str) -> None:
    """The notebook's fetch follows redirects: it ends at the form."""
    status, text = fetch(page, HTML)
    assert (status, "<title>JupyterHub</title>" in text, "bokeh" in text) == (200, True, False), text[:300]


@pytest.mark.parametrize("person", ["bob", "mallory"])
def test_another_user_is_refused_after_a_login(person: str, page: str) -> None:
    seen = visit(person, page, page)
    assert seen.has_seen_form
    assert [(status, "bokeh" in text) for status, _, text in seen.pages] == [(403, False)] * 2, seen.pages
    assert LOGIN_COOKIE not in {name for name, _, _ in seen.cookies}
    assert fetch(page, authorization(person))[0] == 403


@pytest.mark.parametrize("header", ["", "token made-up", "Basic YWxpY2U6", "Bearer alice"])
def test_a_made_up_token_is_refused(header: str, page: str) -> None:
    status, text = fetch(page, {"Authorization": header, "Cookie": f"{LOGIN_COOKIE}=alice"})
    assert (status, "bokeh" in text) == (401, False), text[:300]


def test_headers_of_a_proxy_do_not_open_it(page: str) -> None:
    """A client names a dashboard of its own choice in the headers by which Traefik tells the gateway the address."""
    forged = {"X-Forwarded-Uri": "/api/health", "X-Forwarded-Method": "OPTIONS", "X-Forwarded-User": "alice"}
    status, text = fetch(page, forged)
    assert (status, "bokeh" in text) == (401, False), text[:300]


def test_the_owner_sees_it_after_a_login_and_stays_logged_in(page: str) -> None:
    workers = page.replace("/status", "/workers")
    seen = visit("alice", page, workers)
    assert seen.has_seen_form
    assert [(status, address) for status, address, _ in seen.pages] == [(200, page), (200, workers)]
    assert all("bokeh" in text and "Dask" in text for _, _, text in seen.pages), seen.pages[0][2][:300]
    (path,) = (path for name, _, path in seen.cookies if name == LOGIN_COOKIE)
    assert urlsplit(page).path.startswith(path)


def test_the_cookie_of_one_cluster_opens_no_other(page: str) -> None:
    (value,) = (value for name, value, _ in visit("alice", page).cookies if name == LOGIN_COOKIE)
    cookie = {"Cookie": f"{LOGIN_COOKIE}={value}"}
    assert fetch(page, cookie)[0] == 200
    changed = {"Cookie": f"{LOGIN_COOKIE}={value[:-1]}{'0' if value[-1] != '0' else '1'}"}
    assert fetch(page, changed)[0] == 401


@pytest.mark.parametrize("kind", ["token", "bearer"])
def test_the_owners_token_opens_it_to_programs(kind: str, page: str) -> None:
    status, text = fetch(page, authorization("alice", kind))
    assert (status, "Dask" in text) == (200, True), text[:300]


def test_an_administrator_of_the_hub_sees_it_and_the_gateway_logs_that(page: str, backend: Backend) -> None:
    seen = visit(ADMINISTRATOR, page)
    assert (seen.pages[0][0], "bokeh" in seen.pages[0][2]) == (200, True), seen.pages[0][2][:300]
    cluster = urlsplit(page).path.split("/")[2]
    lines = [line for line in log_of(backend).splitlines() if ADMINISTRATOR in line and cluster in line]
    assert any('"role": "administrator"' in line for line in lines), lines


@on_slurm
def test_a_scheduler_answers_nobody_but_the_proxy(alice: Notebook, page: str) -> None:
    """Other users of a node can connect to the port of a scheduler's dashboard, past the login."""
    host, port = alice.run(
        "(client.scheduler_info()['address'].split('/')[2].rpartition(':')[0],"
        " client.scheduler_info()['services']['dashboard'])"
    )
    for path in ("status", "info/main/workers.html", "health"):
        made_up = {"Authorization": f"token {hub.token('alice')}", dashboard_guard.HEADER: "made-up"}
        status, text = fetch_in_container(
            slurm_container(NODES[0].name), "python3", f"http://{host}:{port}/{path}", made_up
        )
        assert (status, "bokeh" in text) == (403, False), text[:300]
    assert fetch(page, authorization("alice"))[0] == 200


def test_a_login_that_another_browser_began_is_refused(backend: Backend) -> None:
    address = f"{SETTINGS.gateway(backend).address}/dashboards/callback?code=abc&state=made-up.0"
    status, text = fetch(address)
    assert status == 400, text[:300]
