"""A replay asks what is missing, keeps what came, and counts failures apart."""

import asyncio
import os
import signal
import threading
import time
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest

import refold
from refold.conversation.events import AgentUtterance, Usage, UserUtterance
from refold.errors import InvalidEvent, NotFound, UsageError
from refold.replay import (
    Action,
    Call,
    ChatRequest,
    Price,
    Variant,
    branch_name,
    compare,
    replay,
    select,
)
from refold.replay.decision import Decision
from refold.replay.request import RequestMaker
from tests.replay.stories import (
    BRANCH,
    VARIANT,
    as_recorded,
    asks_tool,
    levels,
    only_words,
    opening,
    record,
    run,
    tells,
    types_on,
)


@pytest.fixture
def store() -> refold.Store:
    return refold.open("memory:")


# -- what is recorded ------------------------------------------------------------------------------


def test_a_replay_is_a_branch_that_holds_the_answers_as_events(store: refold.Store) -> None:
    """It forks before the first decision; each answer says which decision it is to."""
    record(store, "call-1")
    run(store, workers=1)
    history = list(store.read(BRANCH))
    assert [event.id for event in history[:2]] == ["call-1@0", "call-1@1"]
    assert [event.type for event in history[2:]] == [
        "session.forked",
        "replay.started",
        "model.response",
        "tool.call",
        "model.response",
        "agent.utterance",
        "replay.finished",
    ]
    call, words = history[5], history[7]
    assert call.metadata == {"origin": "replay", "replay": {"at": "call-1@2", "index": 0}}
    assert words.metadata["replay"] == {"at": "call-1@5", "index": 1}
    assert (call.data["effect"], call.data["parsed"]) == ("read", {"id": "B1"})
    assert history[3].data == {"variant": {"label": "test"}, "mode": "next-step"}
    assert history[-1].data == {"answered": 2}


def test_the_summary_says_its_mode_and_what_that_does_not_show(store: refold.Store) -> None:
    """No figure goes without them."""
    record(store, "call-1")
    summary = run(store)
    assert summary.mode == "next-step"
    assert "does not show" in summary.not_measured
    assert (summary.conversations, summary.decisions, summary.answered) == (1, 2, 2)


@pytest.mark.parametrize("kind", ["dict", "async", "action"])
def test_a_candidate_may_be_any_kind_of_function(store: refold.Store, kind: str) -> None:
    """Sync or async, with an action or a message for an answer."""
    record(store, "call-1")

    async def later(request: ChatRequest) -> Action:
        return as_recorded(request)

    candidates = {"dict": only_words, "async": later, "action": as_recorded}
    run(store, candidates[kind])
    assert levels(store) == (["tools", "words"] if kind == "dict" else ["same", "same"])


def test_an_async_candidate_is_asked_several_times_at_once(store: refold.Store) -> None:
    """All workers share its loop, so one that waits does not hold up the others."""
    streams = [record(store, f"call-{n}") for n in range(4)]
    arrived: list[str] = []
    everyone_is_here = asyncio.Event()

    async def meet(request: ChatRequest) -> Action:
        arrived.append(request.at)
        if len(arrived) == 4:
            everyone_is_here.set()
        await asyncio.wait_for(everyone_is_here.wait(), 10)
        return Action(text="ok")

    assert run(store, meet, *streams, workers=4).answered == 8


# -- only what is missing --------------------------------------------------------------------------


def test_a_second_run_asks_nothing_and_writes_nothing(store: refold.Store) -> None:
    """Everything is there."""
    record(store, "call-1")
    run(store)
    before = store.log_head()
    summary = run(store)
    assert (summary.requests, summary.kept, summary.answered) == (0, 2, 0)
    assert store.log_head() == before


def test_what_was_added_to_a_conversation_is_asked_alone(store: refold.Store) -> None:
    """Answers to earlier decisions stay."""
    record(store, "call-1")
    run(store)
    record(store, "call-1", [UserUtterance(text="Thanks."), AgentUtterance(text="Bye.")])
    summary = run(store, only_words)
    assert (summary.requests, summary.kept, summary.answered) == (1, 2, 1)
    assert levels(store) == ["same", "same", "words"]
    assert types_on(store, BRANCH).count("replay.started") == 1
    assert list(store.read(BRANCH))[-1].data == {"answered": 3}


def test_other_variants_and_samples_are_runs_of_their_own(store: refold.Store) -> None:
    """Each has its branch; none sees another's answers."""
    record(store, "call-1")
    assert run(store).answered == 2
    assert run(store, sample=1).answered == 2
    assert replay(store, ["call-1"], Variant(), only_words).answered == 2
    assert levels(store) == ["same"] * 4
    assert levels(store, variant=Variant()) == ["tools", "words"]


def test_a_failed_decision_is_asked_again_by_the_next_run(store: refold.Store) -> None:
    """Failures are on the branch, counted apart, and an answer takes their place."""
    record(store, "call-1")

    def broken(request: ChatRequest) -> Action:
        raise ValueError("a bug")

    summary = run(store, broken)
    assert (summary.failed, summary.answered) == (2, 0)
    assert {failed.at for failed in summary.failures} == {"call-1@2", "call-1@5"}
    assert summary.failures[0].error == "error: the candidate raised ValueError: a bug"
    assert levels(store) == ["failed", "failed"]
    assert list(store.read(BRANCH))[-1].data == {"answered": 0, "failed": 2}
    assert (run(store).answered, levels(store)) == (2, ["same", "same"])
    assert list(store.read(BRANCH))[-1].data == {"answered": 2}


@pytest.mark.parametrize("commit", range(2, 8))
def test_an_interrupt_while_an_answer_is_recorded_keeps_it(commit: int) -> None:
    """Whatever commit it falls into: what was answered is not asked again.

    The answer that was just being recorded was lost.
    """
    commits = [0]

    def clock() -> int:
        commits[0] += 1
        if commits[0] == commit + 4:
            os.kill(os.getpid(), signal.SIGINT)
        return 1

    with refold.open("memory:", clock=clock) as store:
        record(store, "call-1", opening(), asks_tool(), tells(), [UserUtterance(text="Thanks.")])
        store.append("call-1", [AgentUtterance(text="At your service.")])
        asked: list[str] = []

        def candidate(request: ChatRequest) -> Action:
            asked.append(request.at)
            return as_recorded(request)

        with pytest.raises(KeyboardInterrupt):
            run(store, candidate, workers=1)
            # The last commit may be over before the signal is seen.
            time.sleep(10)
        assert run(store, candidate).failed == 0
        assert sorted(asked) == ["call-1@2", "call-1@5", "call-1@7"]


def test_two_runs_at_the_same_time_leave_one_answer_each(store: refold.Store) -> None:
    """Whoever comes second finds the key taken."""
    for n in range(5):
        record(store, f"call-{n}")
    streams = [f"call-{n}" for n in range(5)]
    both_planned = threading.Barrier(2)

    def start_together(done: int, total: int, cost: Decimal | None, failures: int) -> None:
        if (done, total) == (0, 10):
            both_planned.wait(10)

    errors: list[BaseException] = []

    def one(candidate: Callable[[ChatRequest], Any]) -> None:
        try:
            run(store, candidate, *streams, progress=start_together)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=one, args=(c,)) for c in (as_recorded, only_words)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    for stream in streams:
        branch = branch_name(stream, VARIANT)
        assert types_on(store, branch).count("model.response") == 2
        assert types_on(store, branch).count("replay.started") == 1
    assert run(store, as_recorded, *streams).requests == 0


# -- money, progress, selection --------------------------------------------------------------------


def test_cost_comes_from_the_provider_or_else_from_the_prices(store: refold.Store) -> None:
    """The provider's word first; then tokens by the model that answered or was asked for."""
    record(store, "call-1")
    usage = Usage(input_tokens=1_000, output_tokens=100, cached_tokens=400)

    def priced(request: ChatRequest) -> Action:
        if request.index == 0:
            return Action(text="x", usage=usage, model="small-2026-01-01")
        return Action(text="y", usage=usage, cost=Decimal("0.5"))

    price = Price(input=Decimal("2"), output=Decimal("8"), cached_input=Decimal("0.5"))
    costs: list[Decimal | None] = []
    summary = run(
        store,
        priced,
        prices={"small": price},
        workers=1,
        progress=lambda done, total, cost, failures: costs.append(cost),
    )
    assert summary.cost == Decimal("0.5022")
    assert costs == [None, Decimal("0.0022"), Decimal("0.5022")]
    assert summary.usage == Usage(input_tokens=2_000, output_tokens=200, cached_tokens=800)
    candidate = compare(store, ["call-1"], VARIANT).figures.candidate
    assert (candidate.cost, candidate.cost_known) == (Decimal("0.5022"), 2)


ODD_PRICES = [
    Decimal("NaN"), Decimal("Infinity"), Decimal(-1), Decimal("1E+999999"), "x", True, None, [1],
]  # fmt: skip


@pytest.mark.parametrize("said", ODD_PRICES)
def test_a_price_is_an_amount(said: Any) -> None:
    """What is none would cost a run its end, or its answers nothing."""
    with pytest.raises(UsageError) as error:
        Price(input=said, output=Decimal(1))
    assert error.value.argument == "input"


@pytest.mark.parametrize("said", [2.5, "2.5", Decimal("2.50")])
def test_a_price_is_taken_as_it_is_said(store: refold.Store, said: Any) -> None:
    """Costs are exact, however their price was written."""
    record(store, "call-1")
    usage = Usage(input_tokens=3, output_tokens=1)
    prices = {"small": Price(input=said, output=said)}
    summary = run(store, lambda _: Action(text="x", usage=usage, model="small"), prices=prices)
    assert summary.cost == Decimal("0.00002")


@pytest.mark.parametrize("prices", [5, [1], "small", {"small": 5}, {"small": {"input": "1"}}])
def test_prices_are_by_model(store: refold.Store, prices: Any) -> None:
    """Refused before anything is asked."""
    record(store, "call-1")
    with pytest.raises(UsageError) as error:
        run(store, prices=prices)
    assert error.value.argument == "prices"


def test_a_cost_that_is_not_known_is_none(store: refold.Store) -> None:
    """Not zero: nobody said that it was free."""
    record(store, "call-1")
    assert run(store).cost is None


def test_progress_tells_what_is_done_of_what_is_missing(store: refold.Store) -> None:
    """From nothing to everything, one decision at a time."""
    record(store, "call-1")
    told: list[tuple[int, int]] = []
    run(store, progress=lambda done, total, cost, failures: told.append((done, total)))
    assert told == [(0, 2), (1, 2), (2, 2)]


def test_conversations_are_selected_by_name_and_category(store: refold.Store) -> None:
    """Each once; what was replayed is not replayed in its turn."""
    for stream in ("call-1", "call-2", "mail-1"):
        record(store, stream)
    run(store)
    assert select(store, category="call") == ["call-1", "call-2"]
    assert select(store, streams=["mail-1", "call-2"], category="call") == [
        "mail-1",
        "call-2",
        "call-1",
    ]
    with pytest.raises(NotFound):
        select(store, streams=["call-9"])


@pytest.mark.parametrize(
    ("streams", "error"),
    [
        (["call-1", "call-9"], NotFound),
        ("call-1", UsageError),
        (["x" * 240], InvalidEvent),
        ([BRANCH], UsageError),
    ],
)
def test_wrong_streams_are_refused_before_anything_is_asked(
    store: refold.Store, streams: Any, error: type[Exception]
) -> None:
    """A typo must not cost money."""
    record(store, "call-1")
    record(store, "x" * 240)
    asked: list[ChatRequest] = []

    def counts(request: ChatRequest) -> Action:
        asked.append(request)
        return Action()

    with pytest.raises(error):
        replay(store, streams, VARIANT, counts)
    assert asked == []


@pytest.mark.parametrize(
    "options",
    [
        {"workers": 0},
        {"workers": 1_000},
        {"attempts_max": 0},
        {"requests_per_second": 0},
        {"mode": "free-run"},
    ],
)
def test_options_out_of_range_are_refused(store: refold.Store, options: dict[str, Any]) -> None:
    """The message says what they may be."""
    record(store, "call-1")
    with pytest.raises(UsageError):
        run(store, **options)


def test_a_conversation_without_decisions_leaves_no_branch(store: refold.Store) -> None:
    """There is nothing to replay, and nothing is recorded."""
    record(store, "call-1", opening())
    assert run(store).decisions == 0
    assert [info.stream for info in store.streams()] == ["call-1"]


def test_a_decision_may_be_the_first_event(store: refold.Store) -> None:
    """An agent that greets first decides on an empty history; the branch shares nothing."""
    record(store, "call-1", [AgentUtterance(text="Hello.")])
    assert run(store, only_words).answered == 1
    assert levels(store) == ["words"]


def test_what_is_more_than_words_is_stored_as_it_was_answered(store: refold.Store) -> None:
    """An image has no words that nobody said, and is compared as what it is."""
    store.append("call-1", tells())
    picture = {"type": "image_url", "image_url": {"url": "A"}}
    run(store, lambda _: {"role": "assistant", "content": [picture]})
    own = [event for event in store.read(BRANCH) if event.stream == BRANCH]
    (said,) = (event for event in own if event.type == "agent.utterance")
    assert (said.data["text"], said.data["parts"]) == ("", [picture])
    (decision,) = compare(store, ["call-1"], VARIANT).conversations[0].decisions
    assert decision.candidate is not None
    assert (decision.level, decision.candidate.shown) == ("words", "[image_url]")


def test_tool_calls_without_words_stay_without_words(store: refold.Store) -> None:
    """An utterance is recorded only where something was said, or nothing was done at all."""
    record(store, "call-1")

    def silent(request: ChatRequest) -> Action:
        return Action(calls=(Call("lookup"),)) if request.index else Action()

    run(store, silent, workers=1)
    own = [t for t in types_on(store, BRANCH) if t in ("agent.utterance", "tool.call")]
    assert own == ["agent.utterance", "tool.call"]


def test_a_category_without_streams_is_not_found(store: refold.Store) -> None:
    """A misspelled category is an error, not a replay of nothing."""
    with pytest.raises(refold.NotFound) as missing:
        select(store, category="cal")
    assert missing.value.category == "cal"


def test_questions_are_made_only_as_they_are_asked(
    store: refold.Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A long list of conversations is never all in memory."""
    made: list[str] = []
    asked: list[str] = []

    make = RequestMaker.at

    def counted(maker: RequestMaker, decision: Decision) -> list[ChatRequest]:
        made.append(decision.at)
        assert len(made) - len(asked) <= 3
        return make(maker, decision)

    def candidate(request: ChatRequest) -> Action:
        asked.append(request.at)
        return as_recorded(request)

    monkeypatch.setattr(RequestMaker, "at", counted)
    streams = [record(store, f"call-{n}") for n in range(10)]
    assert run(store, candidate, *streams, workers=2).answered == 20
    assert sorted(made) == sorted(asked)


def test_a_replay_runs_where_a_loop_is_running(store: refold.Store) -> None:
    """As in a notebook, whose cells run on one."""
    record(store, "call-1")

    async def cell() -> int:
        return run(store).answered

    assert asyncio.run(cell()) == 2
