"""The pages over a store: what they show, that they only read, and that nothing of them runs."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from urllib.parse import quote

import httpx2
import pytest

import refold
from refold.cli.streams import streams_command
from refold.conversation.events import (
    AgentUtterance,
    ModelResponse,
    StatePatched,
    Usage,
    UserUtterance,
)
from refold.conversation.governance import RedactionApplied
from refold.conversation.voice import PlaybackInterrupted
from refold.replay.datasets import Dataset
from refold.ui.conversation import EVENTS_A_PAGE, shown
from refold.ui.conversations import OPENING_CHARS_MAX, ROWS_A_PAGE
from tests.replay.pages import Page
from tests.replay.stories import asks_tool, opening, record, tells
from tests.replay.test_report import HOSTILE, hostile_store
from tests.ui.reading import page
from tests.ui.serving import served

FOLLOWED_MAX = 60


@pytest.fixture(scope="module")
def store() -> Iterator[refold.Store]:
    """Three conversations, one of them with a branch and state."""
    with refold.open("memory:") as made:
        for number in range(1, 4):
            record(made, f"call-{number}")
        made.append("call-2", [StatePatched([{"op": "add", "path": "/booked", "value": True}])])
        other = made.branch("call-2", at=3).adding(AgentUtterance(text="No.", message_id="b1"))
        made.save_branch(other, "call-2~other")
        yield made


@pytest.fixture(scope="module")
def client(store: refold.Store) -> Iterator[httpx2.Client]:
    with served(store) as reader:
        yield reader


def test_the_list_says_what_all_come_to(client: httpx2.Client) -> None:
    """Conversations newest first, each with its agent's model, its tools, errors and cost."""
    found = page(client, "/")
    opened = [e.text for e in found.all("a", "open")]
    assert opened == ["call-2", "call-3", "call-2~other", "call-1"]
    (totals,) = found.all("p", "totals")
    assert "4 conversations" in totals.text
    assert "0.006 USD" in totals.text
    assert "lookup" in found.text


def test_what_a_person_said_first_is_in_the_list_until_it_is_taken_out() -> None:
    """Cut where it is long, of what was said itself; and never after a redaction."""
    with refold.open("memory:") as made:
        for name in ("call-1", "call-2"):
            said = f"{name} wants a table. " + "word " * 99
            words = [AgentUtterance(text="Good day"), UserUtterance(text=said)]
            made.append(name, [*words, UserUtterance(text="And another thing")])
        made.append("call-3", [AgentUtterance(text="Good day")])
        noted = RedactionApplied("call-2@1", "/text", "removed", "asked by mail")
        with served(made) as reader:
            before = page(reader, "/").all("p", "said")
            made.append("refold-privacy", [noted])
            after = page(reader, "/").all("p", "said")
    assert [e.text[:20] for e in before] == ["call-2 wants a table", "call-1 wants a table"]
    assert {len(e.text) for e in before} == {OPENING_CHARS_MAX}
    assert [e.text for e in after] == [before[1].text]


@pytest.mark.parametrize(
    ("asked", "streams"),
    [
        ("tool:lookup", {"call-1", "call-2", "call-3"}),
        ("tool:refund", set()),
        ("gate 4", {"call-1", "call-2", "call-3"}),
        ("No", {"call-2~other"}),
        ("tool:lookup zebra", set()),
    ],
)
def test_a_search_shows_those_that_fit(
    client: httpx2.Client, asked: str, streams: set[str]
) -> None:
    """By words and by names; what fits nothing says which names there are."""
    found = page(client, f"/?q={quote(asked)}")
    assert {e.text for e in found.all("a", "open")} == streams
    assert found.by_id("q").attributes["value"] == asked
    assert bool(streams) != ("Before a colon may stand" in found.text)


def test_each_option_of_the_commands_has_a_field(client: httpx2.Client) -> None:
    """What is filled in is asked together with the words, and stands in the search box too."""
    found = page(client, "/?q=gate&tool=lookup&with-error=&agent=&sample=2&seed=5")
    assert found.by_id("q").attributes["value"] == "gate tool:lookup sample:2 seed:5"
    assert len(found.all("a", "open")) == 2
    options = {option for one in streams_command.params for option in one.opts}
    fields = {f"--{e.attributes['name']}" for e in found.all("input") if "name" in e.attributes}
    left = {"--limit", "--all", "--json", "--db", "--text", "--last", "--help", "--config"}
    assert options - left <= fields


def test_a_dataset_is_shown_by_its_name(store: refold.Store, client: httpx2.Client) -> None:
    """Its conversations alone; of one that there is not, it is said."""
    Dataset.make(store, "two", ["call-1", "call-3"])
    found = page(client, "/?q=dataset:two")
    assert {e.text for e in found.all("a", "open")} == {"call-1", "call-3"}
    assert "All are shown" in page(client, "/?q=dataset:none").text


def test_a_search_that_means_nothing_says_so(client: httpx2.Client) -> None:
    """All are shown, and why, so that nobody takes them for those that were asked for."""
    found = page(client, "/?q=tol:refund")
    (alert,) = [e for e in found.elements if e.attributes.get("role") == "alert"]
    assert "tol: is none of" in alert.text
    assert "All are shown" in alert.text


def test_a_conversation_is_shown_as_it_was(client: httpx2.Client) -> None:
    """At a version: the words until then, the state then, and what that event changed."""
    now, then = page(client, "/conversations/call-2"), page(client, "/conversations/call-2?at=1")
    assert "At gate 4." in now.text
    assert "add /state/booked: true" in now.text
    assert "At gate 4." not in then.text
    assert "booked" not in then.text
    assert "Where is booking B1?" in then.text
    assert "call-2~other" in now.text
    assert "call-2@3" not in {e.text for e in now.all("a")}


def test_tokens_that_nobody_counted_are_not_none() -> None:
    """An answer without its usage says nothing of tokens."""
    with refold.open("memory:") as made:
        made.append("call-1", [ModelResponse(message_id="m", model="m-1")])
        with served(made) as reader:
            (facts,) = page(reader, "/conversations/call-1").all("dl", "facts")
    assert "Tokensnot known" in "".join(facts.text.split("\n"))


def test_what_is_not_known_of_some_answers_is_not_left_out_of_a_sum() -> None:
    """It says at least, and of how many it is known; what is known to be 0 is 0."""
    free = ModelResponse(message_id="n", model="m", usage=Usage(0, 0), cost=Decimal(0))
    paid = ModelResponse(message_id="p", model="m", usage=Usage(1200, 30), cost=Decimal("0.5"))
    with refold.open("memory:") as made:
        for name, answers in (("free", [free]), ("some", [paid, ModelResponse(message_id="q")])):
            made.append(f"call-{name}", answers)
        with served(made) as reader:
            shown = {
                name: " ".join(
                    page(reader, f"/conversations/call-{name}").all("main")[0].text.split()
                )
                for name in ("free", "some")
            }
            found = page(reader, "/")
    assert "Tokens0 in, 0 out Cost0 USD" in shown["free"]
    assert "Tokensat least 1,200 in, 30 out; not known of 1 of 2 answers" in shown["some"]
    assert "Costat least 0.5 USD; not known of 1 of 2 answers" in shown["some"]
    assert '"answers without tokens": 1' in shown["some"]
    assert "cost at least 0.5 USD (not known of 1 of 3 answers)" in " ".join(
        found.all("p", "totals")[0].text.split()
    )
    assert {"0 USD", "at least 0.5 USD"} <= {e.text for e in found.all("td", "n")}


def test_the_shares_of_time_add_up(store: refold.Store) -> None:
    """Each stretch begins where the one before it ends, from 0 to 1."""
    with refold.open("memory:") as made:
        times = [0, 2_000_000, 5_000_000, 5_000_000, 9_000_000]
        said = [*opening(), *asks_tool()]
        events = [
            refold.Event("", one, occurred_at=1_772_000_000_000_000 + at)
            for one, at in zip(said, times, strict=True)
        ]
        made.append("call-1", events)
        spent = shown(made, "call-1").spent
    assert [(one.who, one.ms) for one in spent] == [
        ("caller", 2_000.0),
        ("model", 3_000.0),
        ("tools", 4_000.0),
    ]
    assert sum(one.width for one in spent) == pytest.approx(1)
    assert [one.start for one in spent] == pytest.approx([0, 2 / 9, 5 / 9])


def test_a_long_conversation_and_a_long_list_are_in_pages() -> None:
    """Nothing is left out: each page leads to the one before it."""
    with refold.open("memory:") as made:
        words = [UserUtterance(text=f"word {number}") for number in range(2 * EVENTS_A_PAGE + 5)]
        made.append("long-1", [*words, PlaybackInterrupted(played_text="x")])
        for number in range(ROWS_A_PAGE + 1):
            made.append(f"call-{number}", [UserUtterance(text="Hi")])
        with served(made) as client:
            seen: list[str] = []
            address = "/conversations/long-1"
            while address:
                found = page(client, address)
                steps = found.all("ol", "steps")[0]
                seen = [*[e.text for e in found.inside(steps, "div")], *seen]
                earlier = [e for e in found.all("a") if "earlier event" in e.text]
                address = f"/conversations/long-1{earlier[0].attributes['href']}" if earlier else ""
            listed = [
                {e.text for e in page(client, f"/?page={number}").all("a", "open")}
                for number in (1, 2)
            ]
    assert [text for text in seen if text.startswith("word")] == [one.text for one in words]
    assert [len(one) for one in listed] == [ROWS_A_PAGE, 2]
    assert not listed[0] & listed[1]


def test_every_link_leads_somewhere(client: httpx2.Client) -> None:
    """Of all pages that can be come to from the first, within bounds."""
    waiting, seen = ["/"], {"/"}
    while waiting and len(seen) < FOLLOWED_MAX:
        address = waiting.pop()
        answer = client.get(address)
        assert answer.status_code == 200, (address, answer.text)
        if "html" not in answer.headers["content-type"]:
            continue
        found = Page(answer.text)
        assert len(set(found.ids)) == len(found.ids)
        for link in found.links:
            to = str(httpx2.URL(f"http://x{address}").join(link)).removeprefix("http://x")
            if not link.startswith("#") and to not in seen:
                seen.add(to)
                waiting.append(to)
    assert len(seen) > 20


@pytest.mark.parametrize("text", HOSTILE)
def test_what_others_wrote_is_only_text(text: str) -> None:
    """On every page: no element, attribute or address comes of what was said."""
    made = hostile_store(text)
    (info,) = list(made.streams())
    with served(made) as client:
        plain = page(client, "/")
        places = ["/", f"/?q={quote(text)}", f"/conversations/{quote(info.stream, safe='')}"]
        places += [f"/events/{quote(e.id, safe='')}" for e in made.read(info.stream)]
        for address in places:
            found = page(client, address)
            assert not {"img", "iframe", "b"} & {e.tag for e in found.elements}
            assert len(found.all("script")) == len(plain.all("script")) == 2
            assert not [n for e in found.elements for n in e.attributes if n.startswith("on")]
            assert not [link for link in found.links if link.lower().startswith("javascript")]
        assert text in page(client, places[2]).text


@pytest.mark.parametrize(
    ("host", "code"),
    [
        ("127.0.0.1:1", 200),
        ("localhost", 200),
        ("[::1]:80", 200),
        ("LOCALHOST", 200),
        ("refold.example", 421),
        ("127.0.0.1.refold.example", 421),
        ("", 421),
        ("[", 421),
    ],
)
def test_only_its_own_names_are_answered_to(client: httpx2.Client, host: str, code: int) -> None:
    """A page elsewhere whose name leads here reads nothing (DNS rebinding)."""
    answer = client.get("/", headers={"host": host})
    assert answer.status_code == code
    assert ("call-1" in answer.text) == (code == 200)


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS"])
def test_it_only_reads(client: httpx2.Client, method: str) -> None:
    """Any other method is refused before it comes to a page."""
    assert client.request(method, "/").status_code == 405


@pytest.mark.parametrize(
    ("address", "code"),
    [
        ("/conversations/call-9", 404),
        ("/conversations/call-1?at=x", 400),
        ("/conversations/call-1?at=99", 200),
        ("/?page=99", 200),
        ("/?page=-1", 400),
        ("/events/call-1@99", 404),
        ("/events/call-1", 400),
        ("/static/../pages.py", 404),
        ("/static/%2e%2e%2fpages.py", 404),
        ("/nothing", 404),
    ],
)
def test_what_is_not_there_is_said(client: httpx2.Client, address: str, code: int) -> None:
    """With a page that leads back, and no word of how it is made."""
    answer = client.get(address)
    assert answer.status_code == code
    assert "Traceback" not in answer.text


def test_every_answer_allows_a_browser_nothing_else(client: httpx2.Client) -> None:
    """Pages, files and refusals alike."""
    for address in ("/", "/static/ui.js", "/nothing"):
        headers = client.get(address).headers
        assert headers["content-security-policy"].startswith(
            "default-src 'none'; script-src 'self'"
        )
        assert headers["x-content-type-options"] == "nosniff"
        assert "access-control-allow-origin" not in headers


def test_it_stands_under_any_address() -> None:
    """Mounted in another application, its links lead to itself."""
    from starlette.applications import Starlette
    from starlette.routing import Mount
    from starlette.testclient import TestClient

    from refold.ui import app

    with refold.open("memory:") as made:
        made.append("call-1", [*opening(), *tells()])
        outer = Starlette(routes=[Mount("/agents", app(made, hosts=["testserver"]))])
        found = Page(TestClient(outer).get("/agents/").text)
    assert found.links
    assert all(one.startswith(("/agents/", "#")) for one in found.links)
