"""Before a process is forked: what other tests left is gone."""

from __future__ import annotations

import gc

import pytest


@pytest.fixture(autouse=True)
def rid_of_what_the_last_test_left() -> None:
    """A store that nobody holds any more may have been left in the midst of a transaction.

    Of that a child cannot be rid, and says so of its own log.
    """
    gc.collect()
