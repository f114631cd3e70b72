"""The pages hold together: links lead somewhere, nothing is lost, named tests exist."""

import re
from pathlib import Path

import pytest

from tests.house.tree import ROOT, SRC, files_under, shown

DOCS = ROOT / "docs"
PAGES = files_under(ROOT, suffix=".md")
_FENCED = re.compile(r"^( *)```.*?^\1```", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")


def links_of(page: Path) -> list[str]:
    """The targets of a page's links, outside of code."""
    return _LINK.findall(_FENCED.sub("", page.read_text()))


def anchors_of(page: Path) -> set[str]:
    """The anchors that a page's headings make, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", _FENCED.sub("", page.read_text()), re.MULTILINE)
    kept = (re.sub(r"[^\w\- ]", "", heading.lower()) for heading in headings)
    return {heading.replace(" ", "-") for heading in kept}


def broken(page: Path) -> list[str]:
    """The links of a page that lead nowhere within the project."""
    found = []
    for link in links_of(page):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        if not target.exists() or (anchor and anchor not in anchors_of(target)):
            found.append(link)
    return found


@pytest.mark.parametrize("page", PAGES, ids=shown)
def test_every_link_leads_somewhere(page: Path) -> None:
    """A link to a file or a heading of the project finds it."""
    assert broken(page) == []


def test_a_broken_link_is_found(tmp_path: Path) -> None:
    """A missing file and a missing heading are both reported; code is not looked into."""
    page = tmp_path / "page.md"
    page.write_text(
        "# One `two`\n[a](#one-two) [b](page.md#three) [c](gone.md) [d](https://example.org)\n"
        "```python\nx[0](gone)\n```\n"
    )
    assert broken(page) == ["page.md#three", "gone.md"]


def test_the_map_leads_to_every_page() -> None:
    """From docs/index.md every page of the documentation is one step away."""
    index = DOCS / "index.md"
    linked = {(DOCS / link.partition("#")[0]).resolve() for link in links_of(index)}
    pages = {page.resolve() for page in files_under(DOCS, suffix=".md")} - {index.resolve()}
    assert sorted(map(str, pages - linked)) == []


def test_every_test_that_a_promise_names_exists() -> None:
    """The page of promises names tests that are there."""
    page = DOCS / "explanation" / "promises.md"
    named = set(re.findall(r"`(test_\w+)`", page.read_text()))
    sources = [*files_under(ROOT / "tests", suffix=".py"), *files_under(SRC / "testing")]
    defined = {
        name
        for path in sources
        if path.suffix == ".py"
        for name in re.findall(r"^ *(?:async )?def (test_\w+)", path.read_text(), re.MULTILINE)
    }
    assert len(named) > 40
    assert sorted(named - defined) == []
