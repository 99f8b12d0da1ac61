"""Settings of pytest for all tests."""

import hypothesis

# A deadline for each example would measure how busy the machine is.
hypothesis.settings.register_profile("machine-independent", deadline=None)
hypothesis.settings.load_profile("machine-independent")
