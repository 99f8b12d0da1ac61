"""The two sides of the comparison, ours and stock, and a client of either: always a stock one, in the notebook."""

import contextlib
import json
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gateway.site import Backend, load
from testbed import hub, notebook
from testbed.paths import SITE

OURS, STOCK = "ours", "stock"
CLIENT = Path(__file__).with_name("client.py").read_text()
SECONDS_TO_END = 120
PERSON = "alice"
"""The person for measurements with one person."""


class ClientError(Exception):
    """The client in the notebook could not do a request."""

    def __init__(self, side: str, message: str) -> None:
        self.side = side
        super().__init__(message)


@dataclass(frozen=True)
class Side:
    """A gateway as its clients see it."""

    name: str
    """:data:`OURS` or :data:`STOCK`."""
    address: str
    proxy_address: str
    has_tokens: bool
    """Whether people authenticate by a JupyterHub token; else the gateway trusts their names."""


def ours(backend: Backend) -> Side:
    """Return our gateway, as the user guide has it."""
    gateway = load(SITE).gateway(backend)
    return Side(OURS, gateway.address, f"{gateway.proxy_host}:{gateway.proxy_port}", has_tokens=True)


def stock(address: str, proxy_address: str) -> Side:
    """Return upstream's gateway."""
    return Side(STOCK, address, proxy_address, has_tokens=False)


class Client:
    """The client of a side in the notebook, connected as one or more people."""

    def __init__(self, side: Side, process: subprocess.Popen[str], errors: Callable[[], str]) -> None:
        self.side, self._process, self._errors = side, process, errors

    def ask(self, what: str, **arguments: Any) -> Any:
        """Call a method of :class:`testbed.bench.client.Requests` and return its value. Raises :class:`ClientError`."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        # Send tokens over the pipe: every user of the machine sees the arguments of programs.
        self._process.stdin.write(json.dumps({"do": what, **arguments}) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        reply = json.loads(line) if line else {"error": "the client has ended", "message": self._errors()[-2000:]}
        if "error" in reply:
            raise ClientError(self.side.name, f"{what}: {reply['error']}: {reply['message']}")
        return reply["value"]


@contextlib.contextmanager
def client(side: Side, people: Sequence[str] = (PERSON,), tokens: Mapping[str, str] | None = None) -> Iterator[Client]:
    """Yield a client of a side, connected as people with these tokens, or with the testbed's."""
    with tempfile.TemporaryFile("w+") as errors, notebook.Session(PERSON) as session:

        def printed() -> str:
            errors.seek(0)
            return errors.read()

        process = subprocess.Popen(
            session.command(["python", "-c", CLIENT]),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        )
        assert process.stdin is not None
        try:
            made = Client(side, process, printed)
            known = tokens or {}
            pairs = [(name, (known.get(name) or hub.token(name)) if side.has_tokens else None) for name in people]
            made.ask("connect", address=side.address, proxy_address=side.proxy_address, people=pairs)
            yield made
        finally:
            # At the end of its input the client shuts down the clusters that still run.
            with contextlib.suppress(BrokenPipeError):
                process.stdin.close()
            process.wait(timeout=SECONDS_TO_END)
