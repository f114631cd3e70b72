"""The figures of a comparison are what its decisions add up to, and are the same every time."""

from decimal import Decimal

import msgspec
import pytest
from msgspec.structs import replace

import refold
from refold.conversation.events import AgentUtterance, UserUtterance
from refold.errors import NotFound, UsageError
from refold.replay import Action, ChatRequest, ModelFailure, Variant, compare, replay, stats
from refold.replay.actions import LEVELS
from refold.replay.compare import Comparison, json_pieces
from tests.replay.stories import as_recorded, only_words, record

CANDIDATE, CONTROL = Variant(label="candidate"), Variant(label="control")
STREAMS = [f"call-{n}" for n in range(10)]


@pytest.fixture
def store() -> refold.Store:
    store = refold.open("memory:")
    for stream in STREAMS:
        record(store, stream)
    return store


def other_from(n: int, request: ChatRequest) -> Action:
    """As recorded in conversations before the n-th, something else in the others."""
    number = int(request.at.partition("@")[0].removeprefix("call-"))
    return as_recorded(request) if number < n else Action(text="Something else.")


def replayed(store: refold.Store, variant: Variant, *, others_from: int) -> None:
    replay(store, STREAMS, variant, lambda request: other_from(others_from, request))


def test_levels_counts_and_rates_add_up(store: refold.Store) -> None:
    """Rates are over answered decisions, and over conversations that were answered throughout."""
    replayed(store, CANDIDATE, others_from=6)
    compared = compare(store, STREAMS, CANDIDATE)
    figures = compared.figures
    assert figures.counts == {
        "same": 12,
        "words": 4,
        "arguments": 0,
        "tools": 4,
        **dict.fromkeys(LEVELS[4:], 0),
    }
    assert figures.not_assessed == 4
    assert (figures.by_decision.successes, figures.by_decision.trials) == (12, 16)
    assert (figures.by_conversation.successes, figures.by_conversation.trials) == (6, 10)
    wilson = stats.wilson(6, 10)
    assert (figures.by_conversation.low, figures.by_conversation.high) == wilson
    clusters = [(2, 2)] * 6 + [(0, 1)] * 4
    assert (figures.by_decision.low, figures.by_decision.high) == stats.share_interval(clusters)
    assert [c.first_divergence for c in compared.conversations] == [None] * 6 + [0] * 4


def test_every_figure_is_stamped_with_its_mode(store: refold.Store) -> None:
    """And the comparison says in words what that mode does not show."""
    compared = compare(store, STREAMS, CANDIDATE)
    assert compared.mode == "next-step"
    assert "does not show" in compared.not_measured


def test_what_was_not_asked_is_missing_and_counts_for_nothing(store: refold.Store) -> None:
    """Nor can a conversation with a hole be the same throughout."""
    replay(store, STREAMS[:1], CANDIDATE, as_recorded)
    record(store, "call-0", [UserUtterance(text="Thanks.")], [AgentUtterance(text="Bye.")])
    compared = compare(store, STREAMS[:2], CANDIDATE)
    assert [d.level for d in compared.conversations[0].decisions] == ["same", "same", "missing"]
    assert [c.same_action for c in compared.conversations] == [None, None]
    assert compared.figures.by_decision.trials == 2
    assert compared.figures.by_conversation.rate is None


def test_a_failure_is_never_held_against_the_model(store: refold.Store) -> None:
    """Failed decisions are counted, and left out of every rate."""

    def fails_at_first(request: ChatRequest) -> Action:
        if request.index == 0:
            raise ModelFailure("no", kind="refused")
        return as_recorded(request)

    replay(store, STREAMS, CANDIDATE, fails_at_first)
    figures = compare(store, STREAMS, CANDIDATE).figures
    assert (figures.counts["failed"], figures.by_decision.rate) == (10, 1.0)
    assert figures.by_conversation.trials == 0


def test_the_control_is_paired_with_the_candidate_by_conversation(store: refold.Store) -> None:
    """Exact McNemar on the conversations where one of the two did everything as recorded."""
    replayed(store, CANDIDATE, others_from=2)
    replayed(store, CONTROL, others_from=9)
    control = compare(store, STREAMS, CANDIDATE, control=CONTROL).control
    assert control is not None
    assert control.figures.by_conversation.rate == 0.9
    paired = control.paired
    assert (paired.pairs, paired.both, paired.neither) == (10, 2, 1)
    assert (paired.only_candidate, paired.only_control, paired.discordant) == (0, 7, 7)
    assert paired.difference == -0.7
    assert paired.p == stats.mcnemar_exact(0, 7) == 2 / 2**7
    assert paired.smallest_effect == stats.mcnemar_smallest_effect(10, 0.7)
    assert paired.pairs_needed == stats.mcnemar_pairs_needed(-0.7, 0.7)


def test_conversations_that_one_side_lacks_are_not_paired(store: refold.Store) -> None:
    """A pair needs both outcomes."""
    replayed(store, CANDIDATE, others_from=5)
    replay(store, STREAMS[:4], CONTROL, as_recorded)
    control = compare(store, STREAMS, CANDIDATE, control=CONTROL).control
    assert control is not None
    assert (control.paired.pairs, control.paired.discordant) == (4, 0)
    assert (control.paired.p, control.paired.smallest_effect) == (1.0, None)


def test_another_sample_of_one_variant_is_a_control(store: refold.Store) -> None:
    """The noise of one variant against itself; the very same run is refused."""
    replayed(store, CANDIDATE, others_from=10)
    replay(store, STREAMS, CANDIDATE, only_words, sample=1)
    control = compare(store, STREAMS, CANDIDATE, control=CANDIDATE, control_sample=1).control
    assert control is not None
    assert control.paired.only_candidate == 10
    with pytest.raises(UsageError):
        compare(store, STREAMS, CANDIDATE, control=CANDIDATE)


def test_money_and_time_are_compared_where_both_are_known(store: refold.Store) -> None:
    """Sums are exact; a decision without a recorded figure has no delta."""

    def measured(request: ChatRequest) -> Action:
        return Action(text="x", cost=Decimal("0.003"), latency_ms=50.0)

    replay(store, STREAMS, CANDIDATE, measured)
    compared = compare(store, STREAMS, CANDIDATE)
    figures = compared.figures
    assert (figures.recorded.cost, figures.recorded.cost_known) == (Decimal("0.020"), 10)
    assert (figures.candidate.cost, figures.candidate.cost_known) == (Decimal("0.060"), 20)
    assert figures.cost_delta == Decimal("0.010")
    assert figures.latency_delta is not None
    assert (figures.latency_delta.count, figures.latency_delta.p50) == (10, 10.0)
    first, second = compared.conversations[0].decisions
    assert (first.cost_delta, first.latency_delta_ms) == (Decimal("0.001"), 10.0)
    assert (second.cost_delta, second.latency_delta_ms) == (None, None)


def test_the_same_log_gives_the_same_bytes(store: refold.Store) -> None:
    """As JSON, again and again, and the JSON reads back as the same comparison."""
    replayed(store, CANDIDATE, others_from=5)
    replayed(store, CONTROL, others_from=8)
    first = compare(store, STREAMS, CANDIDATE, control=CONTROL)
    encoded = b"".join(json_pieces(first))
    again = compare(store, STREAMS, CANDIDATE, control=CONTROL)
    assert b"".join(json_pieces(again)) == encoded
    read = msgspec.json.decode(encoded, type=Comparison)
    assert read == replace(first, conversations=list(first.conversations))
    assert b"".join(json_pieces(read)) == encoded


def test_what_is_added_later_is_not_in_a_comparison(store: refold.Store) -> None:
    """Its conversations are read when they are gone through, and say what its figures say."""
    replay(store, STREAMS[:4], CANDIDATE, only_words)
    compared = compare(store, STREAMS, CANDIDATE)
    before = list(compared.conversations)
    replay(store, STREAMS, CANDIDATE, only_words)
    store.append(STREAMS[0], [UserUtterance(text="Thanks."), AgentUtterance(text="Bye.")])
    assert list(compared.conversations) == before == compared.conversations[:]
    assert sum(c.counts["missing"] for c in before) == compared.figures.counts["missing"] == 12


def test_every_compared_decision_links_to_its_events(store: refold.Store) -> None:
    """Recorded and answered: both ids lead to events of the log."""
    replayed(store, CANDIDATE, others_from=5)
    for conversation in compare(store, STREAMS, CANDIDATE).conversations:
        for decision in conversation.decisions:
            assert store.event(decision.at).stream == conversation.stream
            assert decision.answer is not None
            answered = store.event(decision.answer)
            assert answered.metadata["replay"]["at"] == decision.at


def test_a_stream_that_does_not_exist_is_not_found(store: refold.Store) -> None:
    """A typo is no empty comparison."""
    with pytest.raises(NotFound):
        compare(store, ["call-99"], CANDIDATE)


def test_a_control_that_changes_the_agent_is_refused(store: refold.Store) -> None:
    """What a control differs by must be noise: another prompt or other tools would not be."""
    for control, changed in ((Variant(prompt="Be brief."), "prompt"), (Variant(tools=[]), "tools")):
        with pytest.raises(UsageError) as refused:
            compare(store, STREAMS, CANDIDATE, control=control)
        assert refused.value.argument == "control"
        assert changed in refused.value.message
