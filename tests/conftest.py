"""For all tests."""

from hypothesis import settings

# a busy machine must not fail a test
settings.register_profile("no deadline", deadline=None)
settings.load_profile("no deadline")
