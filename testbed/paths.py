"""Where the testbed keeps things outside of the clone, so that every clone finds them again.

The cache holds what can be made again from the clone's files, keyed by content; the state belongs to the testbed that
is up now. Both follow the XDG base directory specification.
"""

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
"""The clone."""

PROJECT = "af-dask-gateway"
"""Name of the project's directories, images and docker labels."""


def _xdg(variable: str, default: str) -> Path:
    return Path(os.environ.get(variable) or Path.home() / default) / PROJECT


CACHE = _xdg("XDG_CACHE_HOME", ".cache")
STATE = _xdg("XDG_STATE_HOME", ".local/state") / "testbed"
LOGS = STATE / "logs"
STORAGE = STATE / "storage"
"""Directories that stand for Depot, /work, CVMFS and EOS."""
SECRETS = STATE / "secrets"
"""Keys, tokens and passwords of the running testbed; mode 0700."""
KUBECONFIG = STATE / "kubeconfig"
SITE = ROOT / "sites" / "testbed.yaml"
