"""Select and check the variables of ``env`` that schedulers and workers get. Pure."""

import re
from collections.abc import Iterable, Mapping

from gateway.errors import Refusal
from gateway.site import EnvironmentVariables

SHELL_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
"""Names that every shell accepts (POSIX.1-2017, 3.235); others are dropped, like those of bash's exported functions."""
SYSTEM_PATH = "/usr/local/bin:/usr/bin:/bin"
LONGEST_BYTES = 131071
"""Bound on one variable with name and ``=``: Linux's MAX_ARG_STRLEN (include/uapi/linux/binfmts.h) without the NUL."""
RESERVED = re.compile(
    r"HOME|DASK_GATEWAY_(API_URL|API_TOKEN|CLUSTER_NAME|WORKER_NAME|CLIENT_REPORT_SECONDS|REPORT_START|DASHBOARD_SECRET)"
    r"|DASK_DISTRIBUTED__COMM__(TLS__.*|REQUIRE_ENCRYPTION)"
)
"""Variables that only the gateway sets. By them, scheduler and workers find the gateway and each other (upstream's
``get_env`` and :mod:`gateway.as_user.preload`), and a directory of their own (the user guide gives workers no /home).
"""


def is_withheld(name: str, settings: EnvironmentVariables) -> bool:
    """Return whether a variable stays in the notebook."""
    return RESERVED.fullmatch(name) is not None or any(
        name.startswith(item.pattern[:-1]) if item.pattern.endswith("*") else name == item.pattern
        for item in settings.withheld
    )


def for_workers(
    env: Mapping[str, object], prefix: str, username: str, settings: EnvironmentVariables
) -> dict[str, str]:
    """Return the variables of schedulers and workers. Values keep every byte (as ``os.fsencode`` gives it).

    PATH begins with the ``bin`` of the environment. The user's PATH follows, or the system's when ``env`` has none.
    USER and LOGNAME are the JupyterHub name unless ``env`` has them.
    Raises :class:`Refusal`, whose text never holds a value: for a value that is not text, for one that no process can
    have, for a variable over ``LONGEST_BYTES``, and for an ``env`` over the site's bound in total.
    """
    sizes = {name: _size(name, value) for name, value in env.items()}
    total = sum(sizes.values())
    if total > settings.maximum_bytes:
        largest = max(sizes, key=lambda name: sizes[name])
        raise Refusal(
            f"env has {total} bytes in total; workers can get at most {settings.maximum_bytes}. The largest variable is"
            f" {_short(largest)} with {sizes[largest]} bytes: leave out what workers don't need."
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
            raise Refusal(
                f"env[{_short(name)}] has {size} bytes for workers; Linux takes at most {LONGEST_BYTES}:"
                " shorten it, or leave it out."
            )
    return made


def _size(name: object, value: object) -> int:
    """Return the size of name and value in bytes. Raises :class:`Refusal` for what no process can have."""
    if not isinstance(name, str):
        raise Refusal(f"env has a name of type {type(name).__name__}; names must be text: use str(...).")
    if not isinstance(value, str):
        raise Refusal(f"env[{_short(name)}] is of type {type(value).__name__}; values must be text: use str(...).")
    try:
        encoded = name.encode("utf-8", "surrogateescape"), value.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        raise Refusal(
            f"env[{_short(name)}] contains a character that no environment variable can hold: leave it out."
        ) from None
    if "\0" in value:
        raise Refusal(
            f"env[{_short(name)}] contains a NUL character, which no environment variable can hold: leave it out."
        )
    return sum(map(len, encoded))


def _short(name: str) -> str:
    text = repr(name)
    return text if len(text) <= 60 else f"{text[:57]}..."


def encoded(variables: Mapping[str, str]) -> bytes:
    """Return the variables in the form of Linux's ``/proc/PID/environ``: ``NAME=VALUE`` and a NUL for each."""
    return b"".join(_entries(variables))


def _entries(variables: Mapping[str, str]) -> Iterable[bytes]:
    for name, value in variables.items():
        yield f"{name}={value}".encode("utf-8", "surrogateescape") + b"\0"
