"""The page of a bundle: what it tells, that it is strict HTML, and that it asks nobody."""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Mapping
from pathlib import Path

import pytest

import refold
from refold import Event
from refold.audit import evidence_bundle
from refold.audit.evidence.checking import check_file
from refold.audit.verifier.program import unzipped
from refold.conversation import (
    AgentConfigured,
    AgentUtterance,
    Party,
    Prompt,
    RedactionApplied,
    SessionStarted,
    Tool,
    ToolCall,
    ToolResult,
    UserUtterance,
)
from refold.privacy.holds import place_hold, release_hold
from tests.audit.sealed import key_of, sealed_by
from tests.replay.pages import Page
from tools.screenshot import chromium, find_chromium, take_picture

LONG = "x" * 300


def clinic() -> refold.Store:
    """A log in which a patient moves an appointment, with words that would be markup."""
    store = refold.open("memory:")
    configured = AgentConfigured(
        Prompt("Be <b>kind</b>.", id="desk-7"), "m-1", "example", {"seed": 1}, [Tool("move", "")]
    )
    events = [
        SessionStarted("voice", parties=[Party("customer", "Ann Example"), Party("agent", "Desk")]),
        configured,
        UserUtterance(f"Please move my <script>alert(1)</script> appointment. {LONG}"),
        ToolCall("c1", "move", '{"to": "Monday"}'),
        ToolResult("c1", {"moved": True, "note": LONG}),
        AgentUtterance("It is on Monday now."),
        Event("note.taken", {"by": "the desk", LONG: LONG}),
    ]
    store.append("call-1", events)
    sealed_by(store).checkpoint()
    return store


def page_of(
    store: refold.Store, what: str = "call-1", withhold: Mapping[str, str] | None = None
) -> str:
    """The page of a bundle."""
    bundle = evidence_bundle(store, what, key_of(), withhold=withhold)
    return unzipped(bundle, "")["index.html"].decode()


def test_it_tells_the_conversation_and_what_it_ran_on() -> None:
    """Words, calls and results; prompt, model, parameters and tools with their hashes."""
    html = page_of(clinic())
    page = Page(html)
    text = " ".join(page.by_id("conversation").text.split())
    for said in ("Please move my <script>alert(1)</script>", 'move({"to": "Monday"})', "on Monday"):
        assert said in text
    versions = page.by_id("versions").text
    for said in ("m-1 (example)", "desk-7", Prompt("Be <b>kind</b>.").hash, "move", "unknown"):
        assert said in versions
    assert "Nothing." in page.by_id("withheld").text
    assert len(page.all("details")) == 1 + 7
    assert "<script" not in html


def test_every_link_leads_somewhere_on_it() -> None:
    """And no id stands twice."""
    for withheld in ({}, {"name": "private"}, {"user.utterance": "asked"}):
        page = Page(page_of(clinic(), withhold=withheld))
        assert {link.removeprefix("#") for link in page.links} <= set(page.ids)
        assert len(set(page.ids)) == len(page.ids)


def test_what_is_withheld_is_told_and_not_shown() -> None:
    """Where it would stand, in the list, and nowhere else."""
    html = page_of(clinic(), "call-1@5", withhold={"call-1@2": "her own words"})
    page = Page(html)
    assert page.by_id("conversation").text.count("withheld: her own words") == 1
    assert "Please move" not in html
    assert "note.taken withheld: it came after" in page.by_id("conversation").text
    assert page.by_id("withheld").text.count("her own words") == 1
    assert page.by_id("withheld").text.count("it came after") == 1


def test_it_says_from_when_on_sealing_shows_anything() -> None:
    """Events that were in the log before are told, as in the instructions beside the page."""
    late = clinic()
    early = refold.open("memory:")
    early.append("call-0", [Event("note.taken", {})])
    sealed_by(early).checkpoint()
    early.append("call-1", [Event("note.taken", {})])
    mixed = refold.open("memory:")
    mixed.append("call-1", [Event("note.taken", {})])
    sealed_by(mixed).checkpoint()
    mixed.append("call-1", [Event("note.taken", {})])
    for store, said in (
        (late, "These events were in the log when sealing was turned on"),
        (early, "before the first of these events"),
        (mixed, "1 of them were in the log when sealing was turned on"),
    ):
        sealed_by(store).checkpoint()
        members = unzipped(evidence_bundle(store, "call-1", key_of()), "")
        for name in ("index.html", "README.txt"):
            assert said in " ".join(members[name].decode().split())


def test_holds_and_what_ended_them_are_told(tmp_path: Path) -> None:
    """Of the stream, its category and its subject, and of nobody else; each is proved."""
    store = clinic()
    store.append("call-2", [Event("k")], metadata={"subject": "someone"})
    place_hold(store, "call-1", reason="a suit")
    place_hold(store, "call-2", reason="another suit")
    place_hold(store, category="call", reason="an audit")
    place_hold(store, category="mail", reason="no matter")
    release_hold(store, "hold-1", reason="it was settled")
    release_hold(store, "hold-2", reason="not of this")
    store.append("refold-privacy", [RedactionApplied("call-1@2", "/text", "emptied", "asked")])
    sealed_by(store).checkpoint()
    bundle = evidence_bundle(store, "call-1", key_of())
    (tmp_path / "bundle.zip").write_bytes(bundle)
    checked = check_file(tmp_path / "bundle.zip", keys=[str(key_of().verifying)])
    assert checked.is_verified, checked.said
    assert sum(line.startswith("governance:") for line in checked.details) == 4
    text = Page(unzipped(bundle, "")["index.html"].decode()).by_id("decided").text
    for said in ("a suit", "an audit", "it was settled", "event: call-1@2"):
        assert said in text
    assert not re.search("another suit|no matter|not of this", text)
    private = evidence_bundle(store, "call-1", key_of(), withhold={"name": "private"})
    assert b"call-1" not in private
    assert b64encode(store.event("refold-privacy@5").raw) not in private


WIDE = """<script>
parent.postMessage([document.documentElement.scrollWidth,
  ...[...document.querySelectorAll("main *")].filter((one) =>
    !one.closest(".scroll") && one.getBoundingClientRect().right > innerWidth + 1)
    .map((one) => one.outerHTML.slice(0, 80))].join(" "), "*");
</script>"""
FRAME = """<iframe src="page.html" style="width: %dpx; height: 900px; border: 0"></iframe><p>
<script>onmessage = ({ data }) => { document.querySelector("p").textContent = data; };</script>"""


@pytest.mark.parametrize("width", [400, 1400])
def test_nothing_is_cut_off_in_a_browser(tmp_path: Path, width: int) -> None:
    """On a phone and on a desk, with all of it open; a picture of it is not blank."""
    assert find_chromium() is not None, "no Chromium: run `make system`"
    text = page_of(clinic(), withhold={"call-1@6": LONG})
    opened = re.sub(r"<meta http-equiv[^>]*>", "", text).replace("<details", "<details open")
    (tmp_path / "page.html").write_text(opened.replace("</body>", f"{WIDE}</body>"))
    (tmp_path / "frame.html").write_text(FRAME % width)
    options = ("--dump-dom", "--hide-scrollbars", "--virtual-time-budget=2000")
    done = chromium((tmp_path / "frame.html").as_uri(), *options)
    assert f"<p>{width}</p>" in done.stdout.replace("\n", ""), done.stdout[-2000:]
    (tmp_path / "plain.html").write_text(text)
    take_picture(tmp_path / "plain.html", tmp_path / "page.png", width=width, height=900)
    assert (tmp_path / "page.png").stat().st_size > 5_000


def test_it_may_ask_nobody_for_anything(tmp_path: Path) -> None:
    """Its policy allows none, nothing of it names another place, and the console stays empty."""
    html = page_of(clinic())
    assert "default-src 'none'; style-src 'unsafe-inline'" in html
    assert not re.search(r"(?:src|href)=.(?!#)|url\(|@import|https?:", html)
    (tmp_path / "page.html").write_text(html)
    done = chromium((tmp_path / "page.html").as_uri(), "--dump-dom", "--enable-logging=stderr")
    assert (done.returncode, "CONSOLE" in done.stderr) == (0, False), done.stderr
    assert "It is on Monday now." in done.stdout
