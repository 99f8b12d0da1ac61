"""Stock dask-gateway beside ours, on the same testbed, for as long as the bench runs."""
