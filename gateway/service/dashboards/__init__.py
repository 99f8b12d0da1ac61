"""Open a cluster's dashboard to the cluster's owner, who logs in at JupyterHub. Traefik asks before each request."""
