"""The routes of the SLURM gateway's proxy, Traefik: what they are, and the file from which Traefik reads them."""
