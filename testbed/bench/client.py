"""A client of either gateway: stock dask-gateway in the notebook container, which runs requests line by line.

It runs there from its source alone. A line of standard input is a request as JSON, ``{"do": NAME, ...arguments}``; a
line of standard output is the reply, ``{"value": ...}`` or ``{"error": class, "message": text}``. At the end of the
input it shuts down the clusters that still run.

It uses the client's asynchronous interface. The synchronous one blocks for ever when the garbage collector closes one
of its objects on the event loop's own thread (dask-gateway 2026.3.0, see tests/e2e/kernel.py).
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
    """Return a number plus one: the computation of a worker."""
    return number + 1


class Person:
    """A person with a connection to a gateway, and with one cluster at most."""

    def __init__(self, address: str, proxy_address: str, name: str, token: str | None) -> None:
        auth = BasicAuth(name) if token is None else JupyterHubAuth(token)
        self.gateway = Gateway(address, proxy_address=proxy_address, auth=auth, asynchronous=True)
        self.cluster: Any = None

    async def new_cluster(self, options: Mapping[str, Any]) -> float:
        """Create a cluster; return the seconds until it runs and its scheduler answers."""
        started = time.perf_counter()
        cluster = self.gateway.new_cluster(**options)
        await cluster
        taken = time.perf_counter() - started
        self.cluster = cluster
        return taken

    async def shutdown(self) -> float:
        """Shut down the cluster; return the time of the request in seconds since the epoch."""
        asked = time.time()
        cluster, self.cluster = self.cluster, None
        if cluster is not None:
            await cluster.shutdown()
        return asked

    async def close(self) -> None:
        """Shut down the cluster and close the connection."""
        await self.shutdown()
        await self.gateway.close()


class Requests:
    """The requests, one per public method."""

    def __init__(self) -> None:
        self._people: list[Person] = []

    async def connect(self, address: str, proxy_address: str, people: Sequence[tuple[str, str | None]]) -> None:
        """Connect people, each with a name and a token (None: the gateway trusts the name); all must be answered."""
        self._people += [Person(address, proxy_address, name, token) for name, token in people]
        await asyncio.gather(*(person.gateway.list_clusters() for person in self._people))

    async def new_cluster(self, options: Mapping[str, Any]) -> float:
        """Do :meth:`Person.new_cluster` for the first person, as all methods but :meth:`crowd` do."""
        return await self._people[0].new_cluster(options)

    async def refusal(self, options: Mapping[str, Any]) -> float:
        """Return the seconds until a request for a cluster is refused. Raises ``AssertionError`` if it is accepted."""
        started = time.perf_counter()
        try:
            await self.new_cluster(options)
        except ValueError:
            return time.perf_counter() - started
        raise AssertionError(f"not refused: {options}")

    async def first_result(self) -> float:
        """Return the seconds from the request for a worker until its first result."""
        cluster = self._people[0].cluster
        started = time.perf_counter()
        await cluster.scale(1)
        async with cluster.get_client(set_as_default=False) as client:
            await client.submit(increased, 1)
            return time.perf_counter() - started

    async def scale(self, count: int) -> float:
        """Request that many workers; return the time of the request in seconds since the epoch."""
        asked = time.time()
        await self._people[0].cluster.scale(count)
        return asked

    async def shutdown(self) -> float:
        """Do :meth:`Person.shutdown` for the first person."""
        return await self._people[0].shutdown()

    async def cluster_name(self) -> str:
        """Return the name of the present cluster."""
        return str(self._people[0].cluster.name)

    async def listing(self, status: str) -> dict[str, float]:
        """Return the seconds that a listing of the person's clusters in a state takes, and the number of clusters in
        it."""
        started = time.perf_counter()
        clusters = await self._people[0].gateway.list_clusters(status=status)
        return {"seconds": time.perf_counter() - started, "count": len(clusters)}

    async def imports(self, prefix: str) -> float:
        """Return the seconds in which an environment's interpreter starts and imports a scheduler's modules."""
        started = time.perf_counter()
        program = await asyncio.create_subprocess_exec(f"{prefix}/bin/python", "-c", "import distributed.scheduler")
        assert await program.wait() == 0
        return time.perf_counter() - started

    async def crowd(self, options: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
        """Create a cluster for everybody at once; return the seconds of the successful ones and the errors of the
        others.

        Each person has options of their own, and shuts down the cluster as soon as it runs: they have no room all at
        the same time.
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
        except Exception as error:  # noqa: BLE001 - the bench decides what it means
            yield {"error": type(error).__name__, "message": str(error)}


async def _main() -> None:
    output = os.fdopen(os.dup(1), "w", buffering=1)
    # Standard output carries the replies, so send the output of libraries to standard error.
    os.dup2(2, 1)
    requests = Requests()
    try:
        async for reply in _replies(requests, sys.stdin):
            output.write(json.dumps(reply) + "\n")
    finally:
        await asyncio.gather(*(person.close() for person in requests._people), return_exceptions=True)


if __name__ == "__main__":
    asyncio.run(_main())
