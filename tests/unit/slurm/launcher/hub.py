"""A hub at a local port that answers whose a token is, well or badly."""

import contextlib
import json
import socketserver
import ssl
import threading

from dask_gateway_server.tls import new_keypair

TOKEN = "alices-token"


def user(**changed):
    return http(json.dumps({"name": "alice", "kind": "user", **changed}).encode())


def http(content, status="200 OK", header=""):
    return f"HTTP/1.1 {status}\r\nContent-Length: {len(content)}\r\n{header}\r\n".encode() + content


class Handler(socketserver.StreamRequestHandler):
    """Notes a request's head and sends the hub's answer."""

    def handle(self):
        with contextlib.suppress(OSError):
            head = b"".join(iter(self.rfile.readline, b"\r\n")).decode()
            self.server.asked.append(head)
            for part in self.server.parts(head):
                self.wfile.write(part)


class Hub(socketserver.ThreadingTCPServer):
    """Knows :data:`TOKEN` as alice's; ``answer`` replaces its answer, ``asked`` has the requests' heads.

    :meth:`forever` and :meth:`hang` have it answer badly.
    """

    daemon_threads = True
    block_on_close = False

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.asked, self.answer, self.silent = [], None, threading.Event()

    @property
    def api_url(self):
        return f"http://127.0.0.1:{self.server_address[1]}/hub/api"

    def secure(self, name, place):
        """Answer by TLS under a host name of this machine, and return the file of the authority."""
        certificate, key = place / "hub.crt", place / "hub.key"
        for path, content in zip((certificate, key), new_keypair(name), strict=True):
            path.write_bytes(content)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        self.socket = context.wrap_socket(self.socket, server_side=True)
        return str(certificate)

    def parts(self, head):
        """Yield the parts of an answer."""
        is_known = f"\r\nAuthorization: token {TOKEN}\r\n" in head
        yield self.answer or (user() if is_known else http(b"{}", "403 Forbidden"))

    def forever(self, first, part):
        """Answer with the first part, and then with the other without end."""

        def parts(_):
            yield first
            while True:
                yield part

        self.parts = parts

    def hang(self):
        """Read requests and answer none, until the test ends."""

        def parts(_):
            self.silent.wait()
            yield b""

        self.parts = parts


@contextlib.contextmanager
def serving():
    """Run a hub."""
    with Hub() as hub:
        thread = threading.Thread(target=hub.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield hub
        finally:
            hub.silent.set()
            hub.shutdown()
            thread.join()
