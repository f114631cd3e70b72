"""What is said where an extra is not installed."""

from importlib import metadata
from typing import Any

import pytest

from refold.extras import needs


@pytest.mark.parametrize(
    ("record", "more"),
    [
        (None, ""),
        ("{}", ""),
        ("no JSON", ""),
        ('{"url": "https://example.org/refold.whl"}', ""),
        (
            '{"url": "file:///home/me/my%20refold", "dir_info": {"editable": true}}',
            "; of this refold: pip install '/home/me/my refold[mcp]'",
        ),
    ],
)
def test_an_extra_is_installed_from_where_refold_was(
    monkeypatch: pytest.MonkeyPatch, record: str | None, more: str
) -> None:
    """By its name, and by the path where it was installed from one."""
    monkeypatch.setattr(metadata.Distribution, "read_text", lambda *_: record)
    monkeypatch.setattr(metadata.PathDistribution, "read_text", lambda *_: record)
    assert needs("it needs MCP", "mcp") == f"it needs MCP: pip install 'refold[mcp]'{more}"


def test_a_refold_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """As where its source is only on the path."""

    def missing(name: str) -> Any:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr("refold.extras.distribution", missing)
    assert needs("it needs MCP", "mcp") == "it needs MCP: pip install 'refold[mcp]'"
