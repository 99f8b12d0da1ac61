"""Wait until a condition holds that another program brings about."""

import time
from collections.abc import Callable


def until(what: str, check: Callable[[], bool], *, seconds: float, pause_seconds: float = 0.3) -> None:
    """Return as soon as ``check`` returns true. Raises ``TimeoutError`` that says what did not happen."""
    deadline = time.monotonic() + seconds
    while not check():
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {seconds:g} s: {what}")
        time.sleep(pause_seconds)
