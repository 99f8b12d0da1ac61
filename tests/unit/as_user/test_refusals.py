"""The way of a scheduler's refusal from the preflight in a job to the gateway."""

import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from gateway.as_user import refusals
from gateway.as_user.preflight import REFUSED


class Gateway(HTTPServer):
    """Answers posts by ``codes``, the last of them for ever, and keeps what was posted."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.codes, self.posted = [200], []

    def variables(self, place):
        (place / "api-token").write_text("f00")
        return {
            "DASK_GATEWAY_API_URL": f"http://127.0.0.1:{self.server_port}/api",
            "DASK_GATEWAY_API_TOKEN": str(place / "api-token"),
            "DASK_GATEWAY_CLUSTER_NAME": "c1",
        }


class Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        content = self.rfile.read(int(self.headers["Content-length"]))
        self.server.posted.append((self.path, self.headers["Authorization"], json.loads(content)))
        code = self.server.codes[0] if len(self.server.codes) == 1 else self.server.codes.pop(0)
        self.send_response(code)
        self.send_header("Content-length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


@pytest.fixture
def gateway():
    with Gateway() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_a_schedulers_refusal_is_posted_with_the_clusters_token(start, place, gateway):
    proxy = {"http_proxy": "http://127.0.0.1:9", "HTTP_PROXY": "http://127.0.0.1:9"}
    variables = {**gateway.variables(place), **proxy}
    ended = start("scheduler", variables=variables, path=f"{place}/absent", visible=[str(place)])
    assert ended.returncode == REFUSED
    ((path, authorization, content),) = gateway.posted
    assert (path, authorization) == ("/api/v1/clusters/c1/refusal", "token f00")
    assert content == {"text": ended.stderr.decode()}
    assert content["text"].startswith(f"conda_env='{place}/absent' is not there")


def test_a_workers_refusal_is_not_posted(start, place, gateway):
    ended = start("worker", variables=gateway.variables(place), markers=[f"{place}/absent"])
    assert ended.returncode == REFUSED
    assert gateway.posted == []


def test_a_long_refusal_is_cut(place, gateway):
    refusals.post(gateway.variables(place), "x" * 10_000)
    assert gateway.posted[0][2] == {"text": "x" * refusals.MOST_CHARACTERS}


@pytest.mark.parametrize(("codes", "count"), [([500, 502, 200], 3), ([401], 1), ([500], refusals.ATTEMPTS)])
def test_a_post_is_repeated_while_the_gateway_is_broken(place, gateway, monkeypatch, capsys, codes, count):
    monkeypatch.setattr(refusals, "PAUSE_SECONDS", 0)
    gateway.codes = codes
    refusals.post(gateway.variables(place), "no")
    assert len(gateway.posted) == count
    assert ("does not accept the refusal" in capsys.readouterr().err) == (codes[-1] != 200)
