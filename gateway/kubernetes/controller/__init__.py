"""The controller of the Kubernetes gateway: it makes pods and routes from DaskClusters, and ends them."""
