import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway import site
from gateway.as_user import preflight

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def testbed_site() -> site.Site:
    return site.load(ROOT / "sites" / "testbed.yaml")


@pytest.fixture(scope="session")
def geddes_site() -> site.Site:
    return site.load(ROOT / "sites" / "geddes.yaml")


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


@pytest.fixture
def shared_programs(shared_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the launcher copy its programs from a directory that every account may read, which a clone may not be."""
    directory = shared_path / "as_user"
    directory.mkdir()
    for source in (ROOT / "gateway" / "as_user").glob("*.py"):
        (directory / source.name).write_bytes(source.read_bytes())
    monkeypatch.setattr(preflight, "__file__", str(directory / "preflight.py"))
