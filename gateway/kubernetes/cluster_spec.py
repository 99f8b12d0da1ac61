"""The spec of a DaskCluster: what the API server asks the controller for. Pure.

The spec holds the user's name, the user's options, and for a user without an account of the own name the numbers of the
account. The controller makes everything else, from the site and from the directory. It believes no field: it checks the
types here and the options by the API server's own rules, and verifies the account (:mod:`gateway.identity.verified`).
"""

import re
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from gateway.errors import Refusal
from gateway.identity import accounts, verified
from gateway.identity.accounts import Account
from gateway.kubernetes import names
from gateway.request import options
from gateway.request.options import ClusterRequest
from gateway.request.quota import Resources
from gateway.site import GIB, Backend, KubernetesGateway, Site, UserClass

MOST_USERNAME_CHARACTERS = 63
MOST_TIMESTAMP_CHARACTERS = 40
MOST_REPLICAS = 2**31 - 1
MOST_CORES = 10_000
MOST_MEMORY_GIB = 1_000_000
"""Bounds on the types of fields. The site bounds the values that a new pod may have."""


def _timestamp(text: str) -> str:
    """Return the text if it is a moment with a time zone. Raises ``ValueError`` otherwise."""
    if datetime.fromisoformat(text).tzinfo is None:
        raise ValueError("it has no time zone")
    return text


Timestamp = Annotated[str, Field(max_length=MOST_TIMESTAMP_CHARACTERS), AfterValidator(_timestamp)]


class _Part(BaseModel):
    """Base of the parts of a spec: text is no number, and an unknown key is ignored, because other code may read it."""

    model_config = ConfigDict(strict=True, frozen=True, extra="ignore")


class _Sizes(_Part):
    worker_cores: Annotated[float, Field(gt=0, le=MOST_CORES, allow_inf_nan=False)]
    worker_memory: Annotated[float, Field(gt=0, le=MOST_MEMORY_GIB, allow_inf_nan=False)]


class _Numbers(_Part):
    uid: Annotated[int, Field(ge=1, le=accounts.MOST_POSIX_ID)]
    gid: Annotated[int, Field(ge=1, le=accounts.MOST_POSIX_ID)]


class _Spec(_Part):
    username: Annotated[str, Field(max_length=MOST_USERNAME_CHARACTERS)]
    options: _Sizes
    account: _Numbers | None = None
    active: bool = True
    replicas: Annotated[int, Field(ge=0, le=MOST_REPLICAS)] = 0
    lastClient: Timestamp | None = None  # noqa: N815 - a key of Kubernetes' object
    started: Timestamp | None = None


def of_request(request: ClusterRequest, given: Mapping[str, Any], user_class: UserClass) -> dict[str, Any]:
    """Return the spec of a new DaskCluster for a checked request, made from the given options without ``env``."""
    account = verified.described(request.account, user_class)
    return {
        "username": request.username,
        "options": dict(given),
        **({} if account is None else {"account": dict(account)}),
    }


def check(cluster: Mapping[str, Any]) -> None:
    """Check name and types of a DaskCluster, so that all code can read it. Raises :class:`Refusal` with the field."""
    if not re.fullmatch(names.CLUSTER_NAME, cluster["metadata"]["name"]):
        raise Refusal("The DaskCluster's name is not a DNS label: only the gateway creates DaskClusters.")
    _checked(cluster)


def _checked(cluster: Mapping[str, Any]) -> _Spec:
    try:
        return _Spec.model_validate(cluster.get("spec"))
    except ValidationError as error:
        fault = error.errors(include_input=False, include_url=False)[0]
        where = ".".join(("spec", *map(str, fault["loc"])))
        raise Refusal(f"The DaskCluster's {where} is not valid ({fault['msg']}): create the cluster again.") from error


def class_of(username: str, site: Site) -> UserClass:
    """Return the class of a user whom this gateway serves. Raises :class:`Refusal` for other users."""
    user_class = accounts.classify(username, site.identity.classes)
    if user_class.name not in site.kubernetes.classes:
        raise Refusal(site.kubernetes.refusal)
    return user_class


def named_account(cluster: Mapping[str, Any]) -> verified.Named | None:
    """Return the account that the spec names. Raises :class:`Refusal`."""
    account = _checked(cluster).account
    return None if account is None else verified.Named(account.uid, account.gid)


def request_of(cluster: Mapping[str, Any], account: Account, site: Site) -> ClusterRequest:
    """Return the checked request of a DaskCluster, without variables, for a verified account.

    Raises :class:`Refusal` for what the API server would have refused.
    """
    spec = cluster["spec"]
    user_class = class_of(spec["username"], site)
    # The variables are in the cluster's Secret, which the controller never reads.
    wanted = {**spec["options"], "env": {}}
    given = options.cluster_options(site, Backend.KUBERNETES).parse_options(wanted)
    return options.request_of(given, spec["username"], user_class.name, account, site, Backend.KUBERNETES)


def worker_resources(cluster: Mapping[str, Any]) -> Resources:
    """Return the resources of one worker of a DaskCluster that passes :func:`check`."""
    given = cluster["spec"]["options"]
    worker = Resources.of(given["worker_cores"], round(given["worker_memory"] * GIB))
    return replace(worker, workers=1)


def scheduler_resources(gateway: KubernetesGateway) -> Resources:
    """Return the resources of a scheduler: the site's, for every cluster."""
    return Resources.of(gateway.scheduler.cores, round(gateway.scheduler.memory_gib * GIB))
