"""Handle requests for clusters alike on both gateways: check them, start clusters, explain failed and trimmed ones."""

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import aiohttp
from aiohttp import web
from dask_gateway_server.backends.base import Backend as UpstreamBackend
from dask_gateway_server.backends.base import ClusterConfig
from dask_gateway_server.models import Cluster, ClusterStatus
from traitlets import Instance, default

from gateway import settings
from gateway.errors import Refusal
from gateway.identity import accounts, source
from gateway.identity.accounts import Account
from gateway.identity.authenticator import FacilityUser
from gateway.request import options, quota
from gateway.request.options import ClusterRequest
from gateway.request.quota import Resources
from gateway.service import heartbeats, metrics, middleware, scheduler_reports, scheduler_session
from gateway.service.dashboards.handlers import DashboardLogin
from gateway.service.termination import StartFailure
from gateway.site import AccountSource, Backend, Site

WORKERS_FIELDS = {"scale": "count", "adapt": "maximum"}
"""Last part of an API path -> field of the request's body with the number of requested workers."""


@dataclass(frozen=True)
class Prepared:
    """A user's request that has passed all checks that start nothing."""

    request: ClusterRequest
    options: dict[str, Any]
    """The options that the gateway stores, without ``env``."""
    config: ClusterConfig


@dataclass(frozen=True)
class Created:
    """A cluster that the back end has created and has yet to verify."""

    name: str
    handle: Any
    """The back end's own object, which its other steps of the start take."""


class FailedCluster(Cluster):  # type: ignore[misc] # upstream has no types
    """A cluster whose start failed. Its answer to the client that waits for it gives the reason.

    Upstream's client says "see logs for more information" of a failed cluster (dask/dask-gateway#142).
    """

    def __init__(self, cluster: Cluster, reason: str) -> None:
        self.__dict__.update(cluster.__dict__)
        self.reason = reason

    def to_dict(self, full: bool = True) -> dict[str, Any]:  # noqa: ARG002 - upstream's signature
        """Raise the answer with the reason. Upstream calls this method after it has checked the cluster's owner."""
        raise web.HTTPConflict(reason=self.reason)


class FacilityBackend(UpstreamBackend):  # type: ignore[misc] # upstream has no types
    """The part of a back end that both gateways share. A subclass lists it before upstream's back end."""

    kind: Backend
    site = Instance(Site)

    @default("site")
    def _default_site(self) -> Site:
        return settings.current_site()

    async def setup(self, app: web.Application) -> None:
        """Add routes and middlewares, then set upstream up."""
        self.setup_requests(app)
        await super().setup(app)
        await self.guard_session()

    async def guard_session(self) -> None:
        """Replace upstream's session, by which the gateway calls schedulers, by one that users' code can't mislead."""
        await self.session.close()
        self.session: aiohttp.ClientSession = scheduler_session.opened()

    def setup_requests(self, app: web.Application) -> None:
        """Add the routes for scheduler reports and dashboards' logins, and the middlewares of all requests.

        A back end that can't use upstream's ``setup`` calls this method itself.
        """
        proxies, gateway = source.proxies_of(self.site, self.kind), self.site.gateway(self.kind)
        app.middlewares.extend([*middleware.all_of(proxies, gateway), self._warn_if_trimmed])
        scheduler_reports.take_clients(app, self.note_client)
        self._heartbeats = scheduler_reports.Pace()
        DashboardLogin(self.site, self.kind, self.get_cluster, self.log).add_routes(app)

    @web.middleware
    async def _warn_if_trimmed(self, request: web.Request, handler: middleware.Handler) -> web.StreamResponse:
        """Tell the client that scales a cluster why the gateway starts fewer workers now than requested.

        Upstream's routes know only the bounds of one cluster, and trim the request to them (dask/dask-gateway#313).
        """
        if request.method == "POST" and request.path.endswith("/adapt"):
            _check_adapt(await request.json())
        response = await handler(request)
        field = WORKERS_FIELDS.get(request.path.rpartition("/")[2])
        if field is None or request.method != "POST" or response.status != web.HTTPOk.status_code:
            return response
        count = (await request.json()).get(field)
        name = request.match_info.get("cluster_name", "")
        advice = self._advice(name, count) if isinstance(count, int) else None
        return response if advice is None else web.json_response({"ok": False, "msg": advice})

    def _advice(self, name: str, wanted: int) -> str | None:
        """Return the warning for a user who requests this number of workers of a cluster."""
        maximum = self.site.gateway(self.kind).maximum_workers.per_cluster
        bounded = quota.bounded(wanted, maximum) if wanted > maximum else None
        return " ".join(filter(None, (bounded, self.advice_of_scaling(name, min(wanted, maximum))))) or None

    @abstractmethod
    def _held_of_total(self, username: str) -> tuple[dict[str, Resources], Resources]:
        """Return what each of the user's clusters holds, and what the site allows to the user."""

    def _check_room(self, user: FacilityUser, prepared: Prepared) -> None:
        """Check that the user total has room for the scheduler. Raises :class:`Refusal`, and counts it, otherwise."""
        held, total = self._held_of_total(user.name)
        scheduler = Resources.of_role(prepared.config.to_dict(), "scheduler")
        if not (total - quota.sum_of(held.values())).covers(scheduler):
            metrics.count(self.kind, StartFailure.TOTAL)
            raise Refusal(quota.refusal(scheduler, held, total))

    @abstractmethod
    def advice_of_scaling(self, cluster_name: str, wanted: int) -> str | None:
        """Return the warning for a user who requests this number of workers; None when the gateway starts them all."""

    async def on_cluster_heartbeat(self, cluster_name: str, msg: object) -> None:
        """Check a heartbeat, and bound its number of workers, before upstream reads it.

        Raises :class:`Refusal` for a malformed heartbeat, ``HTTPTooManyRequests`` for one too many.
        """
        self._heartbeats.check(cluster_name)
        heartbeat = heartbeats.checked(msg)
        maximum = self.site.gateway(self.kind).maximum_workers.per_cluster
        heartbeat["count"] = min(heartbeat["count"], maximum)
        await super().on_cluster_heartbeat(cluster_name, await self.placed_heartbeat(cluster_name, heartbeat))

    async def placed_heartbeat(self, _cluster_name: str, heartbeat: dict[str, Any]) -> dict[str, Any]:
        """Return the heartbeat with addresses that the gateway may connect to.

        A back end overrides this method if upstream reads them there. Raises :class:`Refusal`.
        """
        return heartbeat

    @abstractmethod
    async def note_client(self, name: str) -> None:
        """Record that a client is connected to a cluster."""

    @abstractmethod
    def reason_of(self, name: str) -> str | None:
        """Return why a cluster did not start; None while the gateway does not know."""

    async def get_cluster(self, cluster_name: str, wait: bool = False) -> Cluster | None:
        """Return the cluster of that name, or None.

        With ``wait``, return when it has started or failed, or after 20 s.
        """
        cluster = await super().get_cluster(cluster_name, wait=wait)
        if wait and cluster is not None and cluster.status is ClusterStatus.FAILED:
            reason = self.reason_of(cluster_name)
            return FailedCluster(cluster, reason) if reason is not None else cluster
        return cluster

    @abstractmethod
    def cluster_config(self, request: ClusterRequest) -> dict[str, Any]:
        """Return all traits of the back end's cluster configuration. No other request shares the dictionary."""

    async def start_cluster(self, user: FacilityUser, cluster_options: Any) -> str:
        """Create a cluster, and return its name when its environment has passed the checks.

        Raises :class:`gateway.errors.Refusal`. After any error, the back end ends the cluster and deletes all of it.
        """
        prepared = await self.prepare(user, cluster_options)
        self._check_room(user, prepared)
        created = await self._create_cluster(user, prepared)
        try:
            await self._verify_cluster(created, prepared.request)
        except BaseException as error:
            shown = await self._abandon_cluster(created, error)
            if shown is error:
                raise
            raise shown from error
        return created.name

    @abstractmethod
    async def _create_cluster(self, user: FacilityUser, prepared: Prepared) -> Created:
        """Create the cluster's record, and start its scheduler. After an error, leave nothing of it."""

    @abstractmethod
    async def _verify_cluster(self, created: Created, request: ClusterRequest) -> None:
        """Return when the environment has passed the checks, which run as the user. Raises an error otherwise."""

    @abstractmethod
    async def _abandon_cluster(self, created: Created, error: BaseException) -> BaseException:
        """End a cluster that was not verified because of an error, and delete all of it.

        Return the error that the user may see.
        """

    async def prepare(self, user: FacilityUser, cluster_options: Any) -> Prepared:
        """Check a user's request for a cluster, and start nothing. Raises :class:`gateway.errors.Refusal`."""
        given = options.cluster_options(self.site, self.kind).parse_options(cluster_options)
        account = self.account_of(user, given["env"])
        request = options.request_of(given, user.name, user.user_class.name, account, self.site, self.kind)
        return Prepared(
            request=request,
            options=options.kept(given),
            config=self.cluster_config_class(
                parent=self,
                # Upstream trims requests for more workers to this number, in heartbeats too.
                cluster_max_workers=self.site.gateway(self.kind).maximum_workers.per_cluster,
                **self.cluster_config(request),
            ),
        )

    @staticmethod
    def account_of(user: FacilityUser, env: dict[str, object]) -> Account:
        """Return the account under which the user's cluster runs.

        Raises :class:`gateway.errors.Refusal` when ``env`` of an external user does not name this account.
        """
        if user.user_class.account is not AccountSource.DIRECTORY:
            accounts.check_claim(env, user.account, user.user_class.label)
        return user.account


def _check_adapt(message: Mapping[str, object]) -> None:
    """Raise :class:`Refusal` for bounds that are no numbers of workers; upstream compares them unchecked."""
    for field in ("minimum", "maximum"):
        bound = message.get(field)
        if bound is not None and (not isinstance(bound, int) or isinstance(bound, bool) or bound < 0):
            raise Refusal(f"{field} must be a whole number of workers, 0 or more, got {repr(bound)[:80]}.")
