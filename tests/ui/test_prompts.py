"""The prompts on pages: when each was in force, how two differ, what went on under each."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import httpx2
import pytest

import refold
from refold.conversation.events import (
    AgentConfigured,
    AgentUtterance,
    LabelRecorded,
    Prompt,
    ScoreRecorded,
    ToolResult,
    UserUtterance,
)
from refold.privacy.redaction import redact
from refold.privacy.removing import Removal
from refold.projections import Projector
from refold.readmodels import prompts as versions
from refold.readmodels.finding import bring_up
from refold.readmodels.searching import search
from refold.ui import prompts
from refold.ui.prompts import BAR_MIN, bars, listing, under
from tests.replay.pages import Page
from tests.replay.test_report import HOSTILE
from tests.support.browser import Browser, browser
from tests.ui.reading import page
from tests.ui.serving import served

HOUR_US = 3_600_000_000
START_US = 1_772_000_000_000_000
TEXTS = (
    "Be kind to everybody who calls us.\nNever promise a refund.",
    "Be kind and brief to everybody who calls us.\nNever promise a refund.",
)
FIRST, SECOND = (Prompt(text).hash for text in TEXTS)


def talked(store: refold.Store, stream: str, hour: int, text: str, *more: Any, agent: str) -> None:
    """A conversation at an hour, under a prompt."""
    said = [
        AgentConfigured(agent=agent, version=f"v{len(text)}", prompt=Prompt(text)),
        UserUtterance(text="Hello"),
        AgentUtterance(text="Good day"),
        *more,
    ]
    at = START_US + hour * HOUR_US
    events = [refold.Event.of(one, occurred_at=at) for one in said]
    store.append(stream, events, metadata={"actor": "anna"} if hour == 0 else None)


@pytest.fixture(scope="module")
def store() -> Iterator[refold.Store]:
    """Two prompts, the first at hours 0 to 2, the second at 3; and a branch."""
    with refold.open("memory:") as made:
        for hour in range(3):
            score = ScoreRecorded("reward", hour / 2, "judge")
            label = LabelRecorded("outcome", "solved" if hour else "open", "anna")
            talked(made, f"call-{hour}", hour, TEXTS[0], score, label, agent="desk")
        failed = ToolResult("c1", {"error": "down"}, name="lookup")
        talked(made, "call-3", 3, TEXTS[1], failed, agent="front desk")
        yield made


@pytest.fixture(scope="module")
def projector(store: refold.Store) -> Projector:
    return search_of(store)


def search_of(store: refold.Store) -> Projector:
    made = Projector(store, [search])
    bring_up(made, None)
    return made


@pytest.fixture(scope="module")
def client(store: refold.Store) -> Iterator[httpx2.Client]:
    with served(store) as reader:
        yield reader


def test_each_prompt_is_told_with_who_and_when(store: refold.Store, projector: Projector) -> None:
    """The newest first, as the log itself says it when it is read from its beginning."""
    made = listing(store, projector)
    told = [(one.hash, one.agent, one.by, one.conversations, one.text) for one in made.prompts]
    assert told == [
        (SECOND, "front desk", None, 1, TEXTS[1]),
        (FIRST, "desk", "anna", 3, TEXTS[0]),
    ]
    read = {one.hash: one for one in versions.prompt_versions(store)}
    for one in made.prompts:
        version = read[one.hash]
        assert [*one.labels] == version.labels
        assert one.conversations == len(version.streams)
        assert one.first_at[:19] == version.first_at[:19]
        assert one.last_at[:19] == version.last_at[:19]
    ((second, whole),), ((first, most), *_, (third, last)) = bars(projector, made.prompts)
    assert first == 0
    assert first + most < third
    assert third + last < second
    assert second + whole == pytest.approx(100)


def test_prompts_that_alternate_are_in_force_in_turn() -> None:
    """Each at its own times; what goes on at once, or one after the other, is one stretch."""
    with refold.open("memory:") as made:
        for hour in range(0, 40, 10):
            for more in range(2):
                text = TEXTS[hour // 10 % 2]
                talked(made, f"call-{hour + more}", hour, text, agent="desk")
        found = listing(made, search_of(made))
        second, first = found.bars
    assert [start for start, _ in first] == pytest.approx([0, 98.5 * 2 / 3])
    assert [start for start, _ in second] == pytest.approx([98.5 / 3, 98.5])
    assert {width for _, width in (*first, *second)} == {BAR_MIN}


def test_what_came_under_a_prompt_is_counted(projector: Projector) -> None:
    """Outcomes, scores and errors of its own conversations, and of no others."""
    first, second = under(projector, FIRST), under(projector, SECOND)
    assert first.scores == [("reward", 3, 0.5)]
    assert dict(first.outcomes) == {"solved": 2, "open": 1}
    assert (first.errors, second.errors, second.scores) == (0, 1, [])
    assert [one[0] for one in first.streams] == ["call-2", "call-1", "call-0"]


def test_the_links_of_a_prompt_find_what_it_counts(client: httpx2.Client) -> None:
    """The list that each leads to has as many conversations as the page says."""
    found = page(client, f"/prompts?version={FIRST}")
    assert "0.5 on average, of 3" in found.text
    links = {e.text: e.attributes["href"] for e in found.all("a") if "/?q=" in e.attributes["href"]}
    counts = {name: len(page(client, to).all("a", "open")) for name, to in links.items()}
    assert counts == {"3 conversations": 3, "0 with an error": 0, "solved": 2, "open": 1}
    assert "No checks" in page(client, f"/prompts?version={SECOND}").text


def test_two_prompts_are_compared_line_by_line(client: httpx2.Client) -> None:
    """The words that one has and the other has not are marked; the rest is not."""
    found = page(client, f"/prompts?a={FIRST}&b={SECOND}")
    assert [e.text for e in found.all("ins")] == ["and brief"]
    assert not found.all("del")
    assert "one and the same" in page(client, f"/prompts?a={FIRST}&b={FIRST}").text


def test_many_prompts_are_in_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    """None is left out, whatever else its conversation was configured with."""
    monkeypatch.setattr(prompts, "PROMPTS_A_PAGE", 2)
    with refold.open("memory:") as made:
        for number in range(5):
            talked(made, "call-1", number, f"Be {number}.", agent="desk")
        projector = Projector(made, [search])
        bring_up(projector, None)
        seen = [listing(made, projector, page=number) for number in (1, 2, 3, 9)]
    assert [[one.text for one in page.prompts] for page in seen] == [
        ["Be 4.", "Be 3."], ["Be 2.", "Be 1."], ["Be 0."], ["Be 0."],
    ]  # fmt: skip


def test_what_was_taken_out_of_a_prompt_is_on_no_page() -> None:
    """A mark stands in its place, and nothing is found by what it was."""
    with refold.open("memory:") as made:
        talked(made, "call-1", 0, TEXTS[0], agent="desk")
        talked(made, "call-2", 1, TEXTS[1], agent="desk")
        with served(made) as client:
            for query in ("", f"?version={FIRST}", f"?a={FIRST}&b={SECOND}"):
                assert "Be kind to" in page(client, f"/prompts{query}").text
            redact(made, ["call-1@0"], field="/prompt/text", wanted=Removal("a name", "anna"))
            for query in ("", f"?version={FIRST}", f"?a={FIRST}&b={SECOND}"):
                assert "Be kind to" not in client.get(f"/prompts{query}").text
            assert "[redacted]" in page(client, "/prompts").text


def test_words_that_cannot_be_read_are_not_said_to_be_none() -> None:
    """As where the rows are kept elsewhere, and a prompt is gone from the log since."""
    with refold.open("memory:") as made, refold.open("memory:") as rows:
        talked(made, "call-1", 0, TEXTS[0], agent="desk")
        projector = Projector(made, [search], rows=rows)
        bring_up(projector, None)
        assert [one.text for one in listing(made, projector).prompts] == [TEXTS[0]]
        redact(made, ["call-1@0"], field="/prompt", wanted=Removal("a name", "anna"))
        (one,) = listing(made, projector).prompts
        assert (one.text, one.labels, one.agent) == (None, [], None)


def test_a_store_without_prompts_and_a_hash_that_is_none() -> None:
    """Both are said."""
    with refold.open("memory:") as made:
        made.append("call-1", [UserUtterance(text="Hello")])
        with served(made) as client:
            assert "No conversation here has a prompt" in page(client, "/prompts").text
            assert client.get("/prompts?version=abc").status_code == 404
            assert client.get("/prompts?a=abc&b=abc").status_code == 404


@pytest.mark.parametrize("text", HOSTILE)
def test_what_others_wrote_is_only_text(text: str) -> None:
    """In prompts, names, labels and outcomes."""
    own = Prompt(text).hash
    with refold.open("memory:") as made:
        said = [LabelRecorded("outcome", text, text), LabelRecorded(text, text, text)]
        talked(made, "call-1", 0, text, ScoreRecorded(text, 1.0, text), *said, agent=text)
        talked(made, "call-2", 0, f"{text} more", agent=text)
        other = Prompt(f"{text} more").hash
        with served(made) as client:
            for query in ("", f"?version={own}", f"?a={own}&b={other}", f"?version={quote(text)}"):
                answer = client.get(f"/prompts{query}")
                found = Page(answer.text)
                assert not {"img", "iframe", "b"} & {e.tag for e in found.elements}
                assert not [n for e in found.elements for n in e.attributes if n.startswith("on")]
                assert not [link for link in found.links if link.startswith("javascript")]
                assert text in found.text or answer.status_code == 404


@pytest.fixture(scope="module")
def tab() -> Iterator[Browser]:
    with browser() as one:
        yield one


@pytest.mark.parametrize("width", [400, 1280])
def test_two_are_chosen_and_compared(client: httpx2.Client, tab: Browser, width: int) -> None:
    """By the form, into an address that can be sent; no page is wider than its window."""
    tab.said.clear()
    tab.go(str(client.base_url.join("/prompts")), width=width)
    assert tab.value("document.documentElement.scrollWidth") <= width
    tab.value("document.querySelector('.titled').closest('form').requestSubmit()")
    for part in (f"a={FIRST}", f"b={SECOND}"):
        tab.until(f"location.search.includes('{part}')")
    tab.until("document.querySelectorAll('ins').length === 1")
    assert tab.value("document.documentElement.scrollWidth") <= width
    tab.go(str(client.base_url.join(f"/prompts?version={FIRST}")), width=width)
    assert tab.value("document.documentElement.scrollWidth") <= width
    assert [one for one in tab.said if "404" not in one] == []
