"""The figures of a comparison are what its decisions add up to, and are the same every time."""

from collections.abc import Callable
from decimal import Decimal

import msgspec
import pytest
from msgspec.structs import replace

import refold
from refold.conversation.events import (
    AgentConfigured,
    AgentUtterance,
    LabelRecorded,
    Usage,
    UserUtterance,
)
from refold.errors import NotFound, UsageError
from refold.replay import (
    Action,
    ChatRequest,
    ModelFailure,
    Price,
    Variant,
    compare,
    replay,
    replays,
    stats,
)
from refold.replay.accounting import Accounting
from refold.replay.actions import LEVELS
from refold.replay.arms import Question
from refold.replay.checks.reading import read_check
from refold.replay.compare import Comparison, json_pieces
from refold.replay.gate import gate
from refold.replay.report import render_report, summary
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
    later: list[list[object]] = [[UserUtterance("Thanks.")], [AgentUtterance("Bye.")]]
    record(store, "call-0", *later)
    compared = compare(store, STREAMS[:2], CANDIDATE)
    # What the conversation went on with after the plan is told, and holds nothing against the run.
    levels = [[d.level for d in c.decisions] for c in compared.conversations]
    assert levels == [["same", "same", "missing"], ["missing", "missing"]]
    assert [d.is_later for d in compared.conversations[0].decisions] == [False, False, True]
    assert compared.figures.accounting == Accounting(5, 2, 0, 0, 2, later=1)
    assert [c.same_action for c in compared.conversations] == [True, None]
    assert compared.figures.by_decision.trials == 2
    assert compared.figures.by_conversation.trials == 1


def test_what_came_after_the_plan_is_in_no_verdict(store: refold.Store) -> None:
    """It is told apart, a run over all of the plan stays complete, and a second run asks it."""
    checks = [read_check("repeated_calls")]
    replay(store, STREAMS, CANDIDATE, as_recorded, control=CONTROL)
    before = compare(store, STREAMS, CANDIDATE, control=CONTROL, checks=checks)
    record(store, "call-0", [UserUtterance("Thanks.")], [AgentUtterance("Bye.")])
    record(store, "call-1", [LabelRecorded(name="mood", value="good", rater="human")])
    compared = compare(store, STREAMS, CANDIDATE, control=CONTROL, checks=checks)
    assert compared.verdicts == before.verdicts
    assert compared.figures.by_conversation == before.figures.by_conversation
    assert (compared.figures.decisions, compared.figures.accounting.later) == (21, 1)
    assert "1 of 21 have no answer: 1 came after the plan" in summary(compared)
    assert "came after the plan" in render_report(compared, read=store.read)
    (told,) = (one for one in replays(store) if one.variant == CANDIDATE)
    of = told.run(store, 0)
    assert (of.decisions, of.answered, of.missing, of.later) == (21, 20, 0, 1)
    replay(store, STREAMS, CANDIDATE, only_words)
    accounting = compare(store, STREAMS, CANDIDATE).figures.accounting
    assert accounting == Accounting(21, 21, 0, 0, 0, later=0)


def test_prices_may_be_given_when_answers_are_compared(store: refold.Store) -> None:
    """By the tokens on record, tries included; what may have been charged unsaid stays unknown."""

    def told(request: ChatRequest) -> Action:
        number = int(request.at.partition("@")[0].removeprefix("call-"))
        used = Usage(input_tokens=1_000_000, output_tokens=500_000)
        match number:
            case 0:
                return Action(text="x")
            case 1:
                return Action(text="x", usage=used, attempts=2, lost_unknown=1, wait_ms=900.0)
            case 2:
                return Action(text="x", usage=used, attempts=3, lost_usage=used, wait_ms=1_100.0)
            case 3:
                return Action(text="x", usage=used, cost=Decimal(7))
        return Action(text="x", usage=used)

    replay(store, STREAMS[:5], CANDIDATE, told)
    prices = {"small": Price(input=Decimal(2), output=Decimal(8))}
    assert compare(store, STREAMS[:5], CANDIDATE).figures.candidate.cost == 14
    compared = compare(store, STREAMS[:5], CANDIDATE, prices=prices)
    costs = [{d.candidate.cost for d in c.decisions if d.candidate} for c in compared.conversations]
    assert costs == [{None}, {None}, {Decimal(12)}, {Decimal(7)}, {Decimal(6)}]
    figures = compared.figures
    assert (figures.candidate.cost, figures.candidate.cost_known) == (Decimal(50), 6)
    # What was recorded is priced too, where nobody said what it cost.
    assert (figures.recorded.cost, figures.recorded.cost_known) == (Decimal("0.010"), 5)
    other = {"large": prices["small"]}
    assert compare(store, STREAMS[:5], CANDIDATE, prices=other).figures.candidate.cost == 14
    with pytest.raises(UsageError):
        compare(store, STREAMS[:5], CANDIDATE, prices={"small": 5})  # type: ignore[dict-item]


def test_where_one_agent_was_changed_only_the_answer_says_its_model(store: refold.Store) -> None:
    """The price of the new model is not that of what the other agents answered."""
    variant = Variant(model="large", agent="billing")
    used = Usage(input_tokens=1_000_000, output_tokens=0)
    store.append(
        "two-1",
        [AgentConfigured(agent="billing", model="small"), UserUtterance("a"), AgentUtterance("b")],
    )
    prices = {"large": Price(input=Decimal(9), output=Decimal(9))}
    replay(store, ["two-1"], variant, lambda _: Action(text="x", usage=used))
    assert compare(store, ["two-1"], variant, prices=prices).figures.candidate.cost is None
    again = Variant(model="large", agent="billing", label="named")
    replay(store, ["two-1"], again, lambda _: Action(text="x", usage=used, model="large"))
    assert compare(store, ["two-1"], again, prices=prices).figures.candidate.cost == 9


def test_tries_are_told_with_what_they_may_have_cost(store: refold.Store) -> None:
    """Requests that were not answered are in no latency, and may have been charged."""
    lost = Usage(input_tokens=30, output_tokens=4)

    def told(request: ChatRequest) -> Action:
        if request.index:
            return Action(text="x", attempts=2, lost_unknown=1, wait_ms=900.0)
        return Action(text="x", attempts=3, lost_usage=lost, wait_ms=1_100.0)

    replay(store, STREAMS[:1], CANDIDATE, told)
    replay(store, STREAMS[:1], CONTROL, as_recorded)
    compared = compare(store, STREAMS[:1], CANDIDATE)
    tries = compared.figures.candidate.tries
    assert (tries.answers, tries.requests, tries.usage, tries.unknown) == (2, 3, lost, 1)
    assert tries.wait is not None
    assert (tries.wait.count, tries.wait.p50) == (2, 1_000.0)
    said = (
        "2 answers tried again, 3 requests more, 1000 ms in the median until the answer; "
        "these took 30 tokens in, 4 out; 1 of them may have been charged without saying so"
    )
    assert said in summary(compared)
    assert "2 answers tried again" in render_report(compared)
    assert "tried again" not in summary(compare(store, STREAMS[:1], CONTROL))


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


def test_the_verdict_is_on_the_difference_to_the_control(store: refold.Store) -> None:
    """Not on that to the record: both arms at the same decisions, conversation by conversation."""
    replayed(store, CANDIDATE, others_from=2)
    replayed(store, CONTROL, others_from=9)
    compared = compare(store, STREAMS, CANDIDATE, control=CONTROL)
    assert compared.control is not None
    assert compared.control.figures.by_conversation.rate == 0.9
    (same,) = (one for one in compared.verdicts if one.metric.name == "same_calls")
    assert same.candidate == pytest.approx(12 / 20)
    assert same.control == pytest.approx(19 / 20)
    assert (same.items, same.clusters, same.missing) == (20, 10, 0)
    assert same.difference == pytest.approx(-7 / 20)


def test_without_a_control_broken_answers_are_set_against_the_record(store: refold.Store) -> None:
    """Which has none; of what has no direction nothing is said but what to do."""
    replay(store, STREAMS, CANDIDATE, lambda _: Action(text=""))
    verdicts = compare(store, STREAMS, CANDIDATE).verdicts
    assert (verdicts.primary.metric.name, verdicts.primary.answer) == ("broken_answers", "worse")
    assert (verdicts.primary.candidate, verdicts.primary.control) == (1.0, 0.0)
    assert "Do not ship it" in verdicts.ship
    (same,) = (one for one in verdicts if one.metric.name == "same_calls")
    assert same.answer == "inconclusive"
    assert "as a control" in same.plain


def test_the_question_says_what_decides(store: refold.Store) -> None:
    """Primary, margin, guardrails and clusters are those of the question."""
    store.append(STREAMS[0], [LabelRecorded("desk", "one", "someone")])
    replayed(store, CANDIDATE, others_from=10)
    replay(store, STREAMS, CONTROL, as_recorded)
    question = Question(
        primary="same_calls", margin=0.4, guardrails=("broken_answers",), cluster="desk"
    )
    compared = compare(store, STREAMS, CANDIDATE, control=CONTROL, question=question)
    assert compared.question == question
    verdicts = compared.verdicts
    assert (verdicts.primary.metric.name, verdicts.primary.margin) == ("same_calls", 0.4)
    assert verdicts.primary.answer == "no change seen"
    assert verdicts.primary.clustered_by == "desk"
    assert compared.without_cluster == 9
    assert [one.metric.name for one in verdicts.guardrails] == ["broken_answers"]
    with pytest.raises(UsageError, match="'happiness' is not measured"):
        compare(store, STREAMS, CANDIDATE, question=Question(primary="happiness"))
    for wrong in (Question(primary="outcome"), Question(cluster="costumer")):
        with pytest.raises(UsageError, match=r"not measured here|has a costumer"):
            compare(store, STREAMS, CANDIDATE, question=wrong)


def test_conversations_of_one_customer_are_one_cluster(store: refold.Store) -> None:
    """What a question names is looked up in each conversation; who is not known is alone."""
    for number, stream in enumerate(STREAMS[:9]):
        store.append(stream, [LabelRecorded("customer-group", f"g{number // 3}", "someone")])
    replay(store, STREAMS, CANDIDATE, as_recorded)
    question = Question(cluster="customer-group")
    assert compare(store, STREAMS, CANDIDATE, question=question).verdicts.primary.clusters == 4


def test_an_incomplete_run_is_never_green(store: refold.Store) -> None:
    """Not even where all that was asked is fine."""
    replay(store, STREAMS[:9], CANDIDATE, as_recorded)
    question = Question(margin=0.9)
    assert compare(store, STREAMS[:9], CANDIDATE, question=question).verdicts.primary.answer == (
        "equivalent"
    )
    verdicts = compare(store, STREAMS, CANDIDATE, question=question).verdicts
    assert verdicts.primary.answer == "inconclusive"
    assert verdicts.ship == "Do not decide yet: the run is not complete."


def test_samples_are_averaged_first(store: refold.Store) -> None:
    """All that were asked count in the figures; an item stays one item of the verdict."""
    replay(store, STREAMS, CANDIDATE, as_recorded, sample=0)
    replay(store, STREAMS, CANDIDATE, lambda _: Action(text=""), sample=1)
    compared = compare(store, STREAMS, CANDIDATE)
    assert (compared.samples, compared.figures.conversations) == ([0, 1], 10)
    assert compared.figures.decisions == len(compared.conversations) * 2 == 40
    primary = compared.verdicts.primary
    assert (primary.candidate, primary.items, primary.clusters) == (0.5, 20, 10)
    assert compare(store, STREAMS, CANDIDATE, sample=0).verdicts.primary.candidate == 0


def test_another_sample_of_one_variant_is_a_control(store: refold.Store) -> None:
    """The noise of one variant against itself; the very same run is refused."""
    replayed(store, CANDIDATE, others_from=10)
    replay(store, STREAMS, CANDIDATE, only_words, sample=1)
    compared = compare(store, STREAMS, CANDIDATE, control=CANDIDATE, sample=0, control_sample=1)
    assert compared.control is not None
    assert (compared.samples, compared.control.samples) == ([0], [1])
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


def test_what_differs_is_averaged_over_samples_first(store: refold.Store) -> None:
    """Three samples of a decision are one decision: money does not grow with their number."""
    costs = iter([Decimal("0.002"), Decimal("0.004"), Decimal("0.006")] * 20)

    def measured(request: ChatRequest) -> Action:
        return Action(text="x", cost=next(costs), latency_ms=50.0)

    replay(store, STREAMS[:1], CANDIDATE, measured, samples=3, workers=1)
    figures = compare(store, STREAMS[:1], CANDIDATE).figures
    # Recorded at 0.002; the mean of three is 0.004.
    assert figures.cost_delta == Decimal("0.002")
    assert figures.latency_delta is not None
    assert figures.latency_delta.count == 1


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


@pytest.mark.parametrize(
    ("control", "why"),
    [
        (Variant(model="large"), "asks large"),
        (Variant(params={"temperature": 2}), "temperature=2"),
    ],
)
def test_a_control_of_another_model_is_no_control(
    store: refold.Store, control: Variant, why: str
) -> None:
    """Nor one with other parameters: the record names both, so what differs is not noise."""
    replay(store, STREAMS, CANDIDATE, as_recorded)
    replay(store, STREAMS, control, as_recorded)
    with pytest.raises(UsageError, match=why) as refused:
        compare(store, STREAMS, CANDIDATE, control=control)
    assert refused.value.argument == "control"


def test_a_control_may_have_a_seed_and_name_what_was_recorded(store: refold.Store) -> None:
    """The same model and parameters, spelled out, are no change."""
    control = Variant(model="small", params={"temperature": 0, "seed": 7})
    replay(store, STREAMS, CANDIDATE, as_recorded)
    replay(store, STREAMS, control, as_recorded)
    assert compare(store, STREAMS, CANDIDATE, control=control).control is not None


def test_the_agent_against_itself_lacks_nothing_that_was_answered() -> None:
    """A paraphrase in one arm alone leaves no item missing, and a change of words is no change."""
    store = refold.open("memory:")
    streams = [f"call-{n}" for n in range(120)]
    for stream in streams:
        record(store, stream)

    def says(share: int) -> Callable[[ChatRequest], Action]:
        def candidate(request: ChatRequest) -> Action:
            answer = as_recorded(request)
            number = int(request.at.partition("@")[0].removeprefix("call-"))
            return replace(answer, text="Gate 4.") if answer.text and number % share else answer

        return candidate

    replay(store, streams, CANDIDATE, says(2))
    replay(store, streams, CONTROL, says(3))
    verdicts = compare(
        store, streams, CANDIDATE, control=CONTROL, question=Question(margin=0.1)
    ).verdicts
    assert {one.metric.name: one.missing for one in verdicts if one.metric.direction is None} == {
        "same_action": 0,
        "same_calls": 0,
        "same_words": 0,
    }
    assert gate(verdicts, ["worse", "changed"]).exit_code == 0
    # Of the cost nothing is known, which a threshold on it cannot tell: neither wrong nor fine.
    assert gate(verdicts, ["cost>0.05"]).exit_code == 4


def test_an_early_look_is_answered_by_what_was_asked(store: refold.Store) -> None:
    """Declared beforehand, it needs no end of the run; what was not asked is not missing."""
    streams = [f"early-{n}" for n in range(60)]
    for stream in streams:
        record(store, stream)
    replay(store, streams[:40], CANDIDATE, lambda _: Action(text=""))
    replay(store, streams, CONTROL, as_recorded)
    for looks, answer in (("any", "worse"), ("one", "inconclusive")):
        question = Question(looks=looks)  # type: ignore[arg-type]
        found = compare(store, streams, CANDIDATE, control=CONTROL, question=question).verdicts
        assert found.primary.answer == answer
        assert ("early look" in found.ship) == (looks == "any")


def test_samples_are_no_conversations_of_their_own(store: refold.Store) -> None:
    """Ten answers to one question count one conversation, and its record once."""
    found = {}
    for samples in (1, 10):
        replay(store, STREAMS, CANDIDATE, lambda request: other_from(5, request), samples=samples)
        found[samples] = compare(store, STREAMS, CANDIDATE)
    one, ten = found[1].figures, found[10].figures
    assert (one.recorded, ten.by_decision.trials) == (ten.recorded, 10 * one.by_decision.trials)
    assert (one.by_decision.low, one.by_decision.high) == pytest.approx(
        (ten.by_decision.low, ten.by_decision.high)
    )
    assert (found[1].partings, found[10].partings) == (5, 5)
    assert ten.by_conversation.high - ten.by_conversation.low > 0.4
