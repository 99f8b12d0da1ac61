"""Decide which user sends a request, and which account that user has. Used by the API servers of both gateways."""
