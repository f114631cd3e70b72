"""The fold of a conversation: what it makes of any history."""

from __future__ import annotations

import decimal
from collections.abc import Iterator
from decimal import Decimal
from itertools import count
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

import refold
from refold.conversation import (
    AgentConfigured,
    AgentUtterance,
    CallHeld,
    CallTransferred,
    ConsentRecorded,
    ConsentRevoked,
    Conversation,
    DecisionRecorded,
    DtmfReceived,
    EffectCommitted,
    EffectReversed,
    ModelFailed,
    ModelResponse,
    Party,
    PlaybackInterrupted,
    Prompt,
    RedactionApplied,
    ScoreRecorded,
    SessionEnded,
    SessionStarted,
    SpeechStopped,
    StatePatched,
    Tool,
    ToolCall,
    ToolDecided,
    ToolResult,
    Usage,
    UserUtterance,
    from_messages,
)
from refold.conversation.state import ConversationState

SHARED_DATA = Path(__file__).resolve().parents[3] / "shared" / "data"
TAU_BENCH = SHARED_DATA / "tau-bench" / "gpt-4o-airline.json"
START_US = 1_772_323_200_000_000  # 2026-03-01T00:00:00Z
STEP_US = 1_500_000


@pytest.fixture(params=["memory", "sqlite"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[refold.Store]:
    """A store whose clock goes on by 1.5 s with every append."""
    url = "memory:" if request.param == "memory" else str(tmp_path / "log.db")
    with refold.open(url, clock=ticking()) as opened:
        yield opened


def ticking() -> Any:
    return count(START_US, STEP_US).__next__


def state_of(*events: Any) -> ConversationState:
    """The state after these events, each recorded 1.5 s after the one before."""
    with refold.open("memory:", clock=ticking()) as store:
        for event in events:
            store.append("call-1", [event])
        return store.fold("call-1", Conversation).state


def call(call_id: str = "c1", name: str = "slots", **fields: Any) -> ToolCall:
    return ToolCall(call_id=call_id, name=name, **fields)


# -- words ----------------------------------------------------------------------------------------


def test_the_transcript_has_who_said_what_when_and_where() -> None:
    """A turn has its role, words, event and time, in the order of the log."""
    state = state_of(
        UserUtterance(text="Hi", party="Ann", confidence=0.75),
        AgentUtterance(
            text="Hello",
            parts=[{"type": "text", "text": "Hello"}, {"type": "image_url"}],
            finish_reason="stop",
            message_id="m1",
            party="nurse",
        ),
    )
    user, agent = state.transcript
    assert (user.role, user.text, user.party, user.confidence) == ("user", "Hi", "Ann", 0.75)
    assert (user.id, user.at) == ("call-1@0", "2026-03-01T00:00:00Z")
    assert (agent.role, agent.text, agent.finish_reason) == ("agent", "Hello", "stop")
    assert (agent.id, agent.at) == ("call-1@1", "2026-03-01T00:00:01.500000Z")
    assert (agent.heard, agent.party, agent.attachments) == (None, "nurse", ["image_url"])


def test_what_was_heard_is_what_was_played() -> None:
    """An interruption belongs to the agent's last words and says how much of them was heard."""
    state = state_of(
        AgentUtterance(text="First."),
        AgentUtterance(text="We are open from nine to five."),
        UserUtterance(text="Wait"),
        PlaybackInterrupted(played_text="We are open", unplayed_text=" from nine to five."),
    )
    assert [turn.heard for turn in state.transcript] == [None, "We are open", None]


def test_an_interruption_finds_its_message() -> None:
    """With a message id it belongs to those words, even when others have been said since."""
    state = state_of(
        AgentUtterance(text="One two", message_id="m1"),
        AgentUtterance(text="Three four", message_id="m2"),
        PlaybackInterrupted(played_text="One", message_id="m1"),
    )
    assert [turn.heard for turn in state.transcript] == ["One", None]


def test_an_interruption_may_come_before_the_words_it_cut_off() -> None:
    """Voice pipelines log the barge-in first: it is kept until the words of its message come."""
    early = state_of(PlaybackInterrupted(played_text="One", message_id="m1"))
    assert early.early_interruptions == {"m1": "One"}
    state = state_of(
        PlaybackInterrupted(played_text="One", message_id="m1"),
        AgentUtterance(text="Other", message_id="m0"),
        AgentUtterance(text="One two", message_id="m1"),
    )
    assert [turn.heard for turn in state.transcript] == [None, "One"]
    assert state.early_interruptions == {}


def test_the_log_gives_the_order_not_the_clock() -> None:
    """Words that say they happened earlier stay where the log has them."""
    late = refold.Event.of(UserUtterance(text="later"), occurred_at=START_US + 9_000_000)
    early = refold.Event.of(AgentUtterance(text="earlier"), occurred_at=START_US)
    state = state_of(late, early)
    assert [turn.text for turn in state.transcript] == ["later", "earlier"]
    assert state.duration_ms == 9_000


# -- tools ----------------------------------------------------------------------------------------


def test_a_result_joins_its_call() -> None:
    """A call is open until its result is there; the result keeps its own place."""
    called = state_of(call(arguments='{"day": "mon"}'))
    assert called.open_calls == {"c1": [0]}
    assert called.tool_calls[0].answer is None
    state = state_of(call(), ToolResult(call_id="c1", result=["09:00"], latency_ms=12))
    assert state.open_calls == {}
    (use,) = state.tool_calls
    assert use.event.name == "slots"
    assert use.answer is not None
    assert (use.answer.id, use.answer.event.result) == ("call-1@1", ["09:00"])


def test_a_call_id_used_again_is_answered_in_order() -> None:
    """Call ids repeat within real conversations: a result is that of the oldest open call."""
    one = [call("c1", "a"), ToolResult(call_id="c1", result=1)]
    two = [call("c1", "b"), ToolResult(call_id="c1", result=2)]
    in_turn = state_of(*one, *two)
    assert results(in_turn) == [("a", 1), ("b", 2)]
    both_open = state_of(one[0], two[0], one[1], two[1])
    assert results(both_open) == [("a", 1), ("b", 2)]
    half = state_of(one[0], two[0], one[1])
    assert results(half) == [("a", 1), ("b", None)]
    assert half.open_calls == {"c1": [1]}


def results(state: ConversationState) -> list[tuple[str, Any]]:
    return [(use.event.name, use.answer and use.answer.event.result) for use in state.tool_calls]


def test_a_result_without_a_call_is_kept_apart() -> None:
    """A result that no open call waits for is neither lost nor given to another call."""
    state = state_of(call("c1"), ToolResult(call_id="c2", result=1, is_error=True))
    assert results(state) == [("slots", None)]
    assert [answer.id for answer in state.unmatched_results] == ["call-1@1"]


def test_a_decision_belongs_to_the_call_that_waits_for_one() -> None:
    """Of two open calls with one id, each gets its own decision; none goes to an answered call."""
    state = state_of(
        call("c1", "a"),
        ToolResult(call_id="c1"),
        call("c1", "b"),
        call("c1", "c"),
        ToolDecided(call_id="c1", approver="Bo", decision="approved"),
        ToolDecided(call_id="c1", approver="Bo", decision="refused"),
        ToolDecided(call_id="c1", approver="Bo", decision="changed"),
    )
    decisions = [use.decision and use.decision.event.decision for use in state.tool_calls]
    assert decisions == [None, "approved", "refused"]


# -- session, agent, models -----------------------------------------------------------------------


def test_the_session_says_how_it_began_and_ended() -> None:
    """Channel, parties and status are those of the session's own events."""
    started = SessionStarted(
        channel="voice", direction="outbound", parties=[Party(role="customer", name="Ann")]
    )
    open_ = state_of(started)
    assert (open_.channel, open_.direction, open_.status) == ("voice", "outbound", "open")
    assert [party.name for party in open_.parties] == ["Ann"]
    ended = state_of(started, SessionEnded(reason="error", error="ValueError: no"))
    assert (ended.status, ended.end_reason, ended.error) == ("ended", "error", "ValueError: no")


def test_the_last_configuration_is_in_force_whole() -> None:
    """A configuration replaces the one before: nothing of the old prompt or tools stays."""
    old = AgentConfigured(prompt=Prompt(text="old"), model="m", tools=[Tool(name="t")])
    assert state_of(old).agent == old
    assert state_of(old, AgentConfigured(model="n")).agent == AgentConfigured(model="n")


def test_tokens_and_cost_are_summed_by_currency() -> None:
    """Usage adds up over answers; costs add up exactly, each currency by itself."""
    state = state_of(
        ModelResponse(usage=Usage(input_tokens=3, output_tokens=2), cost=Decimal("0.1")),
        ModelResponse(usage=Usage(input_tokens=4, cached_tokens=1), cost=Decimal("0.2")),
        ModelResponse(cost=Decimal("1"), currency="EUR"),
        ModelResponse(),
    )
    usage = state.usage
    assert (usage.responses, usage.input_tokens, usage.output_tokens) == (4, 7, 2)
    assert usage.cached_tokens == 1
    assert state.cost == {"USD": Decimal("0.3"), "EUR": Decimal("1")}


def test_sums_do_not_depend_on_the_callers_decimal_context() -> None:
    """A program that rounds to three digits folds to the same total."""
    costs = [ModelResponse(cost=Decimal("1234.5678")), ModelResponse(cost=Decimal("0.0001"))]
    with decimal.localcontext(decimal.Context(prec=3)):
        assert state_of(*costs).cost == {"USD": Decimal("1234.5679")}


def test_model_failures_are_listed() -> None:
    """A model call that gave no answer is in the state with its place."""
    (failure,) = state_of(ModelFailed(error="timeout", attempt=2)).model_failures
    assert (failure.id, failure.event.error, failure.event.attempt) == ("call-1@0", "timeout", 2)


def test_duration_is_that_of_the_conversation() -> None:
    """What is said about a conversation afterwards does not make it longer."""
    talk = [SessionStarted(), SpeechStopped(party="Ann", offset_ms=1), SessionEnded()]
    later = [
        ScoreRecorded(name="kind", value=1, rater="Bo"),
        RedactionApplied(event="call-1@0", pointer="", method="delete", reason="x"),
        EffectCommitted(reference="r"),
        refold.Event("order.shipped", {}),
    ]
    assert state_of(*talk).duration_ms == 3_000
    assert state_of(*talk, *later).duration_ms == 3_000


def test_unknown_events_change_nothing() -> None:
    """Events of other types, and newer schemas of none, leave the state as it is."""
    known = state_of(SessionStarted(channel="api"))
    assert state_of(SessionStarted(channel="api"), refold.Event("x.y", {"a": 1})) == known


# -- working state --------------------------------------------------------------------------------


def patch(op: str, path: str, **more: Any) -> StatePatched:
    return StatePatched(patch=[{"op": op, "path": path, **more}])


def test_the_working_state_is_the_initial_one_with_every_patch() -> None:
    """Patches change the working state and leave the initial one to be seen."""
    state = state_of(
        SessionStarted(initial_state={"cart": []}),
        patch("add", "/cart/-", value="tea"),
        patch("add", "/step", value=2),
    )
    assert state.state == {"cart": ["tea"], "step": 2}
    assert state.initial_state == {"cart": []}


def test_a_patch_that_does_not_fit_is_shown_and_the_rest_goes_on() -> None:
    """On a branch without the event it needs, a patch is refused, not the whole state."""
    with refold.open("memory:") as store:
        store.append(
            "call-1",
            [
                SessionStarted(),
                patch("add", "/cart", value=[]),
                patch("add", "/cart/-", value="tea"),
                patch("add", "/step", value=2),
            ],
        )
        state = store.branch("call-1").without("call-1@1").fold(Conversation).state
    assert state.state == {"step": 2}
    (refused,) = state.refused_patches
    assert refused.id == "call-1@2"
    assert "cart" in refused.reason


def test_a_patch_without_a_session_start_works_on_an_empty_state() -> None:
    """Imported conversations have no start; their patches apply to an empty object."""
    assert state_of(patch("add", "/a", value=1)).state == {"a": 1}


# -- money, consent, redaction, voice --------------------------------------------------------------


def test_money_is_committed_minus_reversed() -> None:
    """Net is by currency; a reversal without an amount undoes what is left of its effect."""
    state = state_of(
        DecisionRecorded(amount=Decimal("30"), currency="EUR", reasons=["late"]),
        EffectCommitted(reference="a", amount=Decimal("30.00"), currency="EUR"),
        EffectCommitted(reference="b", amount=Decimal("5"), currency="USD"),
        EffectReversed(reference="a", amount=Decimal("10")),
    )
    assert state.money.net == {"EUR": Decimal("20.00"), "USD": Decimal("5")}
    assert state.money.decisions[0].event.reasons == ["late"]
    undone = state_of(
        EffectCommitted(reference="a", amount=Decimal("30"), currency="EUR"),
        EffectReversed(reference="a", amount=Decimal("10")),
        EffectReversed(reference="a"),
        EffectReversed(reference="a"),
    )
    assert undone.money.net == {"EUR": Decimal(0)}
    assert undone.money.effects[0].left == Decimal(0)
    assert len(undone.money.effects[0].reversals) == 3


def test_a_reversal_of_something_unknown_is_kept_apart_and_counts() -> None:
    """Its reference has no effect here, so it is shown as unmatched; its amount is still money."""
    state = state_of(EffectReversed(reference="z", amount=Decimal("4"), currency="EUR"))
    assert state.money.net == {"EUR": Decimal("-4")}
    assert [reversal.id for reversal in state.money.unmatched_reversals] == ["call-1@0"]


def test_a_reversal_in_another_currency_leaves_the_effect_as_it_is() -> None:
    """Euros given back for dollars do not count against the dollars."""
    state = state_of(
        EffectCommitted(reference="a", amount=Decimal("30"), currency="USD"),
        EffectReversed(reference="a", amount=Decimal("28"), currency="EUR"),
    )
    assert state.money.net == {"USD": Decimal("30"), "EUR": Decimal("-28")}
    assert state.money.effects[0].left == Decimal("30")


def test_consent_is_taken_back_for_its_purpose_only() -> None:
    """Revoking one purpose leaves the others; what was never recorded is shown as revoked."""
    state = state_of(
        ConsentRecorded(party="Ann", purpose="recording", basis="asked"),
        ConsentRecorded(party="Ann", purpose="training", basis="asked"),
        ConsentRevoked(party="Ann", purpose="training"),
        ConsentRevoked(party="Bo", purpose="recording"),
    )
    assert [
        (consent.party, consent.purpose, consent.basis, consent.revoked_at is not None)
        for consent in state.consents
    ] == [
        ("Ann", "recording", "asked", False),
        ("Ann", "training", "asked", True),
        ("Bo", "recording", None, True),
    ]


def test_consent_ends_when_it_is_first_taken_back() -> None:
    """Taking it back again later does not move the moment."""
    state = state_of(
        ConsentRecorded(party="Ann", purpose="recording", basis="asked"),
        ConsentRevoked(party="Ann", purpose="recording"),
        ConsentRevoked(party="Ann", purpose="recording"),
    )
    assert [consent.revoked_at for consent in state.consents] == ["2026-03-01T00:00:01.500000Z"]


def test_a_redacted_part_says_so() -> None:
    """A turn, a call and a result name the pointers that were redacted; the list has them all."""
    state = state_of(
        UserUtterance(text="My card is …"),
        call("c1"),
        ToolResult(call_id="c1", result="…"),
        ToolResult(call_id="none"),
        *(
            RedactionApplied(event=f"call-1@{n}", pointer=p, method="delete", reason="card")
            for n, p in enumerate(["/text", "/arguments", "/result", "/result", "/x"])
        ),
    )
    (use,) = state.tool_calls
    assert state.transcript[0].redacted == ["/text"]
    assert use.redacted == ["/arguments"]
    assert use.answer is not None
    assert use.answer.redacted == ["/result"]
    assert state.unmatched_results[0].redacted == ["/result"]
    assert [redaction.event.event for redaction in state.redactions] == [
        f"call-1@{n}" for n in range(5)
    ]


def test_keys_holds_and_transfers_of_a_call_are_listed() -> None:
    """What happens to a phone call beside words is in the state; keys stay masked."""
    state = state_of(
        DtmfReceived(digits="12"), CallHeld(to_party="b"), CallTransferred(to_party="desk")
    )
    assert [pressed.event.digits for pressed in state.keys_pressed] == ["••"]
    assert [held.event.to_party for held in state.call_holds] == ["b"]
    assert [moved.event.kind for moved in state.transfers] == ["blind"]


def test_scores_are_listed_with_their_rater() -> None:
    """Every rating stays: a second one by the same rater does not replace the first."""
    state = state_of(*(ScoreRecorded(name="kind", value=v, rater="Bo") for v in (1, 2)))
    assert [score.event.value for score in state.scores] == [1, 2]


# -- anywhere in time, on any branch --------------------------------------------------------------


def test_a_state_can_be_had_at_any_moment(store: refold.Store) -> None:
    """By version and by time the state is what it was then, on every store."""
    for event in (SessionStarted(), UserUtterance(text="Hi"), AgentUtterance(text="Hello")):
        store.append("call-1", [event])

    def texts(**moment: Any) -> list[str]:
        return [turn.text for turn in store.fold("call-1", Conversation, **moment).state.transcript]

    assert texts() == ["Hi", "Hello"]
    assert texts(version=1) == ["Hi"]
    assert texts(recorded_until="2026-03-01T00:00:01.6Z") == ["Hi"]
    assert texts(version=0) == []


def test_a_branch_says_where_it_left(store: refold.Store) -> None:
    """The state of a saved branch names its parent, version and change; the talk is the same."""
    store.append("call-1", [UserUtterance(text="Hi"), AgentUtterance(text="Hello")])
    store.branch("call-1").without("call-1@1").save("call-1~b")
    state = store.fold("call-1~b", Conversation).state
    assert state.forked_from is not None
    assert (state.forked_from.from_stream, state.forked_from.from_version) == ("call-1", 0)
    assert [turn.text for turn in state.transcript] == ["Hi"]


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=6)
ids = st.sampled_from(["c1", "c2"])
messages = st.none() | st.sampled_from(["m1", "m2"])
amounts = st.none() | st.decimals(-99, 99, places=2)
currencies = st.none() | st.sampled_from(["EUR", "USD"])
patches = st.builds(
    lambda op, path, value: patch(op, path, value=value),
    st.sampled_from(["add", "replace", "remove", "test", "wrong"]),
    st.sampled_from(["", "/a", "/a/-", "/b"]),
    st.none() | st.integers(-9, 9) | st.just([]),
)
events = st.one_of(
    st.builds(lambda state: SessionStarted(initial_state=state), st.just({}) | st.just({"a": []})),
    st.builds(lambda text: AgentConfigured(prompt=Prompt(text=text)), texts),
    st.builds(lambda text: UserUtterance(text=text), texts),
    st.builds(lambda text, m: AgentUtterance(text=text, message_id=m), texts, messages),
    st.builds(lambda text, m: PlaybackInterrupted(played_text=text, message_id=m), texts, messages),
    st.builds(lambda c: ModelResponse(cost=c), amounts),
    st.builds(lambda c: call(c), ids),
    st.builds(lambda c, v: ToolResult(call_id=c, result=v), ids, texts),
    st.builds(lambda c: ToolDecided(call_id=c, approver="Bo", decision="approved"), ids),
    patches,
    st.builds(
        lambda a, c: EffectCommitted(reference="r", amount=a, currency=c), amounts, currencies
    ),
    st.builds(
        lambda a, c: EffectReversed(reference="r", amount=a, currency=c), amounts, currencies
    ),
    st.just(SessionEnded()),
    st.just(refold.Event("something.else", {"a": 1})),
)
histories = st.lists(st.lists(events, min_size=1, max_size=4), min_size=1, max_size=6)


def comparable(state: ConversationState, shared: set[str]) -> Any:
    """The state without the fork, and without the ids of events that the branch has copies of."""

    def blank(value: Any) -> Any:
        if isinstance(value, dict):
            return {
                key: "copy" if key == "id" and item not in shared else blank(item)
                for key, item in value.items()
            }
        return [blank(item) for item in value] if isinstance(value, list) else value

    return {**blank(msgspec.to_builtins(state)), "forked_from": None}


@given(data=st.data(), history=histories, added=st.lists(events, max_size=3))
def test_a_saved_branch_folds_as_it_did_in_memory(
    data: st.DataObject, history: list[list[Any]], added: list[Any]
) -> None:
    """Saving changes nothing of a branch but the ids of its own events and that it is one."""
    with refold.open("memory:", clock=ticking()) as store:
        for batch in history:
            store.append("call-1", batch)
        branch = store.branch("call-1")
        branch = branch.without(data.draw(st.sampled_from([e.id for e in branch.events])))
        if branch.events and added:
            at = data.draw(st.sampled_from([e.id for e in branch.events]))
            branch = branch.replacing(at, *added)
        branch = branch.adding(*added)
        branch.save("call-1~b")
        shared = {recorded.id for recorded in branch.events[: branch.shared]}
        saved = store.fold("call-1~b", Conversation).state
        in_memory = branch.fold(Conversation).state
    assert comparable(saved, shared) == comparable(in_memory, shared)


@given(history=histories)
def test_a_state_is_a_plain_value(history: list[list[Any]]) -> None:
    """Any state can be stored as JSON and read back equal, so that it can be cached and shown."""
    with refold.open("memory:", clock=ticking()) as store:
        for batch in history:
            store.append("call-1", batch)
        state = store.fold("call-1", Conversation).state
        again = store.fold("call-1", Conversation).state
    stored = msgspec.json.encode(state)
    assert msgspec.json.decode(stored, type=ConversationState) == state
    assert again == state


@given(history=histories, cut=st.integers(0, 30))
def test_folding_on_from_any_moment_gives_the_same(history: list[list[Any]], cut: int) -> None:
    """The state so far, stored and read back, is enough to go on: nothing hides beside it."""
    with refold.open("memory:", clock=ticking()) as store:
        for batch in history:
            store.append("call-1", batch)
        recorded = list(store.read("call-1"))
    first = Conversation.run(recorded[:cut]).state
    resumed = msgspec.json.decode(msgspec.json.encode(first), type=ConversationState)
    went_on = Conversation.run(recorded[cut:], resumed).state
    assert went_on == Conversation.run(recorded).state


def test_every_tool_call_of_the_real_conversations_has_its_result() -> None:
    """200 recorded conversations: 1,164 calls, none open, none of the results without a call."""
    if not TAU_BENCH.exists():
        pytest.skip(f"{TAU_BENCH} is missing")
    conversations = msgspec.json.decode(TAU_BENCH.read_bytes())
    with refold.open("memory:") as store:
        for number, conversation in enumerate(conversations):
            store.append(f"call-{number}", from_messages(conversation["traj"]))
        states = [store.fold(f"call-{n}", Conversation).state for n in range(len(conversations))]
    uses = [use for state in states for use in state.tool_calls]
    assert len(states) == 200
    assert len(uses) == 1_164
    assert [use for use in uses if use.answer is None] == []
    assert all(use.event.name == use.answer.event.name for use in uses if use.answer)
    assert [state for state in states if state.open_calls or state.unmatched_results] == []
