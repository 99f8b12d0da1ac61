"""``make bench``: how long the testbed's own commands take, and ours beside stock dask-gateway on the same testbed."""
