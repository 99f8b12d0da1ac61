"""Define the user guide's cluster options, and turn them into a checked request. The same on both gateways. Pure."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from dask_gateway_server.options import Float, Options, String
from dask_gateway_server.options import Mapping as MappingField

from gateway.errors import Refusal
from gateway.identity.accounts import Account
from gateway.request import environment_variables, environments
from gateway.request.environments import Environment
from gateway.site import GIB, Backend, CoresBounds, GibBounds, Site

DEFAULT_WORKER_CORES = 1
DEFAULT_WORKER_MEMORY_GIB = 4


@dataclass(frozen=True)
class ClusterRequest:
    """A checked request: all that a back end needs to make the configuration of a cluster."""

    username: str
    """The JupyterHub name."""
    user_class: str
    account: Account
    environment: Environment
    variables: dict[str, str]
    """All environment variables of scheduler and workers, with PATH."""
    worker_cores: float
    worker_memory_bytes: int


class Number(Float):  # type: ignore[misc] # upstream has no types
    """An option that takes a finite number. It refuses booleans, NaN and infinities."""

    def validate(self, x: Any) -> float:
        """Return the number as a float. Raises :class:`Refusal` with the option's name and value."""
        if isinstance(x, bool) or not isinstance(x, int | float):
            raise Refusal(f"{self.field} must be a number, got {_short(x)}")
        # The comparisons below take the value as it is: a conversion of a large integer to float could overflow.
        if isinstance(x, float) and not math.isfinite(x):
            raise Refusal(f"{self.field} must be a finite number, got {x!r}")
        self.check_kind(x)
        if self.min is not None and x < self.min:
            raise Refusal(f"{self.field} must be at least {self.min:g}, got {_short(x)}")
        if self.max is not None and x > self.max:
            raise Refusal(f"{self.field} must be at most {self.max:g}, got {_short(x)}")
        return float(x)

    def check_kind(self, _number: float) -> None:
        """Refuse numbers that a subclass does not take."""


class WholeNumber(Number):
    """An option that takes a whole number; ``2.0`` is one."""

    def check_kind(self, number: float) -> None:
        """Refuse a number with a fraction."""
        if isinstance(number, float) and not number.is_integer():
            raise Refusal(f"{self.field} must be a whole number of cores, got {number!r}")


def _short(value: object) -> str:
    try:
        text = repr(value)
    except ValueError:  # an integer has more digits than Python writes (sys.get_int_max_str_digits)
        return "a number of thousands of digits"
    return text if len(text) <= 80 else f"{text[:77]}..."


class FacilityOptions(Options):  # type: ignore[misc] # upstream has no types
    """Options whose refusal of an unknown option lists the known ones."""

    def parse_options(self, request: Any) -> dict[str, Any]:
        """Return the checked options, with defaults. Raises :class:`Refusal` for an unknown option or a wrong value."""
        if isinstance(request, Mapping):
            known = [field.field for field in self.fields]
            unknown = sorted(_short(name) for name in set(request).difference(known))
            if unknown:
                raise Refusal(f"unknown option {', '.join(unknown)}; known options are {', '.join(known)}.")
        try:
            options: dict[str, Any] = super().parse_options(request)
        except (TypeError, ValueError) as error:
            raise Refusal(str(error)) from error
        return options


class Text(String):  # type: ignore[misc] # upstream has no types
    """An option that takes text."""

    def validate(self, x: Any) -> str:
        """Return the text. Raises :class:`Refusal` with the option's name and value."""
        if not isinstance(x, str):
            raise Refusal(f"{self.field} must be text, got {_short(x)}")
        return x


class Variables(MappingField):  # type: ignore[misc] # upstream has no types
    """The option ``env``: a mapping of environment variables."""

    def validate(self, x: Any) -> dict[str, Any]:
        """Return the mapping. Raises :class:`Refusal` with the option's name, and never with a value."""
        if not isinstance(x, dict):
            raise Refusal(f"{self.field} must be a dictionary like dict(os.environ), got a {type(x).__name__}")
        return x


def cluster_options(site: Site, backend: Backend) -> FacilityOptions:
    """Return the options of a gateway. Both gateways have the same options, each with its own bounds."""
    gateway = site.gateway(backend)
    return FacilityOptions(
        Text("pixi_project", label="Pixi project (directory with pixi.toml)"),
        Text("pixi_env", default=environments.DEFAULT_PIXI_ENVIRONMENT, label="Pixi environment"),
        Text("conda_env", label="Conda environment (directory), instead of a Pixi project"),
        _cores(gateway.worker_cores),
        _memory(gateway.worker_memory_gib),
        Variables("env", default={}, label="Environment variables"),
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


def request_of(
    options: Mapping[str, Any], username: str, user_class: str, account: Account, site: Site, backend: Backend
) -> ClusterRequest:
    """Return a user's checked request, from options that :func:`cluster_options` parsed. Raises :class:`Refusal`."""
    environment = environments.chosen(
        pixi_project=options["pixi_project"],
        pixi_env=options["pixi_env"],
        conda_env=options["conda_env"],
        site=site,
        backend=backend,
        user_class=user_class,
    )
    variables = environment_variables.for_workers(
        options["env"], environment.prefix, username, site.environment_variables
    )
    return ClusterRequest(
        username=username,
        user_class=user_class,
        account=account,
        environment=environment,
        variables=variables,
        worker_cores=options["worker_cores"],
        worker_memory_bytes=round(options["worker_memory"] * GIB),
    )


def kept(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options without ``env``. The gateway stores these with the cluster and shows them to the user."""
    return {**options, "env": {}}
