"""Declare more processors than this machine has on the Kubernetes node.

Two of a laptop's cores would hold one scheduler and no worker of the user guide's sizes. SLURM's nodes declare their
processors in slurm.conf. The kubelet has no such setting: it takes the number from sysfs (cAdvisor counts one directory
per processor), so the node mounts directories of ours there. The kernel still schedules all processes on the true
processors.
"""

import os
from pathlib import Path

from release import content

COUNT = 64
SYSFS = "/sys/devices/system"


def mounts() -> list[dict[str, object]]:
    """Return kind's ``extraMounts`` that put :data:`COUNT` processors, or more if the machine has more, into a node's
    sysfs."""
    true = sorted(os.sched_getaffinity(0))

    def make(directory: Path) -> None:
        # Without NUMA nodes cAdvisor counts the processors themselves.
        (directory / "node").mkdir()
        for number in {*range(COUNT), *true}:
            (directory / "cpu" / f"cpu{number}").mkdir(parents=True)
        # The kubelet writes the numbers of the processors with a topology into the pods' cpuset, so only true ones have
        # one.
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
