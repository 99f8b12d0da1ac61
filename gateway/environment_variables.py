"""What of a user's ``env`` reaches schedulers and workers. Pure."""

import re
from collections.abc import Mapping

from gateway.errors import Refusal
from gateway.site import EnvironmentVariables

SHELL_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
"""Names that every shell takes (POSIX.1-2017, 3.235); others, like bash's exported functions, are left out."""
SYSTEM_PATH = "/usr/local/bin:/usr/bin:/bin"


def is_withheld(name: str, settings: EnvironmentVariables) -> bool:
    """Whether a variable stays in the notebook."""
    return any(
        name.startswith(item.pattern[:-1]) if item.pattern.endswith("*") else name == item.pattern
        for item in settings.withheld
    )


def for_workers(env: Mapping[str, object], prefix: str, settings: EnvironmentVariables) -> dict[str, str]:
    """The variables of schedulers and workers; values keep every character.

    PATH begins with the environment's own ``bin`` and goes on with the user's, or the system's when the user has none.
    Raises :class:`Refusal` for values that are not text, that contain NUL, and for more than the site's bound in total.
    """
    given = {name: _text(name, value) for name, value in env.items()}
    size = sum(len(f"{name}{value}".encode()) for name, value in given.items())
    if size > settings.maximum_bytes:
        raise Refusal(f"env has {size} bytes in total; at most {settings.maximum_bytes} can be passed to workers.")
    kept = {
        name: value for name, value in given.items() if SHELL_NAME.fullmatch(name) and not is_withheld(name, settings)
    }
    path = f"{prefix}/bin:{kept.get('PATH') or SYSTEM_PATH}"
    return {**settings.added, **kept, "PATH": path}


def _text(name: object, value: object) -> str:
    if not isinstance(name, str):
        raise Refusal(f"env has the name {name!r}, which is no text.")
    if not isinstance(value, str):
        raise Refusal(f"env[{name!r}] is {value!r}; values must be text, so write {str(value)!r}.")
    if "\0" in value:
        raise Refusal(f"env[{name!r}] contains a NUL character, which no environment variable can hold.")
    return value
