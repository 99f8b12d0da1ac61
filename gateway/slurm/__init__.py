"""The gateway on SLURM: the server's modules, and the launcher, which sudo starts as a user."""
