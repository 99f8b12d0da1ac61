"""How server and launcher run the commands of SLURM.

Each call of the launcher imports it, so it imports nothing.
"""

SLURM_ENVIRONMENT = {"PATH": "/usr/local/bin:/usr/bin:/bin"}
"""All environment variables of sbatch, scancel, squeue and sacct, and so all that SLURM's accounting can store."""
SLURM_SECONDS = 60
"""Timeout of one command."""
JOB_NAME = "dask-gateway"
"""Name of all jobs of the gateway."""
