"""HTML from values: everything that is not :class:`Html` already is escaped on its way in."""

from __future__ import annotations

import re
from collections.abc import Iterable
from html import escape
from typing import Final, TypeAlias
from urllib.parse import quote

TEXT_CHARS_MAX: Final = 4_000
"""Longer text of a turn is cut, and the page says by how much."""


class Html(str):
    """Markup that is safe to put into a page as it is."""

    __slots__ = ()


Child: TypeAlias = "str | int | Iterable[Child] | None"
Attribute = str | int | bool | None

_VOID: Final = frozenset({"meta", "br", "input", "col"})
# HTML has no place for these, written out or as references.
_NO_CHARACTER: Final = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")
_KEPT_IN_ANCHORS: Final = "@~:-._"


def el(tag: str, *children: Child, **attributes: Attribute) -> Html:
    """An element; text among the children is escaped.

    An attribute is named as in HTML with ``_`` for ``-``, and ``cls`` for ``class``; None and
    False leave it out, True writes its name alone.
    """
    written = "".join(_attribute(name, value) for name, value in attributes.items())
    if tag in _VOID:
        return Html(f"<{tag}{written}>")
    return Html(f"<{tag}{written}>{join(children)}</{tag}>")


def join(children: Iterable[Child]) -> Html:
    """Children one after the other, text escaped."""
    return Html("".join(_written(child) for child in children))


def scrolling(table: Html, name: str) -> Html:
    """A table that scrolls sideways where it does not fit, with the keyboard too."""
    return el("div", table, cls="scroll", role="region", aria_label=name, tabindex=0)


def clean(text: str) -> str:
    """Text that a page can hold: what is no character there stands as a replacement character."""
    return _NO_CHARACTER.sub("\ufffd", text)


def cut(text: str, chars_max: int = TEXT_CHARS_MAX) -> tuple[str, int]:
    """The beginning of a text, and how many characters were left off."""
    return (text, 0) if len(text) <= chars_max else (text[:chars_max], len(text) - chars_max)


def left_off(chars: int) -> Html | None:
    """The note that stands where text was cut."""
    return el("span", f"… {chars:,} more characters", cls="cut") if chars else None


def anchor(name: str) -> str:
    """An id for a part of the page and, after ``#``, a link to it."""
    return quote(clean(name), safe=_KEPT_IN_ANCHORS)


def link(name: str, *children: Child, cls: str | None = None) -> Html:
    """A link to the part of the page that has the anchor of ``name``."""
    return el("a", *(children or (name,)), href=f"#{anchor(name)}", cls=cls)


def _written(child: Child) -> str:
    match child:
        case None:
            return ""
        case Html():
            return child
        case str() | int():
            return escape(clean(str(child)), quote=False)
    return join(child)


def _attribute(name: str, value: Attribute) -> str:
    if value is None or value is False:
        return ""
    name = "class" if name == "cls" else name.rstrip("_").replace("_", "-")
    return f" {name}" if value is True else f' {name}="{escape(clean(str(value)))}"'
