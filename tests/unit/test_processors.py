"""The processors that the Kubernetes node finds, as cAdvisor reads them."""

from pathlib import Path

import pytest

from testbed import content, processors


def test_node_finds_that_many_processors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(content, "CACHE", tmp_path)
    places = {mount["containerPath"]: Path(str(mount["hostPath"])) for mount in processors.mounts()}
    assert not list(places["/sys/devices/system/node"].iterdir())
    cores = [
        (path / "topology" / "core_id").read_text() for path in places["/sys/devices/system/cpu"].glob("cpu*[0-9]")
    ]
    assert len(set(cores)) == processors.COUNT
