"""The gateway on Kubernetes: its API server (``api``), its controller (``controller``), and the modules of both."""
