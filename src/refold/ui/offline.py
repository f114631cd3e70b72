"""A page as a file: links lead to other files, and what needs a server is taken off it."""

from __future__ import annotations

from collections.abc import Callable
from html import escape
from html.parser import HTMLParser
from typing import Final

from refold.ui.guard import ALLOWED

Link = Callable[[str, str], str | None]
"""Given where a link leads and its ``rel``: the file in its place, or None where there is none."""
_CONTROLS: Final = frozenset({"button", "datalist", "label", "select", "textarea"})
"""What a form shows that asks a server; all that is in them goes too."""
_VOID: Final = frozenset({"input", "meta", "link"})
_OF_SERVER: Final = ("htmx.min.js", "live.js")
"""Scripts that ask a server."""
_OF_ANSWERS: Final = ("frame-ancestors", "form-action", "connect-src")
"""What a page cannot say of itself, or does not need without a server."""
POLICY: Final = "; ".join(
    one for one in ALLOWED["content-security-policy"].split("; ") if not one.startswith(_OF_ANSWERS)
)
FILTER: Final = (
    '<p class="search" id="filter" hidden><label for="q">Filter this page</label>'
    '<input id="q" type="search" autocomplete="off" spellcheck="false"></p>'
)
"""What stands in the place of the search box of the list; a script shows it and does it."""
NOTE: Final = (
    '<p class="quiet">A copy of these pages, to be read without a server: a conversation stands '
    "here after its last event, and searches, other moments and what is going on are not here: "
    "<code>refold ui</code> shows them.</p>\n"
)


def offline(page: str, link: Link, *, root: str, has_filter: bool) -> str:
    """The text of a page's file; ``root`` leads from its folder to that of the whole."""
    made = _Offline(link, root, has_filter)
    made.feed(page)
    made.close()
    return "".join(made.written)


class _Offline(HTMLParser):
    """Writes a page again, but for what changes."""

    def __init__(self, link: Link, root: str, has_filter: bool) -> None:
        super().__init__(convert_charrefs=False)
        self.written: list[str] = []
        self._link, self._root, self._has_filter = link, root, has_filter
        self._skipped: list[str] = []
        self._forms: list[bool] = []
        """Whether each form that is open is kept: one that closes a dialog asks no server."""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Write the tag again, or leave it out."""
        given = {name: value or "" for name, value in attrs}
        if self._skipped:
            self._skipped += [tag] * (tag == self._skipped[0])
        elif tag == "form":
            self._begin_form(given)
        elif self._is_left_out(tag, given):
            self._skipped += [tag] * (tag not in _VOID)
        else:
            self._write(tag, given)

    def handle_startendtag(self, _tag: str, _attrs: list[tuple[str, str | None]]) -> None:
        """One that ends at once, of what is drawn."""
        self._keep(self.get_starttag_text() or "")

    def handle_endtag(self, tag: str) -> None:
        """Write the end of what was written."""
        if self._skipped:
            self._skipped = self._skipped[: -1 if tag == self._skipped[0] else None]
        elif tag != "form" or self._forms.pop():
            self.written.append(f"{NOTE if tag == 'main' else ''}</{tag}>")

    def handle_data(self, data: str) -> None:
        """Text, as it stands."""
        self._keep(data)

    def handle_entityref(self, name: str) -> None:
        """A character by its name."""
        self._keep(f"&{name};")

    def handle_charref(self, name: str) -> None:
        """A character by its number."""
        self._keep(f"&#{name};")

    def handle_decl(self, decl: str) -> None:
        """The kind of document."""
        self._keep(f"<!{decl}>")

    def _keep(self, text: str) -> None:
        if not self._skipped:
            self.written.append(text)

    def _begin_form(self, given: dict[str, str]) -> None:
        self._forms.append(given.get("method") == "dialog")
        if self._forms[-1]:
            self._keep(self.get_starttag_text() or "")
        elif self._has_filter and given.get("class") == "search":
            self._keep(FILTER)

    def _is_left_out(self, tag: str, given: dict[str, str]) -> bool:
        if tag == "script":
            return given.get("src", "").endswith(_OF_SERVER)
        if tag == "meta":
            return given.get("name") == "htmx-config"
        asks = bool(self._forms) and not self._forms[-1]
        return asks and (tag == "input" or tag in _CONTROLS)

    def _write(self, tag: str, given: dict[str, str]) -> None:
        kept = {name: value for name, value in given.items() if not name.startswith("hx-")}
        for name in ("href", "src"):
            if name in kept:
                to = self._link(kept.pop(name), given.get("rel", ""))
                kept |= {"title": "not in this copy"} if to is None else {name: to}
        said = "".join(f' {name}="{escape(value)}"' for name, value in kept.items())
        if tag == "script" and given.get("src", "").endswith("ui.js"):
            self._keep(f'<script src="{self._root}static/export.js" defer></script>\n')
        self._keep(self.get_starttag_text() or "" if kept == given else f"<{tag}{said}>")
        if tag == "meta" and "charset" in given:
            self._keep(f'\n<meta http-equiv="content-security-policy" content="{POLICY}">')
