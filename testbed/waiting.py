"""Wait for something that another program brings about."""

import time
from collections.abc import Callable


def until(what: str, check: Callable[[], bool], *, seconds: float, pause_seconds: float = 0.3) -> None:
    """Return as soon as ``check`` holds. Raises ``TimeoutError`` that says what did not come about."""
    deadline = time.monotonic() + seconds
    while not check():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what}: not so after {seconds:g} s")
        time.sleep(pause_seconds)
