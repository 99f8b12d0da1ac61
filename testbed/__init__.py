"""The developers' testbed: both back ends, real, on one machine."""
