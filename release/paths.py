"""Where the project's sources are, and where it caches what it builds from them."""

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
"""The clone."""

PROJECT = "af-dask-gateway"
"""Name of the project's directories, images and Docker labels."""


def xdg(variable: str, default: str) -> Path:
    """Return the project's directory below a base directory of the XDG specification.

    ``variable`` names the environment variable; ``default`` is relative to the home directory.
    """
    return Path(os.environ.get(variable) or Path.home() / default) / PROJECT


CACHE = xdg("XDG_CACHE_HOME", ".cache")
"""What can be built again from the clone's files, keyed by content. All clones share it."""
