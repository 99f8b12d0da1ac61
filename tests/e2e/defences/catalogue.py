"""All defences whose tests ``make breaks`` proves, in the order of the red team's list."""

from tests.e2e.defences.on_kubernetes import ON_KUBERNETES
from tests.e2e.defences.on_slurm import ON_SLURM

DEFENCES = sorted((*ON_SLURM, *ON_KUBERNETES), key=lambda defence: (defence.finding == "R10", defence.finding))
"""R10 follows R9."""
