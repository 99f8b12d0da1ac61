import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway import site
from gateway.service.dashboards import guard

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def testbed_site() -> site.Site:
    return site.load(ROOT / "sites" / "testbed.yaml")


@pytest.fixture(scope="session")
def geddes_site() -> site.Site:
    return site.load(ROOT / "sites" / "geddes.yaml")


@pytest.fixture(autouse=True)
def _key_of_dashboards(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give a gateway the key of its dashboards' secrets, without its token of the hub."""
    monkeypatch.setattr(guard, "_key", lambda: b"key")


@pytest.fixture
def shared_path() -> Iterator[Path]:
    """A directory in which every account may read and write; pytest's own directories are the test user's alone."""
    umask = os.umask(0o022)
    try:
        with tempfile.TemporaryDirectory() as name:
            path = Path(name).resolve()
            path.chmod(0o777)
            yield path
    finally:
        os.umask(umask)
