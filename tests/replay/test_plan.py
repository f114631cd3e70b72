"""What a replay set out to do stands beside what came of it, and endpoints are kept apart."""

from __future__ import annotations

import re
from collections.abc import Callable

import msgspec
import pytest

import refold
from refold.errors import NotFound, UsageError
from refold.replay import (
    Action,
    ChatEndpoint,
    ChatRequest,
    ModelFailure,
    Variant,
    branch_name,
    compare,
    find_replay,
    replay,
    replays,
)
from refold.replay.accounting import Accounting
from refold.replay.compare import Comparison
from refold.replay.events import ReplayPlanned
from refold.replay.plan import STREAMS_AN_EVENT_MAX, answered_by, keep_plan, plan_of
from refold.replay.report import render_report, summary
from tests.replay.stories import VARIANT, as_message, as_recorded, record, run
from tests.support.chat_server import Body, ChatServer


@pytest.fixture
def store() -> refold.Store:
    return refold.open("memory:")


def words(text: str) -> Callable[[Body], Body]:
    return lambda _: {"role": "assistant", "content": text}


def words_of(compared: Comparison) -> str:
    """The text of a page, without what it is marked up with."""
    return re.sub(r"<[^>]+>", "", render_report(compared))


def fails_first(request: ChatRequest) -> Action:
    """A candidate that fails at the first decision of every conversation."""
    if request.index == 0:
        raise ModelFailure("no", kind="refused")
    return as_recorded(request)


def planned(endpoint: str | None = None) -> ReplayPlanned:
    """The terms of a run that declares nothing."""
    return ReplayPlanned(msgspec.to_builtins(VARIANT), 0, [], endpoint)


def stops_at_the_third(done: int, *_: object) -> None:
    if done == 3:
        raise KeyboardInterrupt


# -- what was never come to ------------------------------------------------------------------------


def test_a_run_that_was_cut_off_is_compared_over_all_that_it_was_to_ask(
    store: refold.Store,
) -> None:
    """Of 5 conversations with 2 decisions: one answered but for one, one begun, three not."""
    streams = [record(store, f"call-{n}") for n in range(5)]
    with pytest.raises(KeyboardInterrupt):
        run(store, fails_first, *streams, workers=1, progress=stops_at_the_third)
    one = find_replay(replays(store))
    assert one.conversations() == streams
    assert one.conversations(category="call") == streams
    figures = compare(store, one.conversations(), VARIANT).figures
    account = Accounting(decisions=10, answered=1, failed=2, missing=1, never_begun=6)
    assert figures.accounting == account
    assert figures.counts["missing"] == account.missing + account.never_begun
    told = one.run(store, 0)
    assert (told.decisions, told.answered, told.failed) == (10, 1, 2)
    assert (told.missing, told.never_begun, told.conversations) == (1, 6, 5)


def test_what_has_no_answer_stands_in_the_headline(store: refold.Store) -> None:
    """Of the text and of the page, whether or not anything differs."""
    streams = [record(store, f"call-{n}") for n in range(5)]
    with pytest.raises(KeyboardInterrupt):
        run(store, fails_first, *streams, workers=1, progress=stops_at_the_third)
    left = "9 of 10 have no answer: 2 failed, 1 missing, 6 never begun"
    compared = compare(store, streams, VARIANT)
    undecided = "Do not decide yet: the run is not complete."
    assert summary(compared).splitlines()[0] == f"{undecided} {left}"
    assert f"<h1>{undecided}</h1>" in render_report(compared)
    assert f" {left}." in words_of(compared)
    run(store, as_recorded, *streams)
    whole = compare(store, streams, VARIANT)
    assert "have no answer" not in summary(whole) + words_of(whole)
    other = compare(store, streams, Variant(label="not run"))
    assert summary(other).startswith(f"{undecided} 10 of 10 have no answer: 10 never")
    assert "No decision was compared" in summary(other)


def test_a_control_without_all_its_answers_says_so(store: refold.Store) -> None:
    """The noise floor of a part is none of the whole."""
    streams = [record(store, f"call-{n}") for n in range(2)]
    run(store, as_recorded, *streams)
    control = Variant(label="control")
    replay(store, streams[:1], control, as_recorded)
    compared = compare(store, streams, VARIANT, control=control)
    left = "2 of 4 have no answer: 2 never begun"
    assert f"of the control, {left}" in summary(compared)
    assert f"Of the control, {left}" in words_of(compared)


def test_plans_of_later_runs_add_up(store: refold.Store) -> None:
    """More conversations are added, the same are not told again; samples are apart."""
    streams = [record(store, f"call-{n}") for n in range(3)]
    run(store, as_recorded, *streams[:2])
    run(store, as_recorded, *streams[1:])
    run(store, as_recorded, *streams)
    run(store, as_recorded, streams[0], sample=1)
    plan = plan_of(store, VARIANT.id)
    assert plan is not None
    assert plan.streams == {0: streams, 1: streams[:1]}
    assert store.head(f"replay~plan-{VARIANT.id}") == 2
    with pytest.raises(NotFound):
        find_replay(replays(store)).conversations(2)


def test_a_plan_of_many_streams_is_kept_in_parts(store: refold.Store) -> None:
    """No event grows without bound."""
    many = [f"call-{n}" for n in range(2 * STREAMS_AN_EVENT_MAX + 1)]
    for _ in range(2):
        keep_plan(store, planned(), dict.fromkeys(many, 0))
    plan = plan_of(store, VARIANT.id)
    assert plan is not None
    assert (plan.streams, store.head(f"replay~plan-{VARIANT.id}")) == ({0: many}, 2)


# -- whom it asks ----------------------------------------------------------------------------------


def test_a_second_endpoint_is_asked_and_kept_apart(store: refold.Store) -> None:
    """Each is asked once, however often they take turns; each has its own branches and figures."""
    record(store, "call-1")
    with ChatServer(as_message) as one, ChatServer(words("No.")) as other:
        first = run(store, ChatEndpoint(one.base_url))
        second = run(store, ChatEndpoint(other.base_url))
        for _ in range(2):
            assert run(store, ChatEndpoint(one.base_url)).kept == 2
            assert run(store, ChatEndpoint(other.base_url)).kept == 2
        assert (len(one.requests), len(other.requests)) == (2, 2)
    assert (first.variant, second.kept) == (VARIANT, 0)
    assert second.variant.endpoint == f"{other.base_url}/chat/completions"
    assert second.variant_id == second.variant.id != VARIANT.id
    counts = [compare(store, ["call-1"], of.variant).figures.counts for of in (first, second)]
    assert [count["same"] for count in counts] == [2, 0]
    assert {found.variant.id for found in replays(store)} == {first.variant_id, second.variant_id}


def test_a_function_is_no_endpoint(store: refold.Store) -> None:
    """Answers of either do not pass for those of the other; two functions a label tells apart."""
    record(store, "call-1")
    with ChatServer(as_message) as server:
        assert run(store, ChatEndpoint(server.base_url)).answered == 2
        second = run(store, as_recorded)
        assert (second.kept, second.variant.endpoint) == (0, "a function")
        assert run(store, as_recorded).kept == 2
        other = Variant(label="other")
        assert replay(store, ["call-1"], other, as_recorded).variant == other
        assert replay(store, ["call-1"], other, ChatEndpoint(server.base_url)).kept == 0


def test_an_endpoint_that_the_variant_does_not_name_is_refused(store: refold.Store) -> None:
    """Its answers would stand under the other's name."""
    named = Variant(endpoint="http://127.0.0.1:9/v1/chat/completions")
    with pytest.raises(UsageError, match="is of the endpoint"):
        answered_by(store, named, None)
    assert answered_by(store, named, named.endpoint) is named


def test_two_endpoints_that_begin_at_once_are_not_mixed(store: refold.Store) -> None:
    """The one whose plan came second ends, and nothing of it is kept."""
    record(store, "call-1")

    def late(request: ChatRequest) -> Action:
        keep_plan(store, planned("http://127.0.0.1:9/v1"), {"call-1": 0})
        return as_recorded(request)

    with pytest.raises(UsageError, match="start again"):
        run(store, late, workers=1)
    assert store.head(branch_name("call-1", VARIANT)) == -1
