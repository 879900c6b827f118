"""For all tests."""

import os
import sys

import pytest
from hypothesis import settings

# a busy machine must not fail a test
settings.register_profile("no deadline", deadline=None)
settings.load_profile("no deadline")

_STATUS = pytest.StashKey[int]()


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    session.config.stash[_STATUS] = int(exitstatus)


@pytest.hookimpl(trylast=True)
def pytest_unconfigure(config: pytest.Config) -> None:
    """End at once where Tango was used: omniORB may abort the process after all is said."""
    if "tango" in sys.modules and not hasattr(config, "workerinput"):
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(config.stash.get(_STATUS, 1))
