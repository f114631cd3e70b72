"""The report: one file that needs nothing else, escapes everything, and links figures to turns."""

from __future__ import annotations

import base64
import json
import zlib
from collections import Counter
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest

import refold
from refold.conversation.events import (
    AgentUtterance,
    ModelResponse,
    ToolCall,
    ToolResult,
    UserUtterance,
)
from refold.conversation.governance import RedactionApplied
from refold.conversation.voice import PlaybackInterrupted
from refold.errors import UsageError
from refold.replay import Action, Call, ChatRequest, ModelFailure, Variant, compare, replay
from refold.replay.compare import Comparison
from refold.replay.report import lists, render_report, write_report
from tests.replay.pages import Page
from tests.replay.stories import as_recorded, asks_tool, opening, record, tells

HOSTILE = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "' onmouseover='alert(1)",
    "</style></script></p>]]>-->",
    "&lt;b&gt; &amp; &#60;",
    "\u202egnp.exe\u202c שלום \u0627\u0644\u0633",
    "javascript:alert(1)",
    "{{ 7 * 7 }} {% raw %} {# none #}",
)
VARIANT = Variant(prompt="Be brief.", label="brief")


def answer(request: ChatRequest) -> Action:
    """Other arguments for the tool, other words afterwards."""
    if request.messages[-1]["role"] == "user":
        return Action(calls=(Call("lookup", '{"id": "B2"}'),), latency_ms=50.0)
    return Action(text="At gate five.", latency_ms=10.0)


def told(store: refold.Store, candidate: Any = answer, *, variant: Variant = VARIANT) -> Comparison:
    """What comes of replaying every conversation of a store."""
    streams = [info.stream for info in store.streams() if "~" not in info.stream]
    replay(store, streams, variant, candidate, attempts_max=1)
    return compare(store, streams, variant)


def rendered(store: refold.Store, candidate: Any = answer, **options: Any) -> Page:
    """The report on a store, parsed strictly."""
    return Page(render_report(told(store, candidate), read=store.read, **options))


@pytest.fixture
def store() -> refold.Store:
    opened = refold.open("memory:")
    for number in range(1, 4):
        record(opened, f"call-{number}")
    return opened


# -- one file -------------------------------------------------------------------------------------


def test_the_page_nests_and_every_link_leads_somewhere_on_it(store: refold.Store) -> None:
    """Ids are unique, and a link is a `#` with the id of an element."""
    found = rendered(store)
    assert len(set(found.ids)) == len(found.ids)
    assert found.links
    assert {link.removeprefix("#") for link in found.links} <= set(found.ids)


def test_the_page_asks_for_nothing(store: refold.Store) -> None:
    """No element loads anything, the policy forbids it, and only the one script may run."""
    text = render_report(told(store), read=store.read)
    found = Page(text)
    assert not {"img", "link", "iframe", "object", "base"} & {e.tag for e in found.elements}
    assert not [e for e in found.elements if "src" in e.attributes]
    (policy,) = (e for e in found.elements if "http-equiv" in e.attributes)
    assert policy.attributes["content"].startswith("default-src 'none';")
    assert "url(" not in text
    assert "@import" not in text
    assert len(found.all("script")) == 1


def test_the_same_comparison_gives_the_same_bytes(store: refold.Store, tmp_path: Path) -> None:
    """Nothing of the page depends on when or where it is made."""
    comparison = told(store)
    first = write_report(comparison, tmp_path / "a.html", read=store.read)
    second = write_report(comparison, tmp_path / "b.html", read=store.read)
    assert first.read_bytes() == second.read_bytes()


def test_a_file_that_cannot_be_written_is_named(store: refold.Store, tmp_path: Path) -> None:
    """The error carries the path."""
    with pytest.raises(UsageError) as refused:
        write_report(told(store), tmp_path / "gone" / "report.html")
    assert refused.value.path == str(tmp_path / "gone" / "report.html")


# -- what others wrote ----------------------------------------------------------------------------


def hostile_store(text: str) -> refold.Store:
    """A conversation in which everything that may hold text holds this one."""
    opened = refold.open("memory:")
    events = [
        UserUtterance(text=text, party=text),
        AgentUtterance(text=text, message_id="m1"),
        ToolCall(call_id="c", name=text, arguments=json.dumps({text: text}), message_id="m1"),
        ToolCall(call_id="d", name=text, arguments=text, message_id="m1"),
        ToolResult(call_id="c", result={text: text}),
        PlaybackInterrupted(played_text=text),
    ]
    opened.append(f"call-{text}", [*opening(), *events])
    return opened


@pytest.mark.parametrize("text", HOSTILE)
def test_text_is_text_wherever_it_comes_from(text: str) -> None:
    """Words, names, arguments, results, prompts, labels, streams, errors, titles: all escaped."""
    opened = hostile_store(text)
    variant = Variant(prompt=text, model=text, label=text, params={text: text})

    def candidate(_: ChatRequest) -> Action:
        call = Call(text, json.dumps({text: f"{text} other"}))
        return Action(text=f"{text} again", calls=(call, Call(text, f"{text} other")))

    plain = Page(render_report(told(refold.open("memory:"))))
    comparison = told(opened, candidate, variant=variant)
    found = Page(render_report(comparison, read=opened.read, title=text, note=text))
    known = {e.tag for e in plain.elements} | KNOWN_TAGS
    assert {e.tag for e in found.elements} <= known
    assert not [name for e in found.elements for name in e.attributes if name.startswith("on")]
    assert len(found.all("script")) == 1
    assert found.text.count(text) >= 8
    assert {link.removeprefix("#") for link in found.links} <= set(found.ids)


KNOWN_TAGS = {
    *("a", "b", "code", "dd", "del", "details", "dl", "dt", "em", "h2", "h3", "ins", "li", "pre"),
    *("q", "rect", "strong", "summary", "td", "tr", "ul"),
}


def test_an_error_message_is_escaped_too() -> None:
    """What an endpoint said is no more trusted than what a caller said."""
    opened = refold.open("memory:")
    record(opened, "call-1")

    def failing(_: ChatRequest) -> Action:
        raise ModelFailure("<b>down</b>", kind="refused")

    found = rendered(opened, failing)
    assert "<b>down</b>" in found.text
    assert "<b>down</b>" in found.by_id("left-out").text


def test_what_is_no_character_in_html_is_replaced() -> None:
    """NUL and its like stand as a replacement character, and the file is valid UTF-8."""
    opened = refold.open("memory:")
    record(opened, "call-1", [*opening(), AgentUtterance(text="a\x00b\x1bc\ufffe")])
    text = render_report(told(opened), read=opened.read)
    assert "a\ufffdb\ufffdc\ufffd" in Page(text).text
    assert text.encode().decode() == text


def test_megabytes_are_cut_with_a_note_of_how_much(store: refold.Store) -> None:
    """4 MB of words, arguments and results make a small page that says what it left off."""
    long = "lorem " * 700_000
    opened = refold.open("memory:")
    call = ToolCall(call_id="c", name="t", arguments=f'{{"q": "{long}"}}', message_id="m1")
    events = [UserUtterance(text=long), AgentUtterance(text=long, message_id="m1"), call]
    opened.append("call-1", [*opening(), *events, ToolResult(call_id="c", result=long)])
    text = render_report(told(opened), read=opened.read)
    assert len(text) < 120_000
    assert f"{len(long) - 4_000:,} more characters" in text
    assert f"{len(long):,} characters" in text


def test_arguments_that_are_no_object_are_cut_with_a_note_of_how_much() -> None:
    """What a model wrote instead of JSON is shown as text, and the note counts what is left off."""
    opened = refold.open("memory:")
    call = ToolCall(call_id="c", name="t", arguments="z" * 1_000, message_id="m1")
    record(opened, "call-1", [*opening(), call])
    found = rendered(opened)
    row = found.by_id("call-1@2").parent
    assert row is not None
    assert [e.text for e in found.inside(row, "pre")] == [f"{'z' * 400}… 600 more characters"]


# -- figures and turns ----------------------------------------------------------------------------


def test_every_count_leads_to_the_decisions_that_it_counts(store: refold.Store) -> None:
    """The list behind a level names as many decisions as the figure says, and the right ones."""
    comparison = told(store)
    found = Page(render_report(comparison, read=store.read))
    counts = comparison.figures.counts
    for level in ("words", "arguments"):
        links = (e for e in found.all("a", "count") if e.attributes["href"] == f"#level:{level}")
        (link,) = links
        listed = found.inside(found.by_id(f"level:{level}"), "a")
        decisions = [d for c in comparison.conversations for d in c.decisions]
        assert link.text == str(counts[level]) == str(len(listed))
        assert [e.text for e in listed] == [d.at for d in decisions if d.level == level]


def test_a_decision_stands_under_the_id_of_its_event(store: refold.Store) -> None:
    """`report.html#call-2@5` is the answer at that event."""
    found = rendered(store)
    row = found.by_id("call-2@5").parent
    assert row is not None
    assert "At gate 4." in row.text
    assert "At gate five." in row.text


def test_other_words_are_marked_on_both_sides(store: refold.Store) -> None:
    """Deleted words on the recorded side, inserted ones on the candidate's."""
    found = rendered(store)
    row = found.by_id("call-1@5").parent
    assert row is not None
    assert [e.text for e in found.inside(row, "del")] == ["4"]
    assert [e.text for e in found.inside(row, "ins")] == ["five"]


def test_other_arguments_are_marked_by_their_path(store: refold.Store) -> None:
    """The path of the argument, the value before and the value after."""
    found = rendered(store)
    row = found.by_id("call-1@2").parent
    assert row is not None
    assert [e.text for e in found.inside(row, "code") if "path" in e.classes] == ["/id", "/id"]
    assert [e.text for e in found.inside(row, "del")] == ["B1"]
    assert [e.text for e in found.inside(row, "ins")] == ["B2"]
    assert "/id" in found.by_id("behaviour").text


def test_what_is_the_same_is_shown_once(store: refold.Store) -> None:
    """An answer without a difference spans both columns."""
    found = rendered(store, as_recorded)
    row = found.by_id("call-1@5").parent
    assert row is not None
    assert row.text.count("At gate 4.") == 1
    assert "same action in all 6 decisions" in found.text


def test_failures_stand_apart(store: refold.Store) -> None:
    """A decision without an answer is listed with its reason and counted as no difference."""

    def failing(request: ChatRequest) -> Action:
        if request.at == "call-2@5":
            raise ModelFailure("the line broke", kind="refused")
        return as_recorded(request)

    found = rendered(store, failing)
    listed = found.by_id("left-out")
    assert [e.text for e in found.inside(listed, "a")] == ["call-2@5"]
    assert "the line broke" in listed.text
    assert "same action in all 5 decisions" in found.text


def test_what_callers_said_and_tools_gave_back_stands_between(store: refold.Store) -> None:
    """With the log at hand the page shows whole conversations, without it only decisions."""
    comparison = told(store)
    whole = Page(render_report(comparison, read=store.read))
    bare = Page(render_report(comparison))
    for text in ("Where is booking B1?", '{"gate": 4}'):
        assert text in whole.text
        assert text not in bare.text
    assert bare.by_id("call-1@2").parent is not None


def test_the_prompt_is_compared_line_by_line(store: refold.Store) -> None:
    """What was recorded is out, what the variant says is in."""
    found = rendered(store)
    section = found.by_id("variant")
    assert "Be kind." in "".join(e.text for e in found.inside(section, "div") if "out" in e.classes)
    assert "Be brief." in "".join(e.text for e in found.inside(section, "div") if "in" in e.classes)


def test_the_noise_floor_is_told_in_words(store: refold.Store) -> None:
    """A control has a section of its own and a sentence at the top."""
    streams = [f"call-{n}" for n in range(1, 4)]
    control = Variant(params={"seed": 2})
    replay(store, streams, control, as_recorded)
    told(store)
    found = Page(render_report(compare(store, streams, VARIANT, control=control), read=store.read))
    assert "6 of 6 decisions assessed were the same action again" in found.by_id("noise").text
    assert "nothing changed: the recorded agent again" in found.by_id("noise").text


def test_what_was_redacted_is_not_shown(store: refold.Store) -> None:
    """Neither what the caller said nor an answer of which a part was taken out, on either side."""
    events = [opening(), asks_tool(), tells()]
    secret = [UserUtterance(text="My card is 4111."), AgentUtterance(text="Card 4111, noted.")]
    record(store, "call-9", *events, secret)
    for event_id in ("call-9@6", "call-9@7"):
        applied = RedactionApplied(event=event_id, pointer="/text", method="mask", reason="card")
        store.append("call-9", [applied])

    def candidate(_: ChatRequest) -> Action:
        return Action(text="Thank you, 4111 it is.")

    found = rendered(store, candidate)
    row = found.by_id("call-9@7").parent
    assert row is not None
    assert "4111" not in row.text
    assert "4111" not in (getattr(found.by_id("call-9@6").parent, "text", ""))
    assert row.text.count("[redacted]") == 2


def test_a_redacted_prompt_is_not_shown(store: refold.Store) -> None:
    """Not in the section that sets the recorded prompt beside the variant's either."""
    applied = RedactionApplied(event="call-1@0", pointer="/prompt", method="mask", reason="code")
    store.append("call-1", [applied])
    assert "Be kind." in Page(render_report(told(store), read=store.read)).text
    for number in (2, 3):
        also = msgspec.structs.replace(applied, event=f"call-{number}@0")
        store.append(f"call-{number}", [also])
    assert "Be kind." not in Page(render_report(told(store), read=store.read)).text


def test_what_was_redacted_is_not_shown_on_a_branch_either(store: refold.Store) -> None:
    """A redaction names the event that it was made on; a copy on a branch is the same event."""
    secret = [UserUtterance(text="My card is 4111."), AgentUtterance(text="Card 4111, noted.")]
    record(store, "call-9", opening(), secret)
    for event_id in ("call-9@2", "call-9@3"):
        applied = RedactionApplied(event=event_id, pointer="/text", method="mask", reason="card")
        store.append("call-9", [applied])
    store.branch("call-9").without("call-9@1").save("call-9~b")
    replay(store, ["call-9~b"], VARIANT, lambda _: Action(text="Noted: 4111."))
    found = Page(render_report(compare(store, ["call-9~b"], VARIANT), read=store.read))
    assert "4111" not in found.text
    assert found.text.count("[redacted]") == 3


def test_a_branch_and_its_parent_have_places_of_their_own(store: refold.Store) -> None:
    """Both show the events that they share, and no id stands on the page twice."""
    store.branch("call-1").adding(UserUtterance(text="Thanks.")).save("call-1~more")
    streams = ["call-1", "call-1~more"]
    replay(store, streams, VARIANT, answer)
    found = Page(render_report(compare(store, streams, VARIANT), read=store.read))
    assert len(set(found.ids)) == len(found.ids)
    assert {"call-1@2", "call-1~more:call-1@2"} <= set(found.ids)


def unpacked(found: Page) -> list[tuple[str, str]]:
    """What is packed in a page: the anchors in each pack, and its HTML."""
    return [
        (one.attributes["data-names"], zlib.decompress(base64.b64decode(one.text)).decode())
        for one in found.all("template")
    ]


def test_long_lists_are_in_pages_and_every_item_is_there(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The first page stands there, the others are packed; nothing is lost or doubled."""
    opened = refold.open("memory:")
    for number in range(7):
        record(opened, f"call-{number}")
    whole = rendered(opened)
    assert not whole.all("template")
    for name in ("ROWS_A_PAGE", "TURNS_A_PAGE", "PLACES_A_PAGE"):
        monkeypatch.setattr(lists, name, 3)
    found = rendered(opened)
    packed = unpacked(found)
    assert [names for names, _ in packed if names] == [
        " ".join(f"conversation:call-{n}" for n in page) for page in ((3, 4, 5), (6,))
    ]
    every = Page(f"<main>{''.join(html for _, html in packed)}</main>")
    assert sorted(found.ids + every.ids) == sorted(whole.ids)
    links = Counter(found.links + every.links)
    assert links == Counter(whole.links)
    assert len(found.all("details", "conversation")) == 3


def first_page(count: int) -> tuple[int, int]:
    """How many elements, and bytes, a report on so many conversations has without what is packed.

    They differ in words, arguments and tools, and in some there is no answer.
    """
    opened = refold.open("memory:")
    for number in range(count):
        record(opened, f"call-{1_000 + number}")

    def changing(request: ChatRequest) -> Action:
        turn = int(request.at[5:9]) % 4
        if turn == 0:
            raise ModelFailure("no", kind="refused")
        if turn == 1:
            return Action(text="One moment.")
        return as_recorded(request) if turn == 2 else answer(request)

    page = Page(render_report(told(opened, changing), read=opened.read))
    packed = [e for e in page.elements if e.tag == "template"]
    return len(page.elements) - len(packed), len(page.text) - sum(len(e.text) for e in packed)


def test_what_stands_on_the_page_does_not_grow_with_the_conversations(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """However many there are: what a browser has to lay out first is bounded, and its size."""
    for name, size in (("ROWS_A_PAGE", 8), ("TURNS_A_PAGE", 8), ("PLACES_A_PAGE", 8)):
        monkeypatch.setattr(lists, name, size)
    monkeypatch.setattr(lists, "DIFFERING_SHOWN", 4)
    (few, few_bytes), (many, many_bytes) = first_page(48), first_page(144)
    assert many == few
    assert abs(many_bytes - few_bytes) < 100


def test_more_conversations_than_fit_are_counted_but_not_shown(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The first of them are shown turn by turn; the others are named without a link."""
    monkeypatch.setattr(lists, "CONVERSATIONS_SHOWN_MAX", 3)
    opened = refold.open("memory:")
    for number in range(5):
        record(opened, f"call-{number}")
    found = rendered(opened)
    assert len(found.all("details", "conversation")) == 3
    assert "conversation:call-4" not in found.ids
    assert "2 conversations" in found.by_id("side-by-side").text
    assert "5 recorded conversations" in found.text
    assert {link.removeprefix("#") for link in found.links} <= set(found.ids)


def test_nothing_replayed_is_said_plainly(store: refold.Store) -> None:
    """Without a single answer there is a page, and it claims nothing."""
    found = Page(render_report(compare(store, ["call-1"], VARIANT), read=store.read))
    assert "No decision was compared" in found.text
    assert "was not asked" in found.by_id("left-out").text


def test_costs_are_compared_only_where_both_are_known(store: refold.Store) -> None:
    """A conversation's difference in cost leaves out what the candidate did not answer.

    It was the sum of all recorded costs, taken off that of the few answers.
    """

    def half(request: ChatRequest) -> Action:
        if request.messages[-1]["role"] == "tool":
            raise ModelFailure("no", kind="refused")
        return Action(text="x", cost=Decimal("1.00"))

    costly = [
        ModelResponse(cost=Decimal("1.00"), message_id="m9"),
        AgentUtterance("Hm", message_id="m9"),
    ]
    record(store, "call-9", opening(), costly, asks_tool()[1:], costly)
    page = Page(render_report(told(store, half), read=store.read))
    rows = [row for row in page.all("tr") if "data-levels" in row.attributes]
    (row,) = (row for row in rows if "call-9" in row.text)
    assert page.inside(row, "td")[5].text == "+$0.00"
