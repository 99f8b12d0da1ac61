"""The request for a cluster: options, environment, storage and quota, checked without I/O. Used by both back ends."""
