"""``make bench``: time the testbed's own commands, then our gateways beside stock dask-gateway on the same testbed."""
