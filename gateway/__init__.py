"""The Dask Gateway service of the Purdue Analysis Facility: code that runs inside both gateways and their clusters."""
