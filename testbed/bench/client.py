"""Either side's client: stock dask-gateway in the notebook container, told what to do line by line.

Runs there from its source alone. A line of standard input is a request as JSON, ``{"do": NAME, ...arguments}``; a line
of standard output is the reply, ``{"value": ...}`` or ``{"error": class, "message": text}``. What still runs when the
input ends is shut down.

It uses the client's asynchronous interface: the other one blocks for ever when the garbage collector closes one of its
objects on the event loop's own thread (dask-gateway 2026.3.0, see tests/e2e/kernel.py).
"""

import asyncio
import json
import os
import sys
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import IO, Any

from dask_gateway import BasicAuth, Gateway, JupyterHubAuth

REQUEST_SECONDS = 600


def increased(number: int) -> int:
    """What a worker computes."""
    return number + 1


class Person:
    """Somebody with a connection to a gateway, and with one cluster at most."""

    def __init__(self, address: str, proxy_address: str, name: str, token: str | None) -> None:
        auth = BasicAuth(name) if token is None else JupyterHubAuth(token)
        self.gateway = Gateway(address, proxy_address=proxy_address, auth=auth, asynchronous=True)
        self.cluster: Any = None

    async def new_cluster(self, options: Mapping[str, Any]) -> float:
        """Seconds until the cluster runs and its scheduler answers."""
        started = time.perf_counter()
        cluster = self.gateway.new_cluster(**options)
        await cluster
        taken = time.perf_counter() - started
        self.cluster = cluster
        return taken

    async def shutdown(self) -> float:
        """When it was asked for, in seconds since the epoch."""
        asked = time.time()
        cluster, self.cluster = self.cluster, None
        if cluster is not None:
            await cluster.shutdown()
        return asked

    async def close(self) -> None:
        """Leave nothing behind."""
        await self.shutdown()
        await self.gateway.close()


class Requests:
    """What can be asked for: the public methods."""

    def __init__(self) -> None:
        self._people: list[Person] = []

    async def connect(self, address: str, proxy_address: str, people: Sequence[tuple[str, str | None]]) -> None:
        """Connect people, each with a name and a token (None: the name is believed); the gateway must answer all."""
        self._people += [Person(address, proxy_address, name, token) for name, token in people]
        await asyncio.gather(*(person.gateway.list_clusters() for person in self._people))

    async def new_cluster(self, options: Mapping[str, Any]) -> float:
        """See :meth:`Person.new_cluster`; of the first person, as everything but :meth:`crowd`."""
        return await self._people[0].new_cluster(options)

    async def refusal(self, options: Mapping[str, Any]) -> float:
        """Seconds until a request for a cluster is refused. Raises ``AssertionError`` if it is not."""
        started = time.perf_counter()
        try:
            await self.new_cluster(options)
        except ValueError:
            return time.perf_counter() - started
        raise AssertionError(f"not refused: {options}")

    async def first_result(self) -> float:
        """Seconds from the wish for a worker until its first result."""
        cluster = self._people[0].cluster
        started = time.perf_counter()
        await cluster.scale(1)
        async with cluster.get_client(set_as_default=False) as client:
            await client.submit(increased, 1)
            return time.perf_counter() - started

    async def scale(self, count: int) -> float:
        """When that many workers were asked for, in seconds since the epoch."""
        asked = time.time()
        await self._people[0].cluster.scale(count)
        return asked

    async def shutdown(self) -> float:
        """See :meth:`Person.shutdown`."""
        return await self._people[0].shutdown()

    async def cluster_name(self) -> str:
        """The name of the present cluster."""
        return str(self._people[0].cluster.name)

    async def listing(self, status: str) -> dict[str, float]:
        """Seconds that a listing of the person's clusters in a state takes, and how many there are."""
        started = time.perf_counter()
        clusters = await self._people[0].gateway.list_clusters(status=status)
        return {"seconds": time.perf_counter() - started, "count": len(clusters)}

    async def imports(self, prefix: str) -> float:
        """Seconds in which an environment's interpreter starts and imports what a scheduler needs."""
        started = time.perf_counter()
        program = await asyncio.create_subprocess_exec(f"{prefix}/bin/python", "-c", "import distributed.scheduler")
        assert await program.wait() == 0
        return time.perf_counter() - started

    async def crowd(self, options: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
        """Everybody makes a cluster at once: the seconds of those who got one, and the errors of the others.

        Each has options of their own, and shuts it down as soon as it runs: not all of them have room at the same time.
        """

        async def visit(person: Person, wanted: Mapping[str, Any]) -> float:
            taken = await person.new_cluster(wanted)
            await person.shutdown()
            return taken

        outcomes = await asyncio.gather(*map(visit, self._people, options), return_exceptions=True)
        return {
            "seconds": [outcome for outcome in outcomes if isinstance(outcome, float)],
            "errors": [repr(outcome) for outcome in outcomes if not isinstance(outcome, float)],
        }


async def _replies(requests: Requests, stream: IO[str]) -> AsyncIterator[dict[str, Any]]:
    loop = asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, stream.readline):
        request = json.loads(line)
        method = getattr(requests, request.pop("do"))
        try:
            yield {"value": await asyncio.wait_for(method(**request), REQUEST_SECONDS)}
        except Exception as error:  # noqa: BLE001 - whoever asked decides what it means
            yield {"error": type(error).__name__, "message": str(error)}


async def _main() -> None:
    output = os.fdopen(os.dup(1), "w", buffering=1)
    # What libraries print must not be taken for replies.
    os.dup2(2, 1)
    requests = Requests()
    try:
        async for reply in _replies(requests, sys.stdin):
            output.write(json.dumps(reply) + "\n")
    finally:
        await asyncio.gather(*(person.close() for person in requests._people), return_exceptions=True)


if __name__ == "__main__":
    asyncio.run(_main())
