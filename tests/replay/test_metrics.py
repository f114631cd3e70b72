"""What is measured: an observation for each item that a metric applies to."""

from decimal import Decimal

import pytest

import refold
from refold.replay import Action, Call, ChatRequest, ModelFailure, Variant, compare, replay
from refold.replay.metrics import METRICS, Observation, observations
from tests.replay.stories import VARIANT, as_recorded, record, run

CALLS, SPEAKS = "call-1@2", "call-1@5"


def values(candidate: object, metric: str) -> dict[str, float | None]:
    """What a metric is at the two decisions of a conversation: to call, and to speak."""
    store = refold.open("memory:")
    record(store, "call-1")
    if candidate is not None:
        run(store, candidate)
    compared = compare(store, ["call-1"], VARIANT).conversations
    found = observations(compared, METRICS[metric])
    return {one.item: one.value for one in found if one.cluster == "call-1"}


def fails(request: ChatRequest) -> Action:
    raise ModelFailure("not now", kind="refused")


def too_long(request: ChatRequest) -> Action:
    raise ModelFailure("status 400: maximum context length is 8192 tokens", kind="refused")


def mute(request: ChatRequest) -> Action:
    return Action()


def talks(request: ChatRequest) -> Action:
    return Action(text="One moment.", cost=Decimal("0.5"), latency_ms=3.0)


@pytest.mark.parametrize(
    ("candidate", "metric", "expected"),
    [
        (as_recorded, "same_action", {CALLS: 1.0}),
        (as_recorded, "broken_answers", {CALLS: 0.0, SPEAKS: 0.0}),
        (as_recorded, "same_words", {SPEAKS: 1.0}),
        (mute, "same_action", {CALLS: 0.0}),
        (mute, "same_calls", {CALLS: 0.0, SPEAKS: 0.0}),
        (mute, "same_words", {SPEAKS: 0.0}),
        (mute, "broken_answers", {CALLS: 1.0, SPEAKS: 1.0}),
        (talks, "same_action", {CALLS: 0.0}),
        (talks, "same_calls", {CALLS: 0.0, SPEAKS: 1.0}),
        (talks, "broken_answers", {CALLS: 0.0, SPEAKS: 0.0}),
        (talks, "cost", {CALLS: 0.5, SPEAKS: 0.5}),
        (talks, "latency_ms", {CALLS: 3.0, SPEAKS: 3.0}),
        (too_long, "broken_answers", {CALLS: 1.0, SPEAKS: 1.0}),
        (too_long, "same_action", {CALLS: 0.0}),
        (too_long, "cost", {CALLS: None, SPEAKS: None}),
        (fails, "broken_answers", {CALLS: None, SPEAKS: None}),
        (None, "same_calls", {CALLS: None, SPEAKS: None}),
    ],
)
def test_a_metric_has_a_value_an_unknown_or_nothing_at_each_decision(
    candidate: object, metric: str, expected: dict[str, float | None]
) -> None:
    """Unknown is not 0, and what a metric does not apply to is no observation."""
    assert values(candidate, metric) == expected


def test_a_cluster_is_the_conversation_unless_another_is_named() -> None:
    """The default cluster is the stream."""
    store = refold.open("memory:")
    record(store, "call-1")
    replay(store, ["call-1"], Variant(label="a"), as_recorded)
    compared = compare(store, ["call-1"], Variant(label="a")).conversations
    assert list(observations(compared, METRICS["broken_answers"])) == [
        Observation(CALLS, "call-1", 0.0),
        Observation(SPEAKS, "call-1", 0.0),
    ]


def test_every_metric_says_what_it_is_and_which_way_is_better() -> None:
    """A share lies between 0 and 1; those of what is the same have no direction."""
    for name, metric in METRICS.items():
        assert metric.name == name
        assert metric.says
        assert metric.unit != "share" or (metric.low, metric.high) == (0.0, 1.0)
        assert (metric.direction is None) == name.startswith("same_")


def test_a_call_added_where_the_record_spoke_is_another_action() -> None:
    """It is told by same_calls; same_action is of the calls that were recorded."""

    def adds(request: ChatRequest) -> Action:
        return Action(calls=(Call("lookup", '{"id": "B1"}'),))

    assert values(adds, "same_calls") == {CALLS: 1.0, SPEAKS: 0.0}
    assert values(adds, "same_action") == {CALLS: 1.0}
