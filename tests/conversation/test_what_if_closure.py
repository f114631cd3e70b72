"""What no longer follows, against a naive reading of the rules, gone through until all is found."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

import refold
from refold.conversation.what_if import what_if
from refold.core.recorded import Recorded

WORDS = ["ada_77", "HAT9", "hat9", "Ünal", "x", "", "77"]
SAYS = ("agent.utterance", "tool.call", "model.response")
HEARD = ("user.utterance", "tool.result", "retrieval.completed")
words = st.sampled_from(WORDS)
causes = st.none() | st.integers(0, 11).map(lambda n: {"causation": f"call-1@{n}"})


def event(kind: str, data: Any) -> st.SearchStrategy[refold.Event]:
    return st.builds(lambda said, why: refold.Event(kind, said, metadata=why or {}), data, causes)


events = st.lists(
    st.one_of(
        event("user.utterance", words.map(lambda said: {"text": f"I am {said}."})),
        event("agent.utterance", words.map(lambda said: {"text": said})),
        event("retrieval.completed", words.map(lambda said: {"query": said, "results": []})),
        event(
            "tool.call",
            st.tuples(words, st.sampled_from("ab")).map(
                lambda two: {
                    "call_id": two[1],
                    "name": "f",
                    "arguments": json.dumps({"user": two[0], "n": 2}),
                }
            ),
        ),
        event(
            "tool.result",
            st.tuples(words, st.sampled_from("ab")).map(
                lambda two: {"call_id": two[1], "result": {"user": two[0]}}
            ),
        ),
        event(
            "decision.recorded",
            st.lists(st.integers(0, 11), max_size=2).map(
                lambda those: {"basis": [f"call-1@{n}" for n in those]}
            ),
        ),
    ),
    min_size=1,
    max_size=12,
)


@settings(max_examples=100)
@given(events, st.sets(st.integers(0, 11), min_size=1, max_size=3))
def test_what_no_longer_follows_is_all_that_rests_on_what_is_gone(
    given_events: list[refold.Event], picked: set[int]
) -> None:
    """By what is on record where something is, else by order and by values; and by nothing else."""
    removed = {n % len(given_events) for n in picked}
    with refold.open("memory:") as store:
        store.append("call-1", given_events)
        found = what_if(store.branch("call-1"), without=[str(n) for n in removed])
        history = list(store.read("call-1"))
    told = {one.event.version: one.reason for one in found.groundless}
    shown = [(one.type, one.data, one.metadata) for one in history]
    assert told.keys() == naive(history, removed), (told, shown, removed)


def naive(history: list[Recorded], removed: set[int]) -> set[int]:
    """What has no ground, looked for until nothing more is found."""
    lost: set[int] = set()
    while True:
        gone = removed | lost
        more = {
            one.version for one in history if one.version not in gone and rests(one, history, gone)
        }
        if not more:
            return lost
        lost |= more


def rests(one: Recorded, history: list[Recorded], gone: set[int]) -> bool:
    before = history[: one.version]
    named = [*one.data.get("basis", ()), one.metadata.get("causation")]
    named = [int(name.partition("@")[2]) for name in named if name is not None]
    if one.type == "tool.result" and (own := call_of(one, history)) is not None:
        named.append(own)
    if named:
        return any(n in gone for n in named)
    if one.type in SAYS and any(n in gone for n in answered(one, history)):
        return True
    return one.type == "tool.call" and any(
        is_known_from_gone(value, before, gone)
        for value in json.loads(one.data["arguments"]).values()
    )


def call_of(result: Recorded, history: list[Recorded]) -> int | None:
    """The first call of this id that has no result yet."""
    open_calls: dict[str, list[int]] = {}
    for one in history[: result.version + 1]:
        own = one.data.get("call_id")
        if one.type == "tool.call":
            open_calls.setdefault(own, []).append(one.version)
        elif one.type == "tool.result":
            waiting = open_calls.get(own)
            found = waiting.pop(0) if waiting else None
            if one.version == result.version:
                return found
    return None


def answered(answer: Recorded, history: list[Recorded]) -> list[int]:
    """What came since the agent last spoke, and what it has said of that already counts as one."""
    heard: list[int] = []
    is_answering = False
    for one in history[: answer.version]:
        if one.type in SAYS:
            is_answering = True
        elif one.type in HEARD:
            heard, is_answering = ([one.version] if is_answering else [*heard, one.version]), False
    return heard


def is_known_from_gone(value: Any, before: list[Recorded], gone: set[int]) -> bool:
    text = str(value).casefold()
    if len(text) < 3:
        return False
    told = [one for one in before if one.type not in SAYS]
    holding = {one.version for one in told if any(text in leaf for leaf in leaves(one.data))}
    return bool(holding & gone) and not holding - gone


def leaves(value: Any) -> list[str]:
    if isinstance(value, dict):
        return [leaf for own in value.values() for leaf in leaves(own)]
    if isinstance(value, list):
        return [leaf for own in value for leaf in leaves(own)]
    return [] if value is None or isinstance(value, bool) else [str(value).casefold()]
