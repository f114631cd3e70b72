"""One server for the tests of a file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

import refold
from tests.server.serving import served


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[refold.Store]:
    """A store in a file."""
    folder: Path = tmp_path_factory.mktemp("served")
    with refold.open(folder / "served.db") as opened:
        yield opened


@pytest.fixture(scope="module")
def client(store: refold.Store) -> Iterator[httpx2.Client]:
    """A client of that store, which everybody may do everything with."""
    with served(store) as connected:
        yield connected
