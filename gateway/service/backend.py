"""What both gateways do with a request before they make a cluster of it."""

from abc import abstractmethod
from dataclasses import dataclass
from typing import Any

from aiohttp import web
from dask_gateway_server.backends.base import Backend as UpstreamBackend
from dask_gateway_server.backends.base import ClusterConfig
from dask_gateway_server.models import Cluster, ClusterStatus
from traitlets import Instance, default

from gateway import settings
from gateway.errors import Refusal
from gateway.identity import accounts
from gateway.identity.accounts import Account
from gateway.identity.authenticator import FacilityUser
from gateway.request import options, quota
from gateway.request.options import ClusterRequest
from gateway.request.quota import Resources
from gateway.service import metrics, middleware, scheduler_reports
from gateway.service.termination import StartFailure
from gateway.site import AccountSource, Backend, Site

WISHES = {"scale": "count", "adapt": "maximum"}
"""Last part of an API path -> the number of workers in its request."""


@dataclass(frozen=True)
class Prepared:
    """A user's request, found good by all that can be told without starting anything."""

    request: ClusterRequest
    options: dict[str, Any]
    """What the gateway remembers of the options: no value of ``env``."""
    config: ClusterConfig


class FailedCluster(Cluster):  # type: ignore[misc] # upstream has no types
    """A cluster that did not start: tells why to the client that waits for it.

    Upstream's client says "see logs for more information" of a failed cluster (dask/dask-gateway#142).
    """

    def __init__(self, cluster: Cluster, reason: str) -> None:
        self.__dict__.update(cluster.__dict__)
        self.reason = reason

    def to_dict(self, full: bool = True) -> dict[str, Any]:  # noqa: ARG002 - upstream's signature
        """Raises the answer with the reason; upstream calls it after it has seen whose cluster this is."""
        raise web.HTTPConflict(reason=self.reason)


class FacilityBackend(UpstreamBackend):  # type: ignore[misc] # upstream has no types
    """The part of a back end that is the same on both gateways."""

    kind: Backend
    site = Instance(Site)

    @default("site")
    def _default_site(self) -> Site:
        return settings.current_site()

    async def setup(self, app: web.Application) -> None:
        """Start to answer requests."""
        self.setup_requests(app)
        await super().setup(app)

    def setup_requests(self, app: web.Application) -> None:
        """Take reports of schedulers; have requests measured, and explained where upstream's routes fail at them.

        For back ends that can't use upstream's setup.
        """
        app.middlewares.extend([middleware.measure, middleware.explain, self._warn_if_trimmed])
        scheduler_reports.take_clients(app, self.note_client)

    @web.middleware
    async def _warn_if_trimmed(self, request: web.Request, handler: middleware.Handler) -> web.StreamResponse:
        """Add to the answer to a wish for workers why not all of them come now.

        Upstream's routes know bounds of one cluster only, and cut the wish down to them (dask/dask-gateway#313).
        """
        response = await handler(request)
        wanted = WISHES.get(request.path.rpartition("/")[2])
        if wanted is None or request.method != "POST" or response.status != web.HTTPOk.status_code:
            return response
        count = (await request.json()).get(wanted)
        name = request.match_info.get("cluster_name", "")
        advice = self.advice_of_scaling(name, count) if isinstance(count, int) else None
        return response if advice is None else web.json_response({"ok": False, "msg": advice})

    @abstractmethod
    def _held_of_total(self, username: str) -> tuple[dict[str, Resources], Resources] | None:
        """What the user's clusters hold, and what they may hold together; None where the site bounds no user."""

    def _check_room(self, user: FacilityUser, prepared: Prepared) -> None:
        """Raises :class:`Refusal` for a user whose total does not even leave room for a scheduler."""
        found = self._held_of_total(user.name)
        if found is None:
            return
        held, total = found
        scheduler = Resources.of_role(prepared.config.to_dict(), "scheduler")
        if not (total - quota.sum_of(held.values())).covers(scheduler):
            metrics.count(self.kind, StartFailure.TOTAL)
            raise Refusal(quota.refusal(scheduler, held, total))

    @abstractmethod
    def advice_of_scaling(self, cluster_name: str, wanted: int) -> str | None:
        """What the user is told who wishes for so many workers of a cluster and does not get them all now."""

    @abstractmethod
    async def note_client(self, name: str) -> None:
        """Note that a client is connected to a cluster."""

    @abstractmethod
    def reason_of(self, name: str) -> str | None:
        """Why a cluster did not start, when that is known."""

    async def get_cluster(self, cluster_name: str, wait: bool = False) -> Cluster | None:
        """The cluster of that name, if there is one; with ``wait``, when it has started, failed or 20 s have passed."""
        cluster = await super().get_cluster(cluster_name, wait=wait)
        if wait and cluster is not None and cluster.status is ClusterStatus.FAILED:
            reason = self.reason_of(cluster_name)
            return FailedCluster(cluster, reason) if reason is not None else cluster
        return cluster

    @abstractmethod
    def cluster_config(self, request: ClusterRequest) -> dict[str, Any]:
        """The traits of the back end's cluster configuration: complete, and shared with no other request."""

    async def prepare(self, user: FacilityUser, cluster_options: Any) -> Prepared:
        """Check what a user asks for. Raises :class:`gateway.errors.Refusal`; leaves nothing behind."""
        given = options.cluster_options(self.site, self.kind).parse_options(cluster_options)
        account = await self.account_of(user, given["env"])
        request = options.request_of(given, user.name, user.user_class.name, account, self.site, self.kind)
        return Prepared(
            request=request,
            options=options.kept(given),
            config=self.cluster_config_class(parent=self, **self.cluster_config(request)),
        )

    async def account_of(self, user: FacilityUser, env: dict[str, object]) -> Account:
        """The account under which the user's cluster runs. Raises :class:`gateway.errors.Refusal`."""
        assert user.account is not None, "the back end has to know accounts of the pool"
        if user.user_class.account is AccountSource.HUB:
            accounts.check_claim(env, user.account, user.user_class.label)
        return user.account
