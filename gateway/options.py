"""The user guide's cluster options: their schema, and the one handler that makes a cluster's configuration of them."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from dask_gateway_server.options import Float, Options, String
from dask_gateway_server.options import Mapping as MappingField

from gateway import environment_variables, environments
from gateway.auth import FacilityUser
from gateway.errors import Refusal
from gateway.site import AccountSource, Backend, CoresBounds, GibBounds, Site
from gateway.users import Account

GIB = 2**30
"""Bytes; what dask-gateway calls "G" and the user guide "GB"."""
DEFAULT_WORKER_CORES = 1
DEFAULT_WORKER_MEMORY_GIB = 4
IDENTITY_VARIABLES = ("NB_UID", "NB_GID")


@dataclass(frozen=True)
class ClusterRequest:
    """What a user asks for, checked: all that a back end needs to make a cluster's configuration."""

    username: str
    """JupyterHub's."""
    user_class: str
    account: Account
    prefix: str
    """The environment's directory."""
    environment: dict[str, str]
    """All variables for scheduler and workers, PATH included."""
    worker_cores: float
    worker_memory_bytes: int


class Number(Float):  # type: ignore[misc] # upstream has no types
    """A number that is none of Python's lookalikes: booleans, NaN and infinities are refused."""

    def validate(self, x: Any) -> float:
        """The number as a float. Raises ``TypeError`` or ``ValueError`` with the option's name and value."""
        if isinstance(x, bool) or not isinstance(x, int | float):
            raise TypeError(f"{self.field} must be a number, got {x!r}")
        if not math.isfinite(x):
            raise ValueError(f"{self.field} must be a finite number, got {x!r}")
        if self.min is not None and x < self.min:
            raise ValueError(f"{self.field} must be at least {self.min:g}, got {x!r}")
        if self.max is not None and x > self.max:
            raise ValueError(f"{self.field} must be at most {self.max:g}, got {x!r}")
        return float(x)


class WholeNumber(Number):
    """A number without fraction; ``2.0`` is one."""

    def validate(self, x: Any) -> float:
        """The number as a float without fraction. Raises like :class:`Number`."""
        number = super().validate(x)
        if not number.is_integer():
            raise ValueError(f"{self.field} must be a whole number of cores, got {x!r}")
        return number


class FacilityOptions(Options):  # type: ignore[misc] # upstream has no types
    """Options that name the known ones when they refuse unknown ones."""

    def parse_options(self, request: Any) -> dict[str, Any]:
        """The checked options. Raises ``TypeError`` or ``ValueError`` for what can't be."""
        if isinstance(request, Mapping):
            known = [field.field for field in self.fields]
            unknown = sorted(str(name) for name in set(request).difference(known))
            if unknown:
                raise Refusal(f"unknown option {', '.join(unknown)}; known options are {', '.join(known)}.")
        options: dict[str, Any] = super().parse_options(request)
        return options


def cluster_options(
    site: Site, backend: Backend, configure: Callable[[Site, ClusterRequest], dict[str, Any]]
) -> FacilityOptions:
    """The options of a gateway; ``configure`` makes the back end's cluster configuration of a checked request."""
    gateway = site.gateway(backend)

    def handler(options: Any, user: FacilityUser) -> dict[str, Any]:
        return configure(site, request_of(options, user, site, backend))

    return FacilityOptions(
        String("pixi_project", label="Pixi project (directory with pixi.toml)"),
        String("pixi_env", default=environments.DEFAULT_PIXI_ENVIRONMENT, label="Pixi environment"),
        String("conda_env", label="Conda environment (directory), instead of a Pixi project"),
        _cores(gateway.worker_cores),
        _memory(gateway.worker_memory_gib),
        MappingField("env", label="Environment variables"),
        handler=handler,
    )


def _cores(bounds: CoresBounds) -> Number:
    kind = WholeNumber if bounds.whole else Number
    return kind(
        "worker_cores",
        default=DEFAULT_WORKER_CORES,
        min=bounds.minimum,
        max=bounds.maximum,
        label="Cores per worker",
    )


def _memory(bounds: GibBounds) -> Number:
    return Number(
        "worker_memory",
        default=DEFAULT_WORKER_MEMORY_GIB,
        min=bounds.minimum,
        max=bounds.maximum,
        label="Memory per worker (GB)",
    )


def request_of(options: Mapping[str, Any], user: FacilityUser, site: Site, backend: Backend) -> ClusterRequest:
    """The checked request of a user. Raises :class:`Refusal`."""
    if user.user_class.account is AccountSource.HUB:
        check_identity(options["env"], user.account, user.user_class.label)
    prefix = environments.prefix(
        pixi_project=options["pixi_project"],
        pixi_env=options["pixi_env"],
        conda_env=options["conda_env"],
        site=site,
        backend=backend,
        user_class=user.user_class.name,
    )
    return ClusterRequest(
        username=user.name,
        user_class=user.user_class.name,
        account=user.account,
        prefix=prefix,
        environment=environment_variables.for_workers(options["env"], prefix, site.environment_variables),
        worker_cores=options["worker_cores"],
        worker_memory_bytes=round(options["worker_memory"] * GIB),
    )


def check_identity(env: Mapping[str, object], account: Account, label: str) -> None:
    """Refuse an ``env`` whose NB_UID and NB_GID are not those of the account (user guide, section 2)."""
    missing = [name for name in IDENTITY_VARIABLES if name not in env]
    if missing:
        lines = ", ".join(f'"{name}": os.environ["{name}"]' for name in IDENTITY_VARIABLES)
        names = " and ".join(missing)
        raise Refusal(
            f"env lacks {names}, which {label} users must pass: env = dict(os.environ), or env = {{{lines}, ...}}."
        )
    for name, wanted in zip(IDENTITY_VARIABLES, (account.uid, account.gid), strict=True):
        if env[name] != str(wanted):
            raise Refusal(f"env[{name!r}] is {env[name]!r}, but your account has {wanted}; pass os.environ[{name!r}].")
