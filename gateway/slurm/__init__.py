"""The gateway on SLURM."""
