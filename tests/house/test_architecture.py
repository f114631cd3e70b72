"""ARCHITECTURE.md is two pages and names what there is."""

import re

from tests.house.tree import ROOT, SRC

PAGE = ROOT / "ARCHITECTURE.md"
WORDS_MAX = 2_000
"""Two pages, closely printed."""


def rows() -> list[tuple[list[str], list[str]]]:
    """The packages of each row of "What is where", and what it names in them."""
    found = re.findall(r"^\| (`.*?) \| (.*) \|$", PAGE.read_text(), re.MULTILINE)
    return [(_names(packages), _names(text)) for packages, text in found]


def _names(text: str) -> list[str]:
    return re.findall(r"`(\w+)`", text)


def test_every_package_has_its_row() -> None:
    """Each package and module of `src/refold` that is not the API itself stands in one row."""
    named = [package for packages, _ in rows() for package in packages]
    files = {path.stem for path in SRC.glob("[a-z]*.py")} | {
        path.parent.name for path in SRC.glob("*/__init__.py")
    }
    small = {"schemas", "times"}
    assert sorted(named) == sorted(files - small)


def test_every_module_that_a_row_names_is_there() -> None:
    """A module that was moved or renamed is moved and renamed on the page too."""
    for packages, names in rows():
        there = set(packages)
        for package in packages:
            there |= {path.stem for path in (SRC / package).rglob("*")}
        if packages == ["connect"]:
            there |= {"open", "open_async"}
        assert set(names) - there == set(), packages


def test_the_page_is_two_pages() -> None:
    """What does not fit belongs on a page of its own under docs/explanation."""
    assert len(PAGE.read_text().split()) <= WORDS_MAX
