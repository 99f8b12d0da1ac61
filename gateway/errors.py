"""Errors whose text the user reads."""


def one_line(text: str) -> str:
    """Return a text as one line of printable characters: users' programs choose parts of it, and terminals show it."""
    return " ".join("".join(character if character.isprintable() else " " for character in text).split())


class Refusal(Exception):  # noqa: N818 - the answer to a request, not a fault of the gateway
    """Refuse a request. The client raises the text to its user.

    The text is one line, because it travels as the reason of an HTTP response;
    :func:`gateway.service.middleware.explain` writes that response.
    """

    def __init__(self, message: str) -> None:
        super().__init__(one_line(message))
