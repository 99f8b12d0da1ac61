"""More processors than this machine has, for the Kubernetes node to give away.

Two of a laptop's cores would hold one scheduler and no worker of the user guide's sizes. Like SLURM's nodes, which
declare theirs in slurm.conf, the Kubernetes node has a number of its own. The kubelet takes it from sysfs (cAdvisor:
one directory per processor) and has no setting for it, so it finds directories of ours there. What really runs is
scheduled by the kernel, which shares the true processors.
"""

import os
from pathlib import Path

from release import content

COUNT = 64
SYSFS = "/sys/devices/system"


def mounts() -> list[dict[str, object]]:
    """kind's ``extraMounts`` that put :data:`COUNT` processors, or as many as there are, into a node's sysfs."""
    true = sorted(os.sched_getaffinity(0))

    def make(directory: Path) -> None:
        # Without NUMA nodes cAdvisor counts the processors themselves.
        (directory / "node").mkdir()
        for number in {*range(COUNT), *true}:
            (directory / "cpu" / f"cpu{number}").mkdir(parents=True)
        # The kubelet writes the numbers of those that have a topology into the pods' cpuset: only true ones.
        for number in true:
            topology = directory / "cpu" / f"cpu{number}" / "topology"
            topology.mkdir()
            (topology / "core_id").write_text(f"{number}\n")
            (topology / "physical_package_id").write_text("0\n")

    directory = content.cached("processors", content.digest(Path(__file__), repr(true)), make)
    return [
        {"hostPath": str(directory / name), "containerPath": f"{SYSFS}/{name}", "readOnly": True}
        for name in ("cpu", "node")
    ]
