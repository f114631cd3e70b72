"""The pages as a folder: whole, safe, of what was asked for alone, and read without a server."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

import refold
from refold.conversation import UserUtterance
from refold.conversation.events import AgentUtterance
from refold.errors import UsageError
from refold.privacy import CONVERSATION, Privacy, new_keyring
from refold.privacy.redaction import redact
from refold.privacy.removing import Removal
from refold.ui import current
from refold.ui.conversation import EVENTS_A_PAGE
from refold.ui.export import MARK, export
from refold.ui.walk import file_of
from tests.replay.pages import Page
from tests.replay.stories import record
from tests.replay.test_report import HOSTILE
from tests.support.browser import Browser, browser

ODD = ("Ärger/..:-1", "call-<b>&\"'", "CALL-1", "con-1", "x" * 200, "a?b#c%2e")
LONG = EVENTS_A_PAGE + 5


@pytest.fixture(scope="module")
def store() -> Iterator[refold.Store]:
    """Conversations with names of all kinds, a branch, and one that has earlier events."""
    with refold.open("memory:") as made:
        for name in ("call-1", *ODD):
            record(made, name)
        branch = made.branch("call-1", at=3).adding(AgentUtterance(text="No.", message_id="b1"))
        made.save_branch(branch, "call-1~other")
        made.append("long-1", [UserUtterance(text=f"word {n}") for n in range(LONG)])
        made.append("other-1", [UserUtterance(text=f"canary {one}") for one in HOSTILE])
        yield made


@pytest.fixture(scope="module")
def whole(store: refold.Store, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("export") / "pages"
    export(store, folder)
    return folder


@pytest.fixture(scope="module")
def parsed(whole: Path) -> dict[str, Page]:
    """The pages of all that is there, parsed once."""
    return pages(whole)


def files(folder: Path) -> dict[str, bytes]:
    """What a folder holds, by name."""
    found = (one for one in folder.rglob("*") if one.is_file())
    return {one.relative_to(folder).as_posix(): one.read_bytes() for one in found}


def pages(folder: Path) -> dict[str, Page]:
    """The pages of a folder, parsed strictly."""
    return {n: Page(text.decode()) for n, text in files(folder).items() if n.endswith(".html")}


def test_every_link_leads_to_a_file_of_the_folder(whole: Path, parsed: dict[str, Page]) -> None:
    """By a relative address, and to a place that is there; all files are led to."""
    reached = {"index.html", MARK}
    for name, page in parsed.items():
        loaded = [e.attributes["src"] for e in page.elements if "src" in e.attributes]
        for link in [*page.links, *loaded]:
            to = urlsplit(link)
            assert not to.scheme and not to.netloc and not to.query, (name, link)
            path = (whole / name).parent / unquote(to.path) if to.path else whole / name
            there = path.resolve().relative_to(whole.resolve()).as_posix()
            assert (whole / there).is_file(), (name, link)
            reached.add(there)
    assert reached == files(whole).keys()
    assert len(parsed) > LONG


def test_all_that_was_said_is_in_it(parsed: dict[str, Page]) -> None:
    """Of every conversation, with the events that are on no first page."""
    said = "".join(page.text for page in parsed.values())
    assert all(f"word {number}" in said for number in range(LONG))
    listed = {e.text for e in parsed["index.html"].all("a", "open")}
    assert listed == {"call-1", "call-1~other", "long-1", "other-1", *ODD}


def test_nothing_of_it_needs_a_server_or_may_run(parsed: dict[str, Page]) -> None:
    """No form but one that closes a dialog, no htmx, and a policy that lets only its files load."""
    for page in parsed.values():
        assert [e.attributes["method"] for e in page.all("form")] == ["dialog"]
        assert not [n for e in page.elements for n in e.attributes if n.startswith(("hx-", "on"))]
        assert not {"img", "iframe"} & {e.tag for e in page.elements}
        said = [e.attributes for e in page.all("meta")]
        (policy,) = [one["content"] for one in said if "http-equiv" in one]
        assert policy.startswith("default-src 'none'; script-src 'self'")
        loaded = {e.attributes["src"].rsplit("/")[-1] for e in page.all("script")}
        assert {"export.js", "ui.js"} <= loaded
        assert not {"htmx.min.js", "live.js"} & loaded


def test_names_are_safe_and_the_same_each_time(
    store: refold.Store, whole: Path, tmp_path: Path
) -> None:
    """Small letters, digits and dashes, short, told apart where case is not; bytes too."""
    names = [*files(whole)]
    assert len({name.lower() for name in names}) == len(names)
    for name in names:
        assert len(name) < 100
        assert name.isascii()
        assert set(name) <= set("abcdefghijklmnopqrstuvwxyz0123456789-./")
    export(store, tmp_path / "again")
    assert files(tmp_path / "again") == files(whole)


def test_an_address_has_a_file_of_its_own() -> None:
    """Also where only a query or the case of a letter differs."""
    addresses = ["/a", "/a/b", "/a?b", "/A", "/?page=2", "/?page=3", "/conversations/x%2Fy", "/con"]
    assert len({file_of(one).lower() for one in addresses}) == len(addresses)


def test_a_selection_tells_of_nothing_else(store: refold.Store, tmp_path: Path) -> None:
    """Up to the version that is asked, with its branches, and no screen of the whole store."""
    told = export(store, tmp_path / "part", until={"call-1": 4})
    held = b"".join(files(tmp_path / "part").values())
    assert b"canary" not in held
    assert b"word 1" not in held
    listed = {e.text for e in pages(tmp_path / "part")["index.html"].all("a", "open")}
    assert listed == {"call-1", "call-1~other"}
    assert b"Where is booking B1?" in held
    assert b"At gate 4." not in held
    assert "projections" in told.left_out
    assert json.loads((tmp_path / "part" / MARK).read_bytes())["left_out"] == told.left_out


def test_what_was_taken_out_stays_out(tmp_path: Path) -> None:
    """The hole is shown, and the value is in no file."""
    with refold.open("memory:") as made:
        record(made, "call-1")
        made.append("call-1", [UserUtterance(text="My card is 4242.")])
        redact(made, ["call-1@6"], field="text", wanted=Removal("asked"))
        export(made, tmp_path / "pages")
    held = b"".join(files(tmp_path / "pages").values())
    assert b"4242" not in held
    assert b"[redacted]" in held


def test_what_is_withheld_stays_so(tmp_path: Path) -> None:
    """Of the whole, and of a part: an export has no key."""
    protected = Privacy(new_keyring(), CONVERSATION, actor="a")
    with refold.open(tmp_path / "a.db", privacy=protected) as made:
        record(made, "call-1")
        made.append("call-1", [UserUtterance(text="My card is 4242.")])
    with refold.open(tmp_path / "a.db", mode="write") as made:
        for name, until in (("whole", None), ("part", {"call-1": None})):
            export(made, tmp_path / name, until=until)
            held = b"".join(files(tmp_path / name).values())
            assert b"4242" not in held
            assert b"[withheld]" in held


def test_all_is_read_before_it_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A page that would show what there is so far is made when all is."""
    monkeypatch.setattr(current, "AT_ONCE_EVENTS_MAX", 0)
    monkeypatch.setattr(current, "WAIT_S", 0)
    with refold.open("memory:") as made:
        for number in range(300):
            made.append(f"call-{number}", [UserUtterance(text="Hi")])
        export(made, tmp_path / "pages")
    (totals,) = pages(tmp_path / "pages")["index.html"].all("p", "totals")
    assert "300 conversations" in totals.text


def test_an_earlier_export_is_replaced_and_nothing_else_is(
    store: refold.Store, tmp_path: Path
) -> None:
    """Empty or made by an export: else the file that would be lost is named."""
    folder = tmp_path / "pages"
    folder.mkdir()
    until: dict[str, int | None] = {"call-1": None}
    export(store, folder, until=until)
    first = files(folder)
    export(store, folder, until={"con-1": None})
    assert files(folder).keys() != first.keys()
    (folder / "events" / "notes.txt").write_text("mine")
    before = files(folder)
    with pytest.raises(UsageError, match=r"events/notes\.txt"):
        export(store, folder, until=until)
    assert files(folder) == before
    with pytest.raises(UsageError, match="is no folder"):
        export(store, folder / MARK, until=until)
    with pytest.raises(UsageError, match="make it first"):
        export(store, tmp_path / "none" / "pages", until=until)
    assert [one.name for one in tmp_path.iterdir()] == ["pages"]


@pytest.mark.parametrize("what", ["index.html", "."])
def test_what_is_taken_away_meanwhile_is_missed(
    store: refold.Store, tmp_path: Path, what: str
) -> None:
    """A folder that lacks a page is not put there, and what was there stays."""
    until: dict[str, int | None] = {"con-1": None}
    export(store, tmp_path / "pages", until=until)
    before = files(tmp_path)

    def take_away(done: int, _known: int) -> None:
        if done == 2:
            (new,) = tmp_path.glob(".pages.*.new")
            (new / what).unlink() if (new / what).is_file() else shutil.rmtree(new)

    with pytest.raises(UsageError):
        export(store, tmp_path / "pages", until=until, progress=take_away)
    assert files(tmp_path) == before
    assert [one.name for one in tmp_path.iterdir()] == ["pages"]


def test_what_somebody_puts_there_meanwhile_stays(store: refold.Store, tmp_path: Path) -> None:
    """It is looked for again when all is written."""
    until: dict[str, int | None] = {"con-1": None}
    export(store, tmp_path / "pages", until=until)

    def put(_done: int, _known: int) -> None:
        (tmp_path / "pages" / "mine.txt").write_text("mine")

    with pytest.raises(UsageError, match=r"mine\.txt"):
        export(store, tmp_path / "pages", until=until, progress=put)
    assert (tmp_path / "pages" / "mine.txt").read_text() == "mine"


def test_what_ends_half_way_leaves_all_as_it_was(store: refold.Store, tmp_path: Path) -> None:
    """The earlier export, or nothing; no part of the new one lies about."""
    export(store, tmp_path / "pages", until={"call-1": None})
    before = files(tmp_path)

    def stop(done: int, _known: int) -> None:
        if done == 3:
            raise KeyboardInterrupt

    for name in ("pages", "new"):
        with pytest.raises(KeyboardInterrupt):
            export(store, tmp_path / name, until={"con-1": None}, progress=stop)
    assert files(tmp_path) == before
    assert [one.name for one in tmp_path.iterdir()] == ["pages"]


@pytest.fixture(scope="module")
def tab() -> Iterator[Browser]:
    with browser() as one:
        yield one


def test_it_is_read_from_files_in_the_browser(
    store: refold.Store, tab: Browser, tmp_path: Path
) -> None:
    """Every page that is come to by links shows itself, and loads its files alone."""
    until: dict[str, int | None] = dict.fromkeys(["call-1", *ODD[:2]])
    export(store, tmp_path / "pages", until=until)
    first = (tmp_path / "pages" / "index.html").as_uri()
    waiting, seen = [first], {first}
    tab.said.clear()
    tab.asked.clear()
    while waiting:
        tab.go(waiting.pop())
        assert tab.value("getComputedStyle(document.querySelector('.top')).display") == "flex"
        here = tab.value("[...document.links].map(a => a.href.split('#')[0])")
        waiting += [one for one in dict.fromkeys(here) if one not in seen]
        seen |= {*here}
    assert len(seen) == len(pages(tmp_path / "pages"))
    assert tab.said == []
    assert {urlsplit(one).scheme for one in tab.asked} == {"file"}


def test_the_list_is_filtered_without_a_server(whole: Path, tab: Browser) -> None:
    """By the words of a row; `/` leads to the box."""
    tab.go((whole / "index.html").as_uri())
    tab.press("/")
    assert tab.value("document.activeElement.id") == "q"
    tab.value(
        "(q => { q.value = 'LONG-1'; q.dispatchEvent(new Event('input')) })"
        "(document.getElementById('q'))"
    )
    left = "[...document.querySelectorAll('tr:not([hidden]) a.open')].map(a => a.textContent)"
    assert tab.value(left) == ["long-1"]
