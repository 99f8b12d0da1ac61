"""More processors than this machine has, for the Kubernetes node to give away.

Two of a laptop's cores would hold one scheduler and no worker of the user guide's sizes. Like SLURM's nodes, which
declare theirs in slurm.conf, the Kubernetes node has a number of its own. The kubelet takes it from sysfs (cAdvisor:
one directory per processor) and has no setting for it, so it finds directories of ours there. What really runs is
scheduled by the kernel, which shares the true processors.
"""

from pathlib import Path

from testbed import content

COUNT = 64
SYSFS = "/sys/devices/system"


def mounts() -> list[dict[str, object]]:
    """kind's ``extraMounts`` that put :data:`COUNT` processors into a node's sysfs."""
    directory = content.cached("processors", content.digest(Path(__file__)), _make)
    return [
        {"hostPath": str(directory / name), "containerPath": f"{SYSFS}/{name}", "readOnly": True}
        for name in ("cpu", "node")
    ]


def _make(directory: Path) -> None:
    # Without NUMA nodes cAdvisor counts the processors themselves.
    (directory / "node").mkdir()
    for number in range(COUNT):
        topology = directory / "cpu" / f"cpu{number}" / "topology"
        topology.mkdir(parents=True)
        (topology / "core_id").write_text(f"{number}\n")
        (topology / "physical_package_id").write_text("0\n")
