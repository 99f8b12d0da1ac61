"""What the processes of both gateways share: requests, metrics, scheduler reports, termination, TLS."""
