"""The file from which Traefik reads its routes, with the interface of upstream's proxy."""

import asyncio
import contextlib
import functools
import json
from collections.abc import Callable, Iterable, Mapping, Set
from dataclasses import replace
from pathlib import Path
from typing import Any

from aiohttp import web
from dask_gateway_server.backends.db_base import Cluster

from gateway.service.dashboards import guard
from gateway.service.tls import new_keypair
from gateway.site import SlurmGateway
from gateway.slurm.proxy.addresses import address_of
from gateway.slurm.proxy.configuration import Targets, checked_name, dynamic_configuration
from gateway.slurm.proxy.https import with_https

Configuration = Mapping[str, Any]
"""Traefik's configuration."""
CLUSTERS = "/clusters/"
"""Beginning of a dashboard's path; the cluster's name follows."""
MODE = 0o640
"""Mode of the file. Its directory gives it the group of Traefik's account (setgid)."""


class RouteFile:
    """The routes of all clusters, and Traefik's file of them.

    A file replaces its predecessor in one step, so Traefik reads no half of one. Traefik goes on with the last file
    while the server is away.
    """

    def __init__(
        self,
        path: Path,
        server: str,
        own_hosts: Set[str],
        secret_of: Callable[[str], str] = guard.secret_of,
        completed: Callable[[Configuration], Configuration] = lambda configuration: configuration,
    ) -> None:
        """Write to ``path``. For ``server`` and ``own_hosts`` see the functions that take them.

        ``secret_of`` returns the secret of a cluster's dashboard, and ``completed`` the configuration with the site's
        own routes.
        """
        self._path, self._server, self._own_hosts = path, server, own_hosts
        self._secret_of, self._completed = secret_of, completed
        self._pair = new_keypair(path.name)
        self._clusters: dict[str, Targets] = {}
        self._written: str | None = None
        self._lock = asyncio.Lock()

    @classmethod
    def of(cls, gateway: SlurmGateway) -> "RouteFile":
        """Return the file of a site's gateway."""
        own_hosts = {gateway.submission_host, gateway.submission_host.partition(".")[0], gateway.submission_address}
        server = f"http://127.0.0.1:{gateway.api_port}"
        completed = functools.partial(with_https, gateway=gateway)
        return cls(Path(gateway.routes_file), server, own_hosts, completed=completed)

    async def setup(self, app: web.Application) -> None:
        """Do nothing: the first file, which :meth:`restore` writes, needs the database."""

    async def cleanup(self) -> None:
        """Do nothing: clients stay connected while the server is away."""

    async def restore(self, clusters: Iterable[Cluster]) -> None:
        """Write the routes of clusters of the database, before any other file.

        A cluster with a wrong address gets no routes, and the others get theirs; :meth:`add_route` reports it.
        """
        for cluster in clusters:
            with contextlib.suppress(ValueError):
                self._put("SNI", cluster.name, cluster.scheduler_address)
                if cluster.dashboard_address:
                    self._put("PATH", cluster.name, cluster.dashboard_address)
        await self._write()

    async def add_route(
        self, kind: str | None = None, sni: str | None = None, path: str | None = None, target: str | None = None
    ) -> None:
        """Add a route, as upstream's proxy does, and return when Traefik's file has it.

        Raises ``ValueError`` when the name or the address is not one of a cluster.
        """
        self._put(kind, _name_of(kind, sni, path), target or "")
        await self._write()

    async def remove_route(self, kind: str | None = None, sni: str | None = None, path: str | None = None) -> None:
        """Remove a route, as upstream's proxy does; it may be absent."""
        name = _name_of(kind, sni, path)
        targets = self._clusters.pop(name, Targets())
        left = replace(targets, scheduler=None) if kind == "SNI" else replace(targets, dashboard=None, secret="")
        if left != Targets():
            self._clusters[name] = left
        await self._write()

    def _put(self, kind: str | None, name: str, target: str) -> None:
        targets = self._clusters.get(checked_name(name), Targets())
        if kind == "SNI":
            self._clusters[name] = replace(targets, scheduler=address_of(target, "tls", self._own_hosts))
        else:
            address = address_of(target, "http", self._own_hosts)
            self._clusters[name] = replace(targets, dashboard=address, secret=self._secret_of(name))

    async def _write(self) -> None:
        """Return when the file has the routes; one write serves all callers that wait for it."""
        async with self._lock:
            configuration = dynamic_configuration(self._server, self._clusters, self._pair)
            text = json.dumps(self._completed(configuration))
            if text != self._written:
                await asyncio.to_thread(_replace, self._path, text)
                self._written = text


def _name_of(kind: str | None, sni: str | None, path: str | None) -> str:
    named: dict[Any, str | None] = {"SNI": sni, "PATH": path and path.removeprefix(CLUSTERS)}
    return named.get(kind) or ""


def _replace(path: Path, text: str) -> None:
    # JSON is YAML too. Traefik takes the format from the file's name, and it reads no file of another name.
    new = path.with_name(f".{path.name}.new")
    new.write_text(text)
    new.chmod(MODE)
    new.replace(path)
