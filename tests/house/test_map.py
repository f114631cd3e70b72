"""The map of the documentation leads to every page of it."""

from __future__ import annotations

from pathlib import Path

DOCS = Path(__file__).parents[2] / "docs"


def test_the_map_leads_to_every_page() -> None:
    """What is not linked there is found by nobody."""
    shown = (DOCS / "index.md").read_text()
    pages = [str(page.relative_to(DOCS)) for page in DOCS.rglob("*.md") if page.name != "index.md"]
    assert [page for page in sorted(pages) if f"({page}" not in shown] == []
