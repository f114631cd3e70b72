"""What the tests of proof share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.audit.others import Judge, judging


@pytest.fixture(scope="session")
def judge() -> Iterator[Judge]:
    """Programs by others, to be asked."""
    with judging() as made:
        yield made
