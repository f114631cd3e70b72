"""The site of `make docs`: strict, whole, and content with what it brings."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from importlib import import_module
from pathlib import Path

import pytest

from tests.house.tree import ROOT, files_under
from tests.support.browser import browser
from tools.site import reference
from tools.site.hooks import modules, page_of

LOADED = {
    ("script", "src"), ("img", "src"), ("source", "srcset"), ("iframe", "src"), ("link", "href"),
    ("audio", "src"), ("video", "src"), ("embed", "src"), ("object", "data"), ("form", "action"),
}  # fmt: skip
ELSEWHERE = re.compile(r"^(?:[a-z]+:)?//")
IN_STYLES = re.compile(r"(?:url\(|@import)\s*[\"']?((?:[a-z]+:)?//[^)\"']*)")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built from the tree; what is only warned of stops it."""
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "--quiet", "build", "--site-dir", str(folder)],
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


class Page(HTMLParser):
    """What a page loads, and its anchors."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.loads: list[str] = []
        self.anchors: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if (tag, name) in LOADED and value:
                self.loads.append(value)
            if name == "id" and value:
                self.anchors.add(value)


def asked_elsewhere(text: str) -> list[str]:
    """What a page would load from another host."""
    return [one for one in Page(text).loads if ELSEWHERE.match(one)] + IN_STYLES.findall(text)


def test_every_page_is_there(site: Path) -> None:
    """Each file of the documentation is a page at its place, and so is each public module."""
    pages = [path.relative_to(ROOT) for path in files_under(ROOT / "docs", suffix=".md")]
    pages += map(Path, ("CHANGELOG.md", "CONTRIBUTING.md", *map(page_of, modules())))
    assert [page for page in pages if not (site / page.with_suffix(".html")).is_file()] == []
    assert len(pages) > 100


def test_no_page_asks_another_host(site: Path) -> None:
    """Neither a script, a style, a font nor a picture is loaded from elsewhere."""
    found = {
        path.name: asked
        for path in site.rglob("*")
        if path.suffix in (".html", ".css") and (asked := asked_elsewhere(path.read_text()))
    }
    assert found == {}


@pytest.mark.parametrize(
    "text",
    [
        '<script src="https://example.org/x.js"></script>',
        '<link rel="preconnect" href="//fonts.example.org">',
        "<style>@import 'https://example.org/x.css'</style>",
        "<style>body { background: url(https://example.org/x.png) }</style>",
    ],
)
def test_what_would_be_loaded_is_seen(text: str) -> None:
    """And a link that a reader may follow is not."""
    assert asked_elsewhere(text) != []
    assert asked_elsewhere('<a href="https://example.org">there</a>') == []


def test_every_public_name_has_an_entry(site: Path) -> None:
    """On the page of its module, with an anchor to it."""
    for module in modules():
        found = Page((site / page_of(module)).with_suffix(".html").read_text()).anchors
        wanted = import_module(module).__all__
        missing = [
            name
            for name in wanted
            if name.lower() not in found and name not in ("commands", "events")
        ]
        assert missing == []


def test_a_name_that_says_nothing_stops_the_build() -> None:
    """A public name is documented or the site is not built."""

    class Silent:
        pass

    with pytest.raises(reference.Undocumented, match=r"x\.Silent"):
        list(reference.entry("x", "Silent", Silent))


def test_it_is_searched_without_a_server(site: Path) -> None:
    """A page opened from its file finds words of others, and asks nothing but files."""
    with browser() as tab:
        tab.go((site / "docs" / "index.html").as_uri())
        tab.value("document.querySelector('.md-search__input').focus()")
        for letter in "escrow":
            tab.press(letter)
        tab.until("document.querySelectorAll('.md-search-result__item a').length > 0")
        found = tab.value("document.querySelector('.md-search-result__item a').href")
        assert found.startswith("file:")
        assert [url for url in tab.asked if not url.startswith(("file:", "data:", "about:"))] == []
