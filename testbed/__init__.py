"""The developers' testbed: both back ends, with real services, on one machine."""
