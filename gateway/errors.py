"""Errors that are meant for users."""


class Refusal(Exception):  # noqa: N818 - the answer to a request, not a fault
    """Refuse a request; the text is what the client raises (one line: it travels as an HTTP reason).

    :func:`gateway.service.middleware.explain` answers it.
    """

    def __init__(self, message: str) -> None:
        super().__init__(" ".join(message.split()))
