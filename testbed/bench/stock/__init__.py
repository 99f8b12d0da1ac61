"""Stock dask-gateway beside ours, on the same testbed, while the bench runs."""

import requests


def answers(address: str) -> bool:
    """Return whether the API at an address answers."""
    try:
        return requests.get(f"{address}/api/version", timeout=5).ok
    except requests.RequestException:
        return False
