"""A report as a strict reader sees it: elements that nest, ids, links, text."""

from __future__ import annotations

from dataclasses import dataclass, field
from html.parser import HTMLParser

VOID = {"meta", "br", "input", "col", "link"}
RAW = {"style", "script"}


@dataclass
class Element:
    """An element: its attributes, its parent, and all text inside it."""

    tag: str
    attributes: dict[str, str]
    parent: Element | None
    parts: list[str] = field(default_factory=list)

    @property
    def text(self) -> str:
        """The text inside, without that of scripts and styles."""
        return "".join(self.parts)

    @property
    def classes(self) -> set[str]:
        """The names in ``class``."""
        return set(self.attributes.get("class", "").split())

    def is_in(self, other: Element) -> bool:
        """Whether this stands somewhere inside another element."""
        above = self.parent
        while above is not None and above is not other:
            above = above.parent
        return above is not None


class Page(HTMLParser):
    """A parsed page; raises ``ValueError`` where elements do not nest."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[Element] = []
        self._open: list[Element] = []
        self.feed(text)
        self.close()
        if self._open:
            raise ValueError(f"<{self._open[-1].tag}> is never closed")

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        names = [name for name, _ in attrs]
        if len(set(names)) < len(names):
            raise ValueError(f"<{tag}> says {names} twice")
        parent = self._open[-1] if self._open else None
        element = Element(tag, {name: value or "" for name, value in attrs}, parent)
        self.elements.append(element)
        if tag not in VOID:
            self._open.append(element)

    def handle_endtag(self, tag: str) -> None:
        if not self._open or self._open[-1].tag != tag:
            raise ValueError(f"</{tag}> closes {self._open[-1:]}")
        self._open.pop()

    def handle_data(self, data: str) -> None:
        if not self._open or self._open[-1].tag not in RAW:
            for element in self._open:
                element.parts.append(data)

    @property
    def text(self) -> str:
        """All text of the page."""
        return self.elements[0].text

    @property
    def ids(self) -> list[str]:
        """Every id, in order."""
        return [e.attributes["id"] for e in self.elements if "id" in e.attributes]

    @property
    def links(self) -> list[str]:
        """Where every link leads."""
        return [e.attributes["href"] for e in self.elements if "href" in e.attributes]

    def by_id(self, name: str) -> Element:
        """The element of an id."""
        (found,) = (e for e in self.elements if e.attributes.get("id") == name)
        return found

    def all(self, tag: str, cls: str | None = None) -> list[Element]:
        """The elements of a tag, and of a class where one is given."""
        return [e for e in self.elements if e.tag == tag and (cls is None or cls in e.classes)]

    def inside(self, outer: Element, tag: str) -> list[Element]:
        """The elements of a tag inside another element."""
        return [e for e in self.all(tag) if e.is_in(outer)]
