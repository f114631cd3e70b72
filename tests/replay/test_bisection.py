"""Bisection: the place found is where it became so, in few looks, whatever cannot be told."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

import refold
from refold.conversation.events import AgentConfigured, AgentUtterance, Prompt, UserUtterance
from refold.errors import NotFound
from refold.replay import ChatRequest, Variant, replay
from refold.replay.bisection import Shared, bisect, first_event, shared_asked, shared_in
from refold.replay.checks.reading import read_check
from refold.replay.checks.seen import whole
from refold.replay.decision import decisions

NO_REFUND = read_check("never_says=refund")


@given(st.integers(1, 2_000), st.data())
def test_halving_finds_the_first_place(places: int, data: st.DataObject) -> None:
    """Of n places it looks at 1 + log2(n) at most, and at each once."""
    first = data.draw(st.integers(0, places))
    asked: list[int] = []

    def holds(place: int) -> bool:
        asked.append(place)
        return place >= first

    found = bisect(places, holds)
    assert found.first == (first if first < places else None)
    assert found.before == (first if first < places else places) - 1
    assert len(asked) == len(set(asked)) <= 1 + math.ceil(math.log2(places))
    assert [*found.asked] == asked


@given(st.lists(st.booleans(), min_size=1, max_size=60), st.data())
def test_what_cannot_be_told_is_named_and_never_guessed(
    known: list[bool], data: st.DataObject
) -> None:
    """It became so at the place found, or at one of those that are named before it."""
    first = data.draw(st.integers(0, len(known)))
    found = bisect(len(known), lambda place: place >= first if known[place] else None)
    told = [place for place, is_known in enumerate(known) if is_known]
    if not any(place >= first for place in told):
        assert found.first is None
        return
    assert found.first == min(place for place in told if place >= first)
    assert found.before == max((place for place in told if place < first), default=-1)
    assert [*found.unknown] == [*range(found.before + 1, found.first)]


def talk(store: refold.Store, stream: str, prompt: str, *said: str) -> None:
    store.append(stream, [AgentConfigured(agent="desk", model="m", prompt=Prompt(prompt))])
    for words in said:
        store.append(stream, [UserUtterance("And?"), AgentUtterance(words)])


def test_an_event_is_found_as_a_look_at_every_version_finds_it() -> None:
    """By the log's own folds: the naive walk over all versions gives the same first one."""
    with refold.open("memory:") as store:
        talk(
            store, "call-1", "Be kind.", *["One moment."] * 9, "Your refund is on its way.", "Bye."
        )
        found = first_event(store, "call-1", NO_REFUND, holds=False)
        history = list(store.read("call-1"))
        naive = [
            NO_REFUND.value(whole("call-1", until, [one.action for one in decisions(until)])) == 0
            for until in (history[:end] for end in range(1, len(history) + 1))
        ]
        assert found.first == naive.index(True) == 20
        assert len(found.asked) <= 6
        assert first_event(store, "call-1", NO_REFUND, holds=False, version=19).first is None
        with pytest.raises(NotFound):
            first_event(store, "call-2", NO_REFUND)


def test_a_share_of_nothing_is_not_known() -> None:
    """No conversation under a prompt says neither yes nor no; one of two reaches a half."""
    assert Shared(0, 0).reaches(0.5) is None
    assert Shared(1, 2).reaches(0.5) is True
    assert Shared(1, 3).reaches(0.5) is False
    with refold.open("memory:") as store:
        talk(store, "call-1", "a", "A refund.")
        talk(store, "call-2", "a", "No.")
        talk(store, "call-3", "a")
        streams = ["call-1", "call-2", "call-3"]
        assert shared_in(store, streams, NO_REFUND, holds=False) == Shared(1, 2)
        assert shared_in(store, [], NO_REFUND) == Shared(0, 0)


def test_answers_are_asked_once_and_one_that_is_missing_is_not_told() -> None:
    """What a replay did not answer is neither so nor not so."""
    with refold.open("memory:") as store:
        talk(store, "call-1", "a", "No.", "No.")
        talk(store, "call-2", "a", "No.")
        variant = Variant(prompt="b")

        def answer(request: ChatRequest) -> dict[str, str]:
            if request.at == "call-1@4":
                raise RuntimeError("away")
            return {"role": "assistant", "content": "A refund."}

        replay(store, ["call-1", "call-2"], variant, answer)
        assert shared_asked(store, ["call-1", "call-2"], variant, NO_REFUND, holds=False) == (1, 1)
