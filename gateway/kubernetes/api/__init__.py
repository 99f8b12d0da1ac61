"""The API server of the Kubernetes gateway: it reads and writes DaskClusters, and creates no pods."""
