"""Tell users that the ResourceQuota of the namespace is used up."""

import contextlib
from collections.abc import Iterator

from kubernetes_asyncio.client.rest import ApiException

from gateway.errors import Refusal
from gateway.kubernetes.connection import FORBIDDEN, message_of


@contextlib.contextmanager
def refused() -> Iterator[None]:
    """Raise :class:`Refusal` when Kubernetes refuses an object because the namespace's quota counts too many."""
    try:
        yield
    except ApiException as error:
        if error.status != FORBIDDEN or "exceeded quota" not in message_of(error):
            raise
        raise Refusal(
            "The gateway holds as many clusters of all users as it may now: try again in some minutes, "
            "or ask the administrators."
        ) from error
