"""Settings of every unit test."""

from hypothesis import settings

# A loaded machine is no finding.
settings.register_profile("patient", deadline=None)
settings.load_profile("patient")
