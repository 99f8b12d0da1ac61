"""Memory and open descriptors of the gateways' processes, read from this machine's /proc.

Containers share the machine's kernel, so /proc shows their processes. ``test_soak`` uses it.
"""

import re
from pathlib import Path
from typing import NamedTuple

GATEWAY = re.compile(r"gateway\.kubernetes|dask-gateway-server|\btraefik\b")
"""What the command line of a gateway's process contains: API, controller, server, Traefik."""


class Usage(NamedTuple):
    """What a process holds."""

    command: str
    resident_mib: float
    descriptors: int


def usage() -> dict[int, Usage]:
    """Return process id -> usage of each process of the gateways; processes that end meanwhile are left out."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            if GATEWAY.search(command):
                found[int(folder.name)] = Usage(
                    command[:80], _resident_mib(folder), len(list((folder / "fd").iterdir()))
                )
        except (OSError, StopIteration):
            continue
    return found


def _resident_mib(folder: Path) -> float:
    line = next(line for line in (folder / "status").read_text().splitlines() if line.startswith("VmRSS:"))
    return int(line.split()[1]) / 1024
