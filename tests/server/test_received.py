"""Spans are kept as they come and told when their trace has ended: the import of them all."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import refold
from refold.conversation import Conversation
from refold.conversation.importers import import_files
from refold.server import received
from refold.server.received import ORPHANED_S, SETTLED_S, Teller, take
from tests.conversation.importers.traces import otlp
from tests.server.spans import (
    CALLS,
    CHAT,
    NAMED,
    SAYS,
    USER,
    chat,
    log_document,
    logged,
    parts,
    sent,
    told,
    turns,
)  # fmt: skip

LOGS = [
    logged(7, 4, "gen_ai.user.message", {"content": "Hello"}, 10),
    logged(7, 4, "gen_ai.choice", {"message": json.dumps({"content": "Hi"})}, 20),
]
BY_LOGS = sent(7, 4, 0, 1, CHAT)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[refold.Store]:
    """The store of a server."""
    with refold.open(str(tmp_path / "served.db")) as made:
        yield made


@pytest.fixture
def imported(tmp_path: Path) -> Iterator[refold.Store]:
    """A store to import whole files into."""
    with refold.open("memory:") as store:
        yield store


def by_import(store: refold.Store, path: Path, *documents: Any) -> list[Any]:
    path.write_text("".join(json.dumps(one) + "\n" for one in documents))
    report = import_files(store, "otlp", [path])
    assert report.problems == []
    return told(store)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> list[Any]:
    """What the import of all that is sent says."""
    path = tmp_path_factory.mktemp("whole") / "t.jsonl"
    with refold.open("memory:") as store:
        return by_import(store, path, otlp(*turns(), BY_LOGS), log_document(*LOGS))


@st.composite
def requests(draw: st.DrawFn) -> list[Any]:
    """All that is sent in requests of any size and order, some of it several times.

    None stands for the server's end and new start.
    """
    records = [(one, True) for one in [*turns(), BY_LOGS]] + [(one, False) for one in LOGS]
    records += draw(st.lists(st.sampled_from(records), max_size=5))
    shuffled = draw(st.permutations(records))
    cuts = sorted(draw(st.sets(st.integers(1, len(shuffled) - 1), max_size=6)))
    made: list[Any] = []
    for first, end in pairwise([0, *cuts, len(shuffled)]):
        spans = [one for one, is_span in shuffled[first:end] if is_span]
        logs = [one for one, is_span in shuffled[first:end] if not is_span]
        made += [otlp(*spans)] * bool(spans) + [log_document(*logs)] * bool(logs)
    made.insert(draw(st.integers(0, len(made))), None)
    return made


@settings(max_examples=60, deadline=None)
@given(requests())
def test_any_cut_order_and_repetition_is_the_import_of_it_all(
    whole: list[Any], made: Sequence[Any]
) -> None:
    """Also where the server ends in between, and where it looks after each request."""
    with refold.open("memory:") as store:
        teller = Teller(store)
        for number, request in enumerate(made):
            if request is None:
                teller = Teller(store)
            else:
                assert take(store, parts(request)) == []
            teller.tell(now_s=number / 100)
        teller.tell(now_s=ORPHANED_S * 2)
        assert told(store) == whole
        assert teller.tell(now_s=ORPHANED_S * 4) is None


def kept(store: refold.Store, *spans: Any) -> None:
    assert take(store, parts(otlp(*spans))) == []


def told_events(store: refold.Store) -> list[Any]:
    return [one.data for one in store.read(received.TOLD)]


def test_a_trace_is_told_when_it_is_whole_and_silent(store: refold.Store) -> None:
    """Not while a parent is missing, nor at once: other services send later."""
    teller = Teller(store)
    root, first, tool, second, *_ = turns()
    kept(store, first, tool)
    assert teller.tell(now_s=0) is None
    assert teller.tell(now_s=ORPHANED_S - 1) is None
    kept(store, second, root)
    assert teller.tell(now_s=ORPHANED_S) is None
    assert teller.tell(now_s=ORPHANED_S + SETTLED_S - 1) is None
    report = teller.tell(now_s=ORPHANED_S + SETTLED_S)
    assert report is not None
    assert (report.imported, report.loss, report.problems) == (1, [], [])
    state = store.fold("otlp-talk_1", Conversation).state
    assert [turn.text for turn in state.transcript] == ["Weather?", "Sunny."]
    assert state.agent is not None
    assert state.agent.agent == "Ada"


def test_what_others_wrote_in_its_streams_ends_no_telling(store: refold.Store) -> None:
    """Nor what is left of a span that was redacted whole."""
    trace = f"{1:032x}"
    odd: list[Any] = [
        {},
        None,
        {"record": 5},
        {"record": {"traceId": trace, "spanId": "x"}},
        "\ud7ff",
    ]
    for one in [*odd, {"record": {"traceId": trace, "spanId": "x", "startTimeUnixNano": "soon"}}]:
        store.append(f"otlp_received-{trace}", [refold.Event("otlp.span", one)])
    said: list[Any] = [None, {"until": 10**9}, {"until": "all"}, [1]]
    store.append(received.TOLD, [refold.Event("otlp.told", data) for data in said])
    store.append(received.TOLD, [refold.Event("note.taken", {"until": 1})])
    teller = Teller(store)
    kept(store, *turns()[:4])
    assert teller.tell(now_s=0) is None
    report = teller.tell(now_s=SETTLED_S)
    assert report is not None
    assert (report.imported, report.problems) == (1, [])
    kept(store, *turns()[4:])
    again = Teller(store)
    again.tell(now_s=0)
    more = again.tell(now_s=SETTLED_S)
    assert more is not None
    assert (more.imported, more.grown, more.problems) == (1, 1, [])


def test_a_parent_that_never_comes_is_not_waited_for_for_ever(store: refold.Store) -> None:
    """As where whoever called the agent exports to elsewhere."""
    teller = Teller(store)
    kept(store, sent(2, 1, 0, 1, chat([USER], [SAYS]), parent=99))
    assert teller.tell(now_s=0) is None
    report = teller.tell(now_s=ORPHANED_S)
    assert report is not None
    assert report.imported == 1


def test_turns_told_one_by_one_are_the_import_of_them_all(
    store: refold.Store, imported: refold.Store, tmp_path: Path
) -> None:
    """Each goes on what was told."""
    teller = Teller(store)
    for number, spans in enumerate([turns()[:4], turns()[4:]]):
        kept(store, *spans)
        assert teller.tell(now_s=number * 100) is None
        report = teller.tell(now_s=number * 100 + SETTLED_S)
        assert report is not None
        assert (report.loss, report.problems) == ([], [])
    assert told(store) == by_import(imported, tmp_path / "t.jsonl", otlp(*turns()))


def test_a_turn_waits_for_an_earlier_one_that_is_not_whole(
    store: refold.Store, imported: refold.Store, tmp_path: Path
) -> None:
    """Else what was told of a conversation would not begin with its beginning."""
    teller = Teller(store)
    kept(store, *turns()[1:5])
    teller.tell(now_s=0)
    teller.tell(now_s=SETTLED_S)
    assert told(store) == []
    kept(store, turns()[0])
    teller.tell(now_s=SETTLED_S + 1)
    report = teller.tell(now_s=SETTLED_S * 2 + 1)
    assert report is not None
    assert told(store) == by_import(imported, tmp_path / "t.jsonl", otlp(*turns()[:5]))


def test_what_comes_late_is_told_where_it_goes_on_and_else_as_a_problem(
    store: refold.Store,
) -> None:
    """Nothing that was told changes."""
    teller = Teller(store)
    root, first, tool, second, *_ = turns()
    kept(store, root, first)
    teller.tell(now_s=0)
    teller.tell(now_s=SETTLED_S)
    before = told(store)
    kept(store, second)
    teller.tell(now_s=100)
    report = teller.tell(now_s=100 + SETTLED_S)
    assert report is not None
    assert (report.grown, report.problems) == (1, [])
    assert [one for one in before if one not in told(store)] == []
    kept(store, sent(8, 1, 0.5, 0.6, chat([USER], [CALLS]), parent=1), tool)
    teller.tell(now_s=200)
    report = teller.tell(now_s=200 + SETTLED_S)
    assert report is not None
    [problem] = report.problems
    assert "otlp-talk_1" in problem.message
    assert told_events(store)[-1]["problems"] == [[*problem]]


def test_losses_are_counted_and_told_in_the_log(store: refold.Store) -> None:
    """With the span that they are of."""
    kept(store, sent(6, 3, 0, 1, CHAT))
    teller = Teller(store)
    teller.tell(now_s=0)
    teller.tell(now_s=SETTLED_S)
    [said] = told_events(store)
    assert (said["imported"], said["loss_count"]) == (1, 2)
    assert [pointer for _, _, pointer in said["loss"]] == [f"otlp_received-{3:032x}@0/record"] * 2


def test_a_trace_without_a_call_is_told_as_nothing(store: refold.Store) -> None:
    """A request of the web, say; it is not looked at again."""
    kept(store, sent(6, 3, 0, 1, {"http.request.method": "GET"}))
    teller = Teller(store)
    teller.tell(now_s=0)
    assert teller.tell(now_s=SETTLED_S) is not None
    assert (told(store), Teller(store).tell(now_s=SETTLED_S)) == ([], None)


def test_beyond_the_limit_the_trace_that_was_silent_longest_is_told(
    store: refold.Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What waits is bounded."""
    monkeypatch.setattr(received, "WAITING_MAX", 1)
    teller = Teller(store)
    kept(store, sent(2, 1, 0, 1, chat([USER], [SAYS]), parent=99))
    assert teller.tell(now_s=0) is None
    kept(store, sent(3, 2, 0, 1, chat([USER], [SAYS]), parent=99))
    report = teller.tell(now_s=1)
    assert report is not None
    assert {one[0] for one in told(store)} == {f"otlp-{1:032x}"}


def test_a_record_that_the_store_refuses_costs_itself_alone(store: refold.Store) -> None:
    """It is told to the exporter, which must not send it again."""
    odd = sent(8, 1, 0, 1, CHAT | {"x": "x" * (9 << 20)})
    [why] = take(store, parts(otlp(odd, *turns()[:4])))
    assert f"{8:016x}" in why
    assert len([*store.read(f"otlp_received-{1:032x}")]) == 4


def test_what_comes_again_from_elsewhere_is_one(store: refold.Store) -> None:
    """A collector may say another resource; the first is kept."""
    kept(store, turns()[5])
    other = otlp(turns()[5])
    other["resourceSpans"][0]["resource"] = {"attributes": []}
    again = [{**part, "resource": {"attributes": [{"key": "x"}]}} for part in parts(other)]
    assert take(store, again) == []
    assert store.head(f"otlp_received-{3:032x}") == 0


def test_the_conversation_is_named_where_logs_name_it(store: refold.Store) -> None:
    """The details of a call may be a log record beside a span that says nothing."""
    details = {**NAMED, "gen_ai.input.messages": [USER], "gen_ai.output.messages": [SAYS]}
    kept(store, sent(7, 4, 0, 1, CHAT), sent(8, 5, 2, 3, CHAT))
    for number, trace in ((7, 4), (8, 5)):
        record = logged(number, trace, "gen_ai.client.inference.operation.details", details, number)
        assert take(store, parts(log_document(record))) == []
    teller = Teller(store)
    teller.tell(now_s=0)
    teller.tell(now_s=SETTLED_S)
    assert {one[0] for one in told(store)} == {"otlp-talk_1", "otlp-talk_1.2"}


def test_a_trace_that_waited_when_the_server_ended_is_told_by_the_next(store: refold.Store) -> None:
    """Also where another, that came after it began, was told before."""
    teller = Teller(store)
    kept(store, turns()[5])
    teller.tell(now_s=0)
    kept(store, *turns()[:4])
    assert teller.tell(now_s=SETTLED_S) is not None
    assert [one["traces"] for one in told_events(store)] == [[f"{3:032x}"]]
    after = Teller(store)
    assert after.tell(now_s=0) is None
    report = after.tell(now_s=SETTLED_S)
    assert report is not None
    assert (report.imported, store.head("otlp-talk_1") >= 0) == (1, True)
    assert Teller(store).tell(now_s=ORPHANED_S) is None
