"""What every test shares."""

import pytest
from hypothesis import settings

from tests.support.soak import write_figures

# The shipped suites assert too; asked for before anything imports them.
pytest.register_assert_rewrite("refold.testing")

# A busy machine is not a defect: no deadlines.
settings.register_profile("refold", deadline=None)
settings.load_profile("refold")


def pytest_runtest_teardown() -> None:
    """Of a long run, how much was done so far."""
    write_figures()
