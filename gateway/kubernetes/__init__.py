"""The gateway on Kubernetes."""
