"""Files with the id of a process that may outlive the program that started it."""

import re
from collections.abc import Callable
from pathlib import Path


def name_of(pid: int) -> str | None:
    """Return the name of a live process. A zombie, which waits for its parent, counts as ended."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return None
    values = dict(line.split(":\t", 1) for line in lines if ":\t" in line)
    return None if values["State"].startswith("Z") else values["Name"]


def is_valid(text: str, program: str, name_of: Callable[[int], str | None] = name_of) -> bool:
    """Return whether the id in a pid file belongs to a process of this program."""
    return bool(re.fullmatch(r"\d+", text.strip())) and name_of(int(text)) == program
