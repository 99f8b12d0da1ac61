"""Settings of pytest for all tests."""

import hypothesis

# A deadline for each example, and the check of how long they take to make, would measure how busy the machine is.
hypothesis.settings.register_profile(
    "machine-independent", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("machine-independent")
