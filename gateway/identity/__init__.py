"""Identity: which account a JupyterHub name has. Used by both gateways' API servers."""
