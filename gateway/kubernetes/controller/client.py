"""Upstream's rate-limited client of Kubernetes, with conflicts told apart."""

import functools
from typing import Any

from dask_gateway_server.backends.kubernetes.utils import RateLimitedClient
from kubernetes_asyncio.client.rest import ApiException

from gateway.kubernetes.connection import CONFLICT, UNAVAILABLE, reason_in


class StrictClient(RateLimitedClient):  # type: ignore[misc] # upstream has no types
    """Upstream's client, for which a conflict means only that the object exists.

    Upstream takes every answer 409 to a creation for "exists already". Kubernetes also answers 409 when a ResourceQuota
    changes meanwhile, and upstream never creates the object then (not reported upstream). This client raises such an
    error with the status 503, so that the controller retries.
    """

    def __getattr__(self, name: str) -> Any:
        """Return a method of the wrapped client."""
        method = super().__getattr__(name)

        @functools.wraps(method)
        async def call(*arguments: Any, **options: Any) -> Any:
            try:
                return await method(*arguments, **options)
            except ApiException as error:
                if error.status == CONFLICT and reason_in(error) != "AlreadyExists":
                    error.status = UNAVAILABLE
                raise

        return call
