"""Marks for tests that concern one back end only; most test modules of the suite use them.

A parametrization of ``backend`` needs ``scope="session"``: with another scope pytest would make every fixture that
depends on ``backend`` anew for each test.
"""

import pytest

from gateway.site import Backend


def _only(backend: Backend) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("backend", [backend], indirect=True, ids=str, scope="session")


on_kubernetes = _only(Backend.KUBERNETES)
on_slurm = _only(Backend.SLURM)
