"""A browser in the notebook container: it follows redirects, keeps cookies, and fills in JupyterHub's form."""

import json
from dataclasses import dataclass

from testbed import docker, hub, notebook

BROWSE = r"""
import html, http.cookiejar, json, re, sys, urllib.error, urllib.parse, urllib.request

address, name, password, further = json.load(sys.stdin)
jar = http.cookiejar.CookieJar()
opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), urllib.request.HTTPCookieProcessor(jar))


def get(address, form=None):
    data = urllib.parse.urlencode(form).encode() if form else None
    try:
        answer = opener.open(urllib.request.Request(address, data, {"Accept": "text/html,*/*"}), timeout=30)
    except urllib.error.HTTPError as error:
        answer = error
    return answer.status, answer.url, answer.read().decode(errors="replace")


status, url, text = get(address)
form = re.search(r'<form action="([^"]*login[^"]*)"', text)
if form:
    xsrf = re.search(r'name="_xsrf" value="([^"]*)"', text).group(1)
    fields = {"username": name, "password": password, "_xsrf": html.unescape(xsrf)}
    status, url, text = get(urllib.parse.urljoin(url, html.unescape(form.group(1))), fields)
pages = [(status, url, text)] + [get(other) for other in further]
cookies = [(cookie.name, cookie.value, cookie.path) for cookie in jar]
print(json.dumps({"has_seen_form": bool(form), "pages": pages, "cookies": cookies}))
"""
"""Python that reads address, name, password and further addresses from standard input."""


@dataclass(frozen=True)
class Visit:
    """What a person saw."""

    has_seen_form: bool
    """Whether JupyterHub asked for a password."""
    pages: list[tuple[int, str, str]]
    """Status, final address and text of the first page after the login, and of each further page."""
    cookies: list[tuple[str, str, str]]
    """Name, value and path."""


def visit(person: str, address: str, *further: str) -> Visit:
    """Open an address as a person who logs in when asked; then open further addresses in the same browser."""
    question = json.dumps([address, person, hub.password(person), further])
    seen = json.loads(docker.execute(notebook.NAME, ["python3", "-c", BROWSE], standard_input=question))
    return Visit(
        has_seen_form=seen["has_seen_form"],
        pages=[tuple(page) for page in seen["pages"]],
        cookies=[tuple(cookie) for cookie in seen["cookies"]],
    )
