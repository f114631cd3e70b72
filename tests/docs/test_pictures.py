"""The pictures in the documentation show what is shown today."""

from __future__ import annotations

from tests.house.tree import ROOT
from tools.screenshot import pictured


def test_the_pictures_of_the_pages_are_current() -> None:
    """Templates and styles are those they were made from; else `python tools/screenshot.py`."""
    made_from = (ROOT / "docs" / "images" / "ui.sha256").read_text().strip()
    assert made_from == pictured(), "run .venv/bin/python tools/screenshot.py docs/images"
