"""Do what both gateways' processes have in common: start clusters, serve metrics, receive scheduler reports."""
