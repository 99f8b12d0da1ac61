"""A newcomer's first hour: a browser on the machine opens hub and dashboards by the words that `make testbed` prints.

The browser here is requests, which knows the printed lines of /etc/hosts and no other names.
"""

import http.client
import re
import socket
import ssl
import subprocess
import sys
from urllib.parse import urljoin, urlsplit

import pytest
import requests

from gateway.service.dashboards.logins import LOGIN_COOKIE
from release.paths import ROOT
from testbed import hub, status
from testbed.certificates import certificate_authority
from tests.e2e.notebooks import Notebook

pytestmark = [pytest.mark.e2e, pytest.mark.usefixtures("testbed")]

PERSON = "alice"
SECONDS = 30


@pytest.fixture
def browser(monkeypatch):
    """A session on this machine whose resolver has the lines that `make hosts` prints."""
    printed = subprocess.run(
        [sys.executable, "-m", "testbed", "hosts"], cwd=ROOT, capture_output=True, text=True, check=True, timeout=60
    ).stdout
    addresses = {name: address for address, *names in map(str.split, printed.splitlines()) for name in names}
    resolve = socket.getaddrinfo
    monkeypatch.setattr(
        socket, "getaddrinfo", lambda host, *rest, **more: resolve(addresses.get(host, host), *rest, **more)
    )
    with requests.Session() as session:
        session.trust_env = False
        session.verify = str(certificate_authority())
        yield session


def test_words_name_the_hub_and_where_the_password_is():
    words = "\n".join(status.browser_lines())
    assert hub.ROOT_URL in words
    assert PERSON in words
    assert str(hub.password_file(PERSON)) in words
    assert hub.password(PERSON) not in words
    assert "make hosts" in words


def test_a_person_logs_in_at_the_hubs_page(browser):
    page = browser.get(hub.ROOT_URL, timeout=SECONDS)
    assert urlsplit(page.url).path == "/hub/login", page.url
    form = {"username": PERSON, "password": hub.password(PERSON), "_xsrf": browser.cookies["_xsrf"]}
    home = browser.post(page.url, data=form, timeout=SECONDS)
    assert (home.status_code, urlsplit(home.url).path) == (200, "/hub/home"), home.url
    assert PERSON in home.text


def open_dashboard(browser, address):
    """Open a dashboard, and log in at the hub's page to which the gateway sends the browser."""
    browser.headers["Accept"] = "text/html,*/*"
    page = browser.get(address, timeout=SECONDS)
    assert page.url.startswith(hub.ROOT_URL), page.url
    form = {"username": PERSON, "password": hub.password(PERSON), "_xsrf": browser.cookies["_xsrf"]}
    return browser.post(page.url, data=form, timeout=SECONDS)


def test_a_clusters_dashboard_opens_on_the_machine(alice: Notebook, browser):
    page = open_dashboard(browser, alice.snippet("dashboard"))
    assert page.status_code == 200, page.text[:300]
    # Without bokeh the scheduler answers a page that asks to install it.
    scripts = re.findall(r'<script [^>]*src="([^"]*/bokeh[^"]*)"', page.text)
    assert scripts, page.text[:300]
    for script in scripts:
        answer = browser.get(urljoin(page.url, script), timeout=SECONDS)
        assert (answer.status_code, "javascript" in answer.headers["Content-Type"]) == (200, True), answer.url


def test_a_dashboard_draws_over_its_websocket(alice: Notebook, browser):
    page = open_dashboard(browser, alice.snippet("dashboard"))
    token = re.search(r'"token":"([^"]+)"', page.text)
    assert token, page.text[-300:]
    assert websocket_status(page.url, token[1], browser.cookies.get(LOGIN_COOKIE)) == 101


def test_a_websocket_without_a_login_is_refused(alice: Notebook, browser):
    page = open_dashboard(browser, alice.snippet("dashboard"))
    token = re.search(r'"token":"([^"]+)"', page.text)
    assert websocket_status(page.url, token[1], "made-up") == 401


def websocket_status(page, token, cookie):
    """The status with which the gateway answers a page's request to open its websocket."""
    address = urlsplit(page)
    trusted = ssl.create_default_context(cafile=certificate_authority())
    connection = http.client.HTTPSConnection(address.hostname, timeout=SECONDS, context=trusted)
    headers = {
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Origin": f"https://{address.netloc}",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",  # the example of RFC 6455
        "Sec-WebSocket-Protocol": f"bokeh, {token}",
        "Cookie": f"{LOGIN_COOKIE}={cookie}",
    }
    try:
        connection.request("GET", f"{address.path}/ws", headers=headers)
        return connection.getresponse().status
    finally:
        connection.close()
