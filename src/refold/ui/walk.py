"""All pages that can be come to from the first, asked of the application itself."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import AsyncIterator, Collection
from functools import partial
from hashlib import sha256
from typing import Any, Final, NamedTuple
from urllib.parse import parse_qs, quote, unquote, urljoin, urlsplit

from starlette.applications import Starlette

from refold.errors import Unavailable
from refold.ui.offline import offline

HOST: Final = "localhost"
FIRST: Final = "/"
INDEX: Final = "index.html"
PAGES_MAX: Final = 200_000
"""More pages are not followed, and counted as left out."""
SERVED: Final = frozenset({"live", "write"})
"""The first part of addresses that only a server can answer."""
PAGING: Final = frozenset({"prev", "next"})
"""What a link's ``rel`` says that leads along a list, or a long conversation."""
BUSY: Final = 503
_SLUG_MAX: Final = 48


class Written(NamedTuple):
    """A page as a file, by its name in the folder."""

    file: str
    text: str


class Walk:
    """Goes from page to page, each once.

    ``left_out`` are addresses that pages lead to and that are no files, by what they are;
    ``assets`` what pages load.
    """

    def __init__(self, app: Starlette, *, without: Collection[str] = ()) -> None:
        self._app, self._without = app, SERVED | {*without}
        self._files: dict[str, str] = {FIRST: INDEX}
        self._waiting = deque([FIRST])
        self.left_out: dict[str, set[str]] = {}
        self.assets: set[str] = set()

    @property
    def found(self) -> int:
        """How many pages are known of so far."""
        return len(self._files)

    async def pages(self) -> AsyncIterator[Written]:
        """The pages, the first first."""
        while self._waiting:
            address = self._waiting.popleft()
            file = self._files[address]
            root = "../" if "/" in file else ""
            page = await _asked(self._app, address)
            has_filter = urlsplit(address).path == FIRST
            link = partial(self._link, address, root)
            yield Written(file, offline(page, link, root=root, has_filter=has_filter))

    def _link(self, at: str, root: str, href: str, rel: str) -> str | None:
        """The file that a link on a page leads to; None where it is not among these."""
        if href.startswith("#"):
            return href
        to = urlsplit(urljoin(f"http://{HOST}{at}", href))
        if to.netloc != HOST:
            return None
        if to.path.startswith("/static/"):
            name = to.path.removeprefix("/static/")
            self.assets.add(name)
            return f"{root}static/{name}"
        asked, query, fragment = parse_qs(to.query), to.query, to.fragment
        first = to.path.strip("/").partition("/")[0]
        if first in self._without:
            self._left(first, to.path)
            return None
        if "q" in asked:
            self._left("searches", query)
            return None
        if first == "conversations" and "at" in asked and rel not in PAGING:
            self._left("moments", f"{to.path}?{query}")
            query, fragment = "", f"v{asked['at'][0]}"
        file = self._file(quote(unquote(to.path)) + (f"?{query}" if query else ""))
        return None if file is None else f"{root}{file}" + (f"#{fragment}" if fragment else "")

    def _left(self, kind: str, address: str) -> None:
        self.left_out.setdefault(kind, set()).add(address)

    def _file(self, address: str) -> str | None:
        """The name of a page's file; the page is come to later."""
        if address not in self._files:
            if len(self._files) >= PAGES_MAX:
                self._left("pages", address)
                return None
            self._files[address] = file_of(address)
            self._waiting.append(address)
        return self._files[address]


def file_of(address: str) -> str:
    """A name that every file system takes, the same for an address each time."""
    first, _, rest = unquote(address).strip("/").partition("/")
    folder = _slug(first.partition("?")[0]) or "list"
    about = _slug(rest or first.partition("?")[2]) or "index"
    return f"{folder}/{about}-{sha256(address.encode()).hexdigest()[:16]}.html"


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower())[:_SLUG_MAX].strip("-")


async def _asked(app: Starlette, address: str) -> str:
    """The page at an address; one that is not there, or cannot be made, says so itself."""
    to = urlsplit(address)
    scope: dict[str, Any] = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": unquote(to.path),
        "raw_path": to.path.encode(),
        "query_string": to.query.encode(),
        "root_path": "",
        "headers": [(b"host", HOST.encode())],
        "server": (HOST, 80),
        "client": None,
    }
    told: list[Any] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        told.append(message)

    await app(scope, receive, send)
    headers = dict(told[0]["headers"])
    status = told[0]["status"]
    if status == BUSY or not headers.get(b"content-type", b"").startswith(b"text/html"):
        raise Unavailable(f"{address} answered {status}: nothing was written, start again")
    return b"".join(one.get("body", b"") for one in told[1:]).decode()
