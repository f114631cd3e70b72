"""A log to import into, on each backend."""

from collections.abc import Iterator
from pathlib import Path

import pytest

import refold


@pytest.fixture(params=["memory", "sqlite"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[refold.Store]:
    """An empty log; a real file where it is SQLite's."""
    url = "memory:" if request.param == "memory" else tmp_path / "log.db"
    with refold.open(url) as opened:
        yield opened
