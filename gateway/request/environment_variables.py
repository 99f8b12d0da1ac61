"""What of a user's ``env`` reaches schedulers and workers. Pure."""

import re
from collections.abc import Iterable, Mapping

from gateway.errors import Refusal
from gateway.site import EnvironmentVariables

SHELL_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
"""Names that every shell takes (POSIX.1-2017, 3.235); others, like bash's exported functions, are left out."""
SYSTEM_PATH = "/usr/local/bin:/usr/bin:/bin"
LONGEST_BYTES = 131071
"""Of one variable with its name and ``=``: Linux's MAX_ARG_STRLEN (include/uapi/linux/binfmts.h) without the NUL."""
RESERVED = re.compile(
    r"HOME|DASK_GATEWAY_(API_URL|API_TOKEN|CLUSTER_NAME|WORKER_NAME|CLIENT_REPORT_SECONDS|REPORT_START)"
    r"|DASK_DISTRIBUTED__COMM__(TLS__.*|REQUIRE_ENCRYPTION)"
)
"""Never taken from the user: by these, scheduler and workers find the gateway, each other (upstream's ``get_env`` and
:mod:`gateway.as_user.preload`) and a directory of their own (the user guide gives workers no /home)."""


def is_withheld(name: str, settings: EnvironmentVariables) -> bool:
    """Whether a variable stays in the notebook."""
    return RESERVED.fullmatch(name) is not None or any(
        name.startswith(item.pattern[:-1]) if item.pattern.endswith("*") else name == item.pattern
        for item in settings.withheld
    )


def for_workers(
    env: Mapping[str, object], prefix: str, username: str, settings: EnvironmentVariables
) -> dict[str, str]:
    """The variables of schedulers and workers; values keep every byte (as ``os.fsencode`` gives it).

    PATH begins with the environment's own ``bin`` and goes on with the user's, or the system's when the user has none;
    USER and LOGNAME are the JupyterHub name unless the user has them. Raises :class:`Refusal`, which never holds a
    value, for values that are not text or that no process can have, and for more than the site's bound in total.
    """
    sizes = {name: _size(name, value) for name, value in env.items()}
    total = sum(sizes.values())
    if total > settings.maximum_bytes:
        largest = max(sizes, key=lambda name: sizes[name])
        raise Refusal(
            f"env has {total} bytes in total; at most {settings.maximum_bytes} can be passed to workers. The largest is"
            f" {_short(largest)} with {sizes[largest]}: leave out what workers don't need."
        )
    kept = {
        name: value
        for name, value in env.items()
        if isinstance(value, str) and SHELL_NAME.fullmatch(name) and not is_withheld(name, settings)
    }
    path = f"{prefix}/bin:{kept.get('PATH') or SYSTEM_PATH}"
    made = {**settings.added, "USER": username, "LOGNAME": username, **kept, "PATH": path}
    for name, value in made.items():
        size = _size(name, value) + len("=")
        if size > LONGEST_BYTES:
            raise Refusal(f"env[{_short(name)}] has {size} bytes for workers; Linux takes at most {LONGEST_BYTES}.")
    return made


def _size(name: object, value: object) -> int:
    """Bytes of name and value."""
    if not isinstance(name, str):
        raise Refusal(f"env has a name of type {type(name).__name__}; names must be text.")
    if not isinstance(value, str):
        raise Refusal(f"env[{_short(name)}] is of type {type(value).__name__}; values must be text: use str(...).")
    try:
        encoded = name.encode("utf-8", "surrogateescape"), value.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        raise Refusal(f"env[{_short(name)}] contains a character that no environment variable can hold.") from None
    if "\0" in value:
        raise Refusal(f"env[{_short(name)}] contains a NUL character, which no environment variable can hold.")
    return sum(map(len, encoded))


def _short(name: str) -> str:
    text = repr(name)
    return text if len(text) <= 60 else f"{text[:57]}..."


def encoded(variables: Mapping[str, str]) -> bytes:
    """The variables as in Linux's ``/proc/PID/environ``: ``NAME=VALUE`` each, NUL after each."""
    return b"".join(_entries(variables))


def _entries(variables: Mapping[str, str]) -> Iterable[bytes]:
    for name, value in variables.items():
        yield f"{name}={value}".encode("utf-8", "surrogateescape") + b"\0"
