"""Errors that are meant for users."""

from dask_gateway_server.backends.base import PublicException


class Refusal(PublicException):  # type: ignore[misc] # upstream has no types
    """A request that can't be granted; the text is what the client raises (one line: it travels as an HTTP reason)."""

    def __init__(self, message: str) -> None:
        super().__init__(" ".join(message.split()))
