"""The gateway on SLURM: the server's modules, and the launcher, which becomes a user."""
