from pathlib import Path

import pytest

from gateway import site

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def testbed_site() -> site.Site:
    return site.load(ROOT / "sites" / "testbed.yaml")


@pytest.fixture(scope="session")
def geddes_site() -> site.Site:
    return site.load(ROOT / "sites" / "geddes.yaml")
