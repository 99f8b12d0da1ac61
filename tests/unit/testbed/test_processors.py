"""Test the processors that the Kubernetes node finds, as cAdvisor reads them."""

import os
from pathlib import Path

import pytest

from release import content
from testbed import processors


def test_node_finds_that_many_processors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(content, "CACHE", tmp_path)
    places = {mount["containerPath"]: Path(str(mount["hostPath"])) for mount in processors.mounts()}
    assert not list(places["/sys/devices/system/node"].iterdir())
    directories = list(places["/sys/devices/system/cpu"].glob("cpu*[0-9]"))
    assert len(directories) == max(processors.COUNT, os.cpu_count() or 0)
    true = {int(path.name.removeprefix("cpu")) for path in directories if (path / "topology" / "core_id").is_file()}
    assert true == os.sched_getaffinity(0)
