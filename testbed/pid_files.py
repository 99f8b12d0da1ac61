"""Files with the number of a process that outlives, or may outlive, who has started it."""

import re
from collections.abc import Callable
from pathlib import Path


def name_of(pid: int) -> str | None:
    """The name of a live process; one that has ended and only waits for its parent does not count."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return None
    values = dict(line.split(":\t", 1) for line in lines if ":\t" in line)
    return None if values["State"].startswith("Z") else values["Name"]


def is_valid(text: str, program: str, name_of: Callable[[int], str | None] = name_of) -> bool:
    """Whether a pid file's number is that of a process of this program."""
    return bool(re.fullmatch(r"\d+", text.strip())) and name_of(int(text)) == program
