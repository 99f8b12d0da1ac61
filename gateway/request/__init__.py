"""Check a request for a cluster without I/O: options, environment, variables, storage, quota. Both back ends use it."""
