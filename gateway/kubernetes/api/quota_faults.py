"""Tell users that the ResourceQuota of the namespace is used up, or not yet counted."""

import contextlib
from collections.abc import Iterator

from kubernetes_asyncio.client.rest import ApiException

from gateway.errors import Refusal
from gateway.kubernetes.connection import FORBIDDEN, message_of


@contextlib.contextmanager
def refused() -> Iterator[None]:
    """Raise :class:`Refusal` when Kubernetes refuses an object because of the namespace's quota."""
    try:
        yield
    except ApiException as error:
        if error.status != FORBIDDEN or (text := _text_of(message_of(error))) is None:
            raise
        raise Refusal(text) from error


def _text_of(message: str) -> str | None:
    if "exceeded quota" in message:
        return (
            "The gateway holds as many clusters of all users as it may now: try again in some minutes,"
            " or ask the administrators."
        )
    if "status unknown for quota" in message:
        # The quota controller counts a new kind up to --resource-quota-sync-period (5 min) after its CRD exists.
        return "Kubernetes has not counted the gateway's clusters yet, after its installation: try again in 5 minutes."
    return None
