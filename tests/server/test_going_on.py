"""A conversation that is told trace by trace is told from where it was: the same as all anew."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import refold
from refold.conversation import governance
from refold.conversation.importers import otlp as importer
from refold.privacy.decisions import STREAM as REMOVALS
from refold.server import received, talks
from refold.server.received import ORPHANED_S, Teller, take
from tests.conversation.importers.traces import otlp
from tests.server.spans import (
    AGENT,
    CHAT,
    NAMED,
    TOOL,
    chat,
    log_document,
    logged,
    parts,
    sent,
    told,
)


def message(role: str, text: str) -> dict[str, Any]:
    return {"role": role, "parts": [{"type": "text", "content": text}]}


def asked_tool(turn: int) -> list[Any]:
    """A call of a tool and its result."""
    call = {"type": "tool_call", "id": f"c{turn}", "name": "weather", "arguments": {"n": turn}}
    result = {"type": "tool_call_response", "id": f"c{turn}", "response": f"sunny {turn}"}
    return [{"role": "assistant", "parts": [call]}, {"role": "tool", "parts": [result]}]


def conversation(kinds: list[str]) -> list[list[Any]]:
    """The spans of each turn, of which a request repeats all that was said before."""
    history: list[Any] = []
    made: list[list[Any]] = []
    for turn, kind in enumerate(kinds, 1):
        number, at_s = turn * 10, turn * 10.0
        history.append(message("user", f"question {turn}"))
        own = {**NAMED, "gen_ai.conversation.id": "another"} if kind == "another" else NAMED
        root = sent(number, turn, at_s, at_s + 9, AGENT)
        spans = [root]
        if kind in ("tool", "open"):
            call, result = asked_tool(turn)
            asking = chat([*history], [call], **own)
            spans.append(sent(number + 1, turn, at_s, at_s + 1, asking, parent=number))
            ran = {**TOOL, "gen_ai.tool.call.id": f"c{turn}"}
            spans.append(sent(number + 2, turn, at_s + 1, at_s + 2, ran, parent=number))
            history += [call, result]
        if kind == "odd":
            spans.append(sent(number + 4, turn, at_s + 2, at_s + 3, {**CHAT, **own}, parent=number))
        if kind == "beside":
            aside = chat([message("user", f"aside {turn}")], [message("assistant", "Done.")])
            spans.append(sent(number + 5, turn, at_s + 3, at_s + 4, aside, parent=number))
        if kind == "web":
            spans = [sent(number, turn, at_s, at_s + 9, {"session.id": "talk 1"})]
        elif kind != "open":
            says = message("assistant", f"answer {turn}")
            calls = chat([*history], [says], **own)
            spans.append(sent(number + 3, turn, at_s + 5, at_s + 6, calls, parent=number))
            history.append(says)
        made.append(spans)
    return made


def said(store: refold.Store) -> list[Any]:
    """What was told, and what was lost in it."""
    return [told(store), [one.data for one in store.read(received.TOLD)]]


KINDS = st.sampled_from(["plain"] * 4 + ["tool", "open", "odd", "beside", "web", "another"])


@st.composite
def deliveries(draw: st.DrawFn) -> list[list[Any]]:
    """The turns in about their order, some of them later, in pieces, together or again."""
    whole = conversation(draw(st.lists(KINDS, min_size=2, max_size=8)))
    made: list[tuple[float, Any]] = []
    for turn, spans in enumerate(whole):
        late = draw(st.sampled_from([0.0, 0.0, 0.0, 0.0, 2.5]))
        for span in spans:
            made.append((turn + late, span))
            if draw(st.integers(0, 9)) == 0:
                made.append((turn + draw(st.sampled_from([1.0, 2.0])), span))
            if draw(st.integers(0, 19)) == 0:
                later = {**span, "endTimeUnixNano": str(int(span["endTimeUnixNano"]) + 5)}
                made.append((turn + 2.0, later))
    step = draw(st.sampled_from([1.0, 1.0, 2.0]))
    batches: dict[int, list[Any]] = {}
    for at, span in made:
        batches.setdefault(int(at / step), []).append(span)
    return [batches[at] for at in sorted(batches)]


@settings(max_examples=30, deadline=None)
@given(deliveries(), st.sampled_from([received.SETTLED_S, ORPHANED_S]))
def test_going_on_is_the_same_as_telling_all_anew(
    batches: list[list[Any]], waited_s: float
) -> None:
    """Whatever came late, in pieces or again; a server that starts knows nothing."""
    with refold.open("memory:") as going_on, refold.open("memory:") as anew:
        teller = Teller(going_on)
        fresh = Teller(anew)
        for number, spans in enumerate(batches):
            for store, one in ((going_on, teller), (anew, fresh)):
                assert take(store, parts(otlp(*spans))) == []
                one.tell(now_s=number * 10_000)
                fresh._talks = talks.ToldTalks()
                one.tell(now_s=number * 10_000 + waited_s)
        assert said(going_on) == said(anew)


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """The ids of the spans that were read, each as often as it was."""
    ids: list[str] = []
    kept = importer._span

    def counted(row: Any, *args: Any) -> Any:
        ids.append(row["spanId"])
        return kept(row, *args)

    monkeypatch.setattr(importer, "_span", counted)
    yield ids


def tell(teller: Teller, store: refold.Store, spans: list[Any], at_s: int) -> None:
    assert take(store, parts(otlp(*spans))) == []
    teller.tell(now_s=at_s)
    report = teller.tell(now_s=at_s + ORPHANED_S)
    assert report is not None
    assert report.problems == []


def test_each_span_is_read_once(read: list[str]) -> None:
    """However long the conversation was before; by a server that starts, all once more."""
    whole = conversation(["tool", "plain", "web", "odd", "beside", "plain"] * 2)
    with refold.open("memory:") as store:
        teller = Teller(store)
        for number, spans in enumerate(whole[:-2]):
            tell(teller, store, spans, number * 1_000)
        assert len(read) == len(set(read)) == sum(map(len, whole[:-2]))
        again = Teller(store)
        tell(again, store, whole[-2], 20_000)
        assert len(read) == sum(map(len, whole[:-2])) + sum(map(len, whole[:-1]))
        tell(again, store, whole[-1], 30_000)
        assert len(read) == sum(map(len, whole[:-2])) + sum(map(len, whole))


def test_two_servers_of_one_store_tell_in_turns() -> None:
    """Neither knows what the other told but by the log: each tells what is not there yet."""
    whole = conversation(["plain"] * 6)
    with refold.open("memory:") as store, refold.open("memory:") as alone:
        both = [Teller(store), Teller(store)]
        for number, spans in enumerate(whole):
            assert take(store, parts(otlp(*spans))) == []
            for teller in both[:: 1 if number % 2 else -1]:
                teller.tell(now_s=number * 1_000)
            for teller in both[:: 1 if number % 2 else -1]:
                teller.tell(now_s=number * 1_000 + ORPHANED_S)
            tell(Teller(alone), alone, spans, number * 1_000)
        assert told(store) == told(alone)


def test_what_is_removed_is_not_told_from_memory(read: list[str]) -> None:
    """Something was redacted: all is read anew."""
    whole = conversation(["plain"] * 3)
    with refold.open("memory:") as store:
        teller = Teller(store)
        tell(teller, store, whole[0], 0)
        tell(teller, store, whole[1], 1_000)
        assert len(read) == 4
        store.append(REMOVALS, [governance.RedactionCompleted("a redaction")])
        tell(teller, store, whole[2], 2_000)
        assert len(read) == 10


def test_what_is_kept_in_memory_is_bounded(
    read: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A conversation beyond it is read anew, and told the same."""
    monkeypatch.setattr(talks, "KEPT_CHARS_MAX", 1)
    whole = conversation(["plain"] * 3)
    with refold.open("memory:") as store:
        teller = Teller(store)
        for number, spans in enumerate(whole):
            tell(teller, store, spans, number * 1_000)
        assert len(read) == 2 + 4 + 6


def both(first: list[list[Any]], *then: list[Any]) -> tuple[list[Any], list[Any]]:
    """What one server says of turns and then of requests, and what one that starts each time."""
    made: list[list[Any]] = []
    for goes_on in (True, False):
        with refold.open("memory:") as store:
            teller = Teller(store)
            for number, spans in enumerate(first):
                tell(teller, store, spans, number * 1_000)
            for number, requests in enumerate(then, len(first)):
                teller = teller if goes_on else Teller(store)
                assert [why for one in requests for why in take(store, parts(one))] == []
                teller.tell(now_s=number * 1_000)
                teller.tell(now_s=number * 1_000 + ORPHANED_S)
            made.append(said(store))
    return made[0], made[1]


def test_a_log_record_of_an_earlier_span_is_told_of_it() -> None:
    """Even where it comes in the trace of a later turn."""
    whole = conversation(["plain"] * 2)
    details = {**NAMED, "gen_ai.response.id": "r1"}
    record = logged(13, 2, "gen_ai.client.inference.operation.details", details, 10)
    going_on, anew = both([whole[0]], [log_document(record), otlp(*whole[1])])
    assert going_on == anew


def test_a_turn_that_comes_after_a_later_one_is_told_as_if_all_were() -> None:
    """It does not go on from what was told after it."""
    whole = conversation(["plain", "beside", "plain", "tool", "plain"])
    late = [[otlp(*whole[turn])] for turn in (1, 4, 3)]
    going_on, anew = both([whole[0], whole[2]], *late)
    assert going_on == anew
