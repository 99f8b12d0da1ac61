"""The controller of the Kubernetes gateway: it creates the pods and routes of DaskClusters, and ends clusters."""
