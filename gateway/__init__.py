"""Run the Dask Gateway service of the Purdue Analysis Facility: the code inside both gateways and their clusters."""
