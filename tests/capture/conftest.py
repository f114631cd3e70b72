"""What the tests of capture share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.capture.model_server import ModelServer, serving


@pytest.fixture
def server() -> Iterator[ModelServer]:
    """A scripted model server."""
    with serving() as made:
        yield made
