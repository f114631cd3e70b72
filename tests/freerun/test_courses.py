"""A candidate goes on with its own answers: what is the same course, and what is not."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

import refold
from refold.conversation import Conversation
from refold.conversation.events import (
    AgentConfigured,
    AgentUtterance,
    Tool,
    Usage,
    UserUtterance,
)
from refold.freerun import Fixed, FreeRun, LiveRead, ToolPolicies
from refold.replay import (
    Call,
    ChatRequest,
    ModelFailure,
    branch_name,
    compare,
    normalising,
    replay,
    replays,
)
from refold.replay import course as course_module
from tests.freerun.courses import (
    AS_RECORDED,
    BOOK,
    CONFIGURED,
    LOOK,
    NOTE,
    PRICE,
    VARIANT,
    called,
    calls,
    one,
    record,
    says,
    scripted,
    walked,
)
from tests.support.stores import url_of


@pytest.fixture(params=["memory", "sqlite", "postgres"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[refold.Store]:
    with refold.open(url_of(request.param, tmp_path)) as opened:
        record(opened)
        yield opened


def test_who_does_what_was_recorded_comes_to_the_same_end(store: refold.Store) -> None:
    """All decisions are comparable, and the branch holds a whole conversation of its own."""
    compared = walked(store, scripted(AS_RECORDED))
    course = compared.figures.course
    assert course is not None
    assert (course.decisions, course.comparable, course.same, course.conversations) == (7, 7, 1, 1)
    assert compared.mode == compared.figures.mode == "free-run"
    found = one(compared)
    assert [d.level for d in found.decisions] == ["same"] * 7
    assert found.same_action is True
    state = store.fold(found.branch, Conversation).state
    assert [line.text for line in state.transcript if line.role == "user"] == [
        *["A room for Tuesday?", "Yes, that one.", "Thanks."]
    ]
    assert (state.state, state.end_reason) == ({"booking": "B7"}, "completed")
    assert state.money.net == {"USD": 80}


SAME_COURSES: dict[str, Any] = {
    "two answers in one": [
        *[calls(LOOK), calls(PRICE), says("There is room 4.")],
        *[calls(BOOK, NOTE), says("All done."), says("So long.")],
    ],
    "one answer in two, and words before the calls": [
        *[says("x"), calls(LOOK), calls(PRICE), says("There is room 4.")][1:],
        *[calls(BOOK), calls(NOTE), says("Done."), says("Bye.")],
    ],
    "another order": [
        *[calls(PRICE, LOOK), says("Room 4?"), calls(NOTE), calls(BOOK), says("Done."), says("Bye")]
    ],
}


@pytest.mark.parametrize("script", SAME_COURSES.values(), ids=SAME_COURSES)
def test_other_words_answers_and_orders_are_no_divergence(store: refold.Store, script: Any) -> None:
    """What counts is what was done in a turn, and what state and money it came to."""
    compared = walked(store, scripted(script))
    course = compared.figures.course
    assert course is not None
    assert (course.comparable, course.same) == (7, 1)
    assert all(d.level in ("same", "words") for d in one(compared).decisions)
    assert one(compared).led is not None
    assert compared.partings == 0


@pytest.mark.parametrize(("cost", "known"), [(Decimal("0.01"), 7), (None, 0)])
def test_what_needed_no_answer_took_nothing(
    store: refold.Store, cost: Decimal | None, known: int
) -> None:
    """Two calls in one answer: all that the turn took is known, where the answers' is."""
    script = [replace(each, cost=cost, latency_ms=5) for each in SAME_COURSES["another order"]]
    figures = walked(store, scripted(script)).figures.candidate
    assert (figures.cost, figures.cost_known) == (cost and 6 * cost, known)
    assert figures.latency is not None and figures.latency.count == 6


def test_what_is_read_may_be_read_earlier(store: refold.Store) -> None:
    """In a turn before, as nothing was changed since that it would have seen."""
    reads = [*called(1, "look", '{"day": "Tue"}', "m1", "4"), AgentUtterance(text="Four.")]
    more = [*called(2, "price", '{"room": 4}', "m2", "80"), AgentUtterance(text="Eighty.")]
    user = UserUtterance(text="And the price?")
    store.append("call-3", [CONFIGURED, UserUtterance(text="Free?"), *reads, user, *more])
    compared = walked(store, scripted([calls(LOOK, PRICE), says("4."), says("80.")]), "call-3")
    assert (compared.partings, one(compared).same_action) == (0, True)


OTHER_COURSES: dict[str, Any] = {
    "it does not call": ([says("No room.")], 0, "other_calls"),
    "it books before it was told to": ([calls(LOOK), calls(PRICE), calls(BOOK)], 2, "other_calls"),
    "it books another room": ([*AS_RECORDED[:3], calls(("book", '{"room": 5}'))], 3, "other_calls"),
    "it says nothing": ([*AS_RECORDED[:2], says("")], 2, "broken_answer"),
    "it calls on and on": ([*AS_RECORDED[:5], calls(), calls(BOOK)], 5, "broken_answer"),
    "it reads again after its change": ([*AS_RECORDED[:4], calls(LOOK)], 4, "other_calls"),
    "it answers before it has read": (
        [calls(LOOK), says("Eighty."), *AS_RECORDED[3:]],
        1,
        "other_calls",
    ),
    "it leaves out a call at the end": (
        [*AS_RECORDED[:4], says("Booked."), says("Bye.")],
        4,
        "other_calls",
    ),
}


@pytest.mark.parametrize(("script", "index", "reason"), OTHER_COURSES.values(), ids=OTHER_COURSES)
def test_what_is_done_otherwise_is_the_first_divergence(
    store: refold.Store, script: Any, index: int, reason: str
) -> None:
    """All before is comparable, all after is conditional; it adds up to what was recorded."""
    compared = walked(store, scripted(script))
    course = compared.figures.course
    assert course is not None
    assert course.is_whole
    assert (course.decisions, course.comparable, course.diverged) == (7, index, {reason: 1})
    assert course.conditional == 7 - index - 1
    found = one(compared)
    assert (found.first_divergence, found.same_action) == (index, False)
    (diverged,) = [e for e in store.read(found.branch) if e.type == "replay.diverged"]
    assert (diverged.data["at"], diverged.data["reason"]) == (found.decisions[index].at, reason)
    assert compared.figures.by_decision.trials + compared.figures.not_assessed == index + 1
    account = compared.figures.accounting
    assert (account.conditional, account.missing, account.failed) == (7 - index - 1, 0, 0)


def test_a_service_that_fails_is_no_divergence_and_the_next_run_goes_on(
    store: refold.Store,
) -> None:
    """The walk stops where it got no answer; what was come to stays, and the rest is asked."""
    good, asked = scripted(AS_RECORDED), list[int]()

    def fails_at_the_fourth(request: Any) -> Any:
        asked.append(len(request.messages))
        if len(asked) == 4:
            raise ModelFailure("down", kind="error")
        return good(request)

    compared = walked(store, fails_at_the_fourth)
    course = compared.figures.course
    assert course is not None
    assert (course.comparable, course.diverged) == (3, {})
    assert course.excluded == {"infrastructure": 1, "not asked": 3}
    assert course.is_whole
    compared = walked(store, fails_at_the_fourth)
    assert compared.figures.course is not None
    assert compared.figures.course.same == 1
    assert len(asked) == 3 + 1 + 4
    assert walked(store, fails_at_the_fourth).figures.course == compared.figures.course
    assert len(asked) == 8


def test_a_course_that_outgrew_its_candidate_is_excluded_from_there(store: refold.Store) -> None:
    """A request longer than it takes is told as that, and is no other course."""
    good, asked = scripted(AS_RECORDED), list[int]()

    def takes_three(request: Any) -> Any:
        asked.append(len(request.messages))
        if len(asked) == 4:
            raise ModelFailure("the prompt is too long: maximum context length", kind="refused")
        return good(request)

    course = walked(store, takes_three).figures.course
    assert course is not None
    assert (course.comparable, course.diverged, course.excluded) == (
        *(3, {}, {"prompt_too_long": 4}),
    )


def test_a_conversation_that_the_record_cannot_answer_is_excluded(store: refold.Store) -> None:
    """The same call without a result on record is no difference of the candidate's."""
    events = [e.event for e in store.read("call-1")]
    without = [e for e in events if getattr(e, "call_id", "") != "c3" or hasattr(e, "arguments")]
    store.append("call-2", without)
    compared = walked(store, scripted(AS_RECORDED), "call-2")
    course = compared.figures.course
    assert course is not None
    assert (course.comparable, course.diverged, course.excluded) == (
        *(3, {}, {"no_recorded_result": 4}),
    )


def test_the_answers_of_two_modes_are_kept_apart(store: refold.Store) -> None:
    """Each mode has a variant of its own, so no figure mixes them."""
    replay(store, ["call-1"], VARIANT, scripted(AS_RECORDED))
    free = walked(store, scripted(AS_RECORDED))
    assert compare(store, ["call-1"], VARIANT).mode == "next-step"
    assert free.variant_id != VARIANT.id
    runs = {run.mode: run for each in replays(store) for run in [each.run(store, 0)]}
    assert {mode: run.answered for mode, run in runs.items()} == {"next-step": 7, "free-run": 7}
    assert branch_name("call-1", free.variant) == one(free).branch


def test_what_was_read_live_is_not_read_again_by_the_next_run(store: refold.Store) -> None:
    """What it gave is on the branch; to ask again would be to touch the world twice."""
    read: list[str] = []

    def look(day: str) -> str:
        read.append(day)
        return "none"

    def fails_once(request: ChatRequest) -> Any:
        given = sum(message["role"] == "assistant" for message in request.messages)
        if given == 1 and not failed:
            failed.append(True)
            raise ModelFailure("down", kind="error")
        return says("No room.") if given else calls(("look", '{"day": "Wed"}'))

    failed: list[bool] = []
    live = FreeRun(tools=ToolPolicies(otherwise={"look": LiveRead(look)}, effects={"look": "read"}))
    walked(store, fails_once, mode=live)
    compared = walked(store, fails_once, mode=live)
    assert (read, failed) == (["Wed"], [True])
    assert one(compared).led is not None
    assert one(compared).led.tools == {"live": 1}  # type: ignore[union-attr]


def test_a_failure_after_the_divergence_takes_nothing_back(store: refold.Store) -> None:
    """What went as recorded in that turn is comparable, whether the course goes on or not."""

    def fails(request: ChatRequest) -> Any:
        given = sum(message["role"] == "assistant" for message in request.messages)
        if given == 5:
            raise ModelFailure("down", kind="error")
        return [*AS_RECORDED[:4], calls(LOOK)][given]

    own = FreeRun(tools=ToolPolicies(otherwise={"look": Fixed("full")}))
    course = walked(store, fails, mode=own).figures.course
    assert course is not None
    assert (course.comparable, course.diverged, course.conditional, course.excluded) == (
        *(4, {"other_calls": 1}, 2, {}),
    )


def test_a_conversation_without_decisions_came_to_no_end(store: refold.Store) -> None:
    """Nothing was decided in it, so it is no conversation that went as recorded."""
    store.append("call-2", [CONFIGURED, UserUtterance(text="Hello?")])
    course = walked(store, scripted(AS_RECORDED), "call-1", "call-2").figures.course
    assert course is not None
    assert (course.conversations, course.same, course.comparable) == (2, 1, 7)


def test_the_arguments_of_a_call_are_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many turns there are: a long conversation is not read anew at each of its answers."""
    read: list[str] = []
    plain = normalising.normal_arguments

    def counted(call: Call, *rest: Any) -> Any:
        read.append(call.arguments)
        return plain(call, *rest)

    monkeypatch.setattr(course_module, "normal_arguments", counted)
    events, script = list[object]([CONFIGURED]), list[Any]()
    for n in range(20):
        asked = ("look", f'{{"day": {n}}}')
        events += [UserUtterance(text="And?"), *called(n, *asked, f"m{n}", "4")]
        events.append(AgentUtterance(text="4.", message_id=f"w{n}"))
        script += [calls(asked), says("Four.")]
    with refold.open("memory:") as memory:
        memory.append("call-1", events)
        assert walked(memory, scripted(script)).partings == 0
    assert len(read) == 20


def test_what_does_not_count_of_arguments_is_no_other_action() -> None:
    """The defaults of the schema, and what is ignored: every figure holds them to be the same."""
    told = Tool(
        "book",
        parameters={"type": "object", "properties": {"nights": {"type": "integer", "default": 1}}},
        effect="write",
    )
    own = AgentConfigured(tools=[told])
    with refold.open("memory:") as memory:
        book = called(1, "book", '{"room": 4, "trace": "a"}', "m1", "ok")
        memory.append("call-1", [own, UserUtterance(text="4."), *book, AgentUtterance(text="Ok.")])
        script = [calls(("book", '{"room": 4, "nights": 1, "trace": "b"}')), says("Ok.")]
        free = FreeRun(tools=ToolPolicies(ignore=["book/trace"]))
        compared = walked(memory, scripted(script), mode=free)
        assert [d.level for d in one(compared).decisions] == ["arguments", "same"]
        again = compare(memory, ["call-1"], free.stamped(VARIANT), ignore=["book/trace"])
        assert [d.level for d in one(again).decisions] == ["same", "same"]
        assert again.figures.course == compared.figures.course


def test_a_failure_is_told_where_it_is(store: refold.Store) -> None:
    """What a run says of itself is what its branch shows: three came, the fourth did not."""

    def fails(request: ChatRequest) -> Any:
        if sum(message["role"] == "assistant" for message in request.messages) == 3:
            raise ModelFailure("down", kind="error")
        return scripted(AS_RECORDED)(request)

    said = replay(store, ["call-1"], VARIANT, fails, mode=FreeRun())
    assert (said.decisions, said.answered, said.failed) == (7, 3, 4)
    book = next(one.id for one in store.read("call-1") if one.data.get("call_id") == "c3")
    assert [one.at for one in said.failures] == [book]


@pytest.mark.parametrize("mark", ["[redacted]", "[erased]", "[withheld]"])
def test_a_call_that_cannot_be_read_any_more_is_no_divergence(mark: str) -> None:
    """Whether the candidate does the same cannot be told, so what follows is excluded."""
    with refold.open("memory:") as memory:
        hidden = called(1, "look", mark, "m1", "4")
        words = AgentUtterance(text="Four.", message_id="m2")
        memory.append("call-1", [CONFIGURED, UserUtterance(text="Free?"), *hidden, words])
        course = walked(memory, scripted([calls(LOOK), says("Four.")])).figures.course
    assert course is not None
    assert (course.comparable, course.diverged, course.excluded) == (0, {}, {"withheld": 2})


def test_a_conversation_that_was_cut_off_in_its_first_turn_was_begun(store: refold.Store) -> None:
    """What it was answered is on its branch: the rest is missing, and was not never begun."""
    record(store, "call-2")

    def cut_off(request: ChatRequest) -> Any:
        if sum(message["role"] == "assistant" for message in request.messages) == 1:
            raise KeyboardInterrupt
        return AS_RECORDED[0]

    free = FreeRun()
    with pytest.raises(KeyboardInterrupt):
        replay(store, ["call-1", "call-2"], VARIANT, cut_off, mode=free, workers=1)
    variant = free.stamped(VARIANT)
    account = compare(store, ["call-1", "call-2"], variant).figures.accounting
    assert (account.missing, account.never_begun, account.answered) == (7, 7, 0)
    (run,) = [one.run(store, 0) for one in replays(store)]
    assert (run.missing, run.never_begun) == (7, 7)


def test_what_a_run_took_is_told_of_every_answer(store: refold.Store) -> None:
    """Each that said so, of a walk that failed too, and of who played the user beside it."""
    took = Usage(input_tokens=10, output_tokens=1)

    def fails_late(request: ChatRequest) -> Any:
        given = sum(message["role"] == "assistant" for message in request.messages)
        if given == 3 and not failed:
            failed.append(True)
            raise ModelFailure("down", kind="error")
        return replace(AS_RECORDED[given], usage=took, cost=Decimal("0.5"))

    failed: list[bool] = []
    for is_last in (False, True):
        said = replay(store, ["call-1"], VARIANT, fails_late, mode=FreeRun())
        of = (said.requests, said.usage_known, said.cost_known, said.cost)
        assert of == ((4, 4, 4, Decimal(2)) if is_last else (4, 3, 3, Decimal("1.5")))
        assert said.usage is not None
        assert said.usage.input_tokens == 10 * said.usage_known

    def user(request: ChatRequest) -> Any:
        return replace(says("###STOP###"), usage=took)

    mute = scripted([replace(says("No room."), usage=took, cost=Decimal(1))])
    said = replay(store, ["call-1"], VARIANT, mute, mode=FreeRun(user=user))
    assert (said.requests, said.usage_known, said.cost_known) == (2, 2, 1)
    other, how = replace(VARIANT, label="b"), FreeRun()
    stopped = replay(store, ["call-1"], other, fails_late, mode=how, max_cost=1)
    assert stopped.stopped.startswith("the budget is spent")
    assert 0 < stopped.requests == stopped.usage_known == stopped.cost_known
    assert (stopped.answered, stopped.cost) == (0, stopped.requests * Decimal("0.5"))


def by_itself(store: refold.Store) -> str:
    """A conversation whose agent says what it will do, and then does it without being asked."""
    look = called(1, *LOOK, "m2", "4")
    price = called(2, *PRICE, "m4", "80")
    says_first = [AgentUtterance(text=f"First {n}.", message_id=f"m{n}") for n in (1, 3)]
    last = AgentUtterance(text="Room 4 for 80.", message_id="m5")
    opened = [CONFIGURED, UserUtterance(text="A room?"), says_first[0], *look]
    store.append("call-9", [*opened, says_first[1], *price, last, UserUtterance(text="Thanks.")])
    store.append("call-9", [AgentUtterance(text="Bye.", message_id="m6")])
    return "call-9"


BY_ITSELF: dict[str, Any] = {
    "as recorded": (
        [says("First 1."), calls(LOOK), says("First 3."), calls(PRICE), says("80."), says("Bye.")],
        {},
    ),
    "without a word before": ([calls(LOOK), calls(PRICE), says("80."), says("Bye.")], {}),
    "never does it": ([says("First 1."), says("And then."), says("Bye.")], {"other_calls": 1}),
}


@pytest.mark.parametrize(("script", "diverged"), BY_ITSELF.values(), ids=BY_ITSELF)
def test_who_speaks_before_it_calls_has_not_handed_over(
    store: refold.Store, script: Any, diverged: dict[str, int]
) -> None:
    """Where the recorded agent did so, in an answer of its own, the candidate may too.

    It is asked again as often as that went on by itself, and no more.
    """
    compared = walked(store, scripted(script), by_itself(store))
    course = compared.figures.course
    assert course is not None
    assert (course.decisions, course.diverged, course.is_whole) == (6, diverged, True)
    assert course.same == (not diverged)
    again = replay(store, ["call-9"], VARIANT, scripted(script), mode=FreeRun())
    assert (again.kept, again.requests) == (6, 0)


def test_a_run_that_goes_on_with_what_was_begun_says_what_it_reached(store: refold.Store) -> None:
    """The plan's last event is of it too: nobody has to take the first run's word for both."""
    good, asked = scripted(AS_RECORDED), list[int]()

    def fails_once(request: ChatRequest) -> Any:
        asked.append(len(request.messages))
        if len(asked) == 3:
            raise ModelFailure("down", kind="error")
        return good(request)

    first, second = (walked(store, fails_once) for _ in range(2))
    assert first.variant_id == second.variant_id
    plan = [one.type for one in store.read(f"replay~plan-{first.variant_id}")]
    assert plan.count("replay.contained") == 2
    assert plan[-1] == "replay.contained"


def test_a_run_that_got_no_answer_at_all_has_its_plan(store: refold.Store) -> None:
    """What failed stands on a branch, and what was set out to do, and reached, beside it."""

    def away(_: ChatRequest) -> Any:
        raise ModelFailure("down", kind="error")

    compared = walked(store, away)
    assert compared.figures.accounting.failed == 1
    plan = [one.type for one in store.read(f"replay~plan-{compared.variant_id}")]
    assert plan == ["replay.planned", "replay.contained"]
