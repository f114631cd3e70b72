"""Bisection: the place found is where it became so, in few looks, whatever cannot be told."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import refold
from refold.conversation.events import AgentConfigured, AgentUtterance, Prompt, UserUtterance
from refold.errors import NotFound, UsageError
from refold.privacy import CONVERSATION, Privacy, new_keyring
from refold.replay import ChatRequest, Variant, replay
from refold.replay.bisection import Shared, bisect, first_event, shared_asked, shared_in
from refold.replay.checks.reading import read_check
from refold.replay.checks.seen import Examined, NamedCheck, whole
from refold.replay.decision import decisions
from refold.replay.metrics import Metric

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


@given(st.lists(st.booleans(), min_size=1, max_size=60))
def test_where_it_comes_and_goes_a_place_is_found_at_which_it_came(so: list[bool]) -> None:
    """It is so there and not right before, in few looks; where it is not so at the end, none."""
    found = bisect(len(so), lambda place: so[place])
    assert len(found.asked) <= 1 + math.ceil(math.log2(len(so)) if len(so) > 1 else 1)
    if not so[-1]:
        assert (found.first, [*found.asked]) == (None, [len(so) - 1])
        return
    assert found.first is not None
    assert so[found.first]
    assert found.before == found.first - 1
    assert found.before < 0 or not so[found.before]


def test_nothing_is_asked_of_no_places() -> None:
    """Nor is anything found there."""
    found = bisect(0, lambda place: place < 1 // 0)
    assert (found.first, found.before, [*found.asked]) == (None, -1, [])


class Counting:
    """A check that counts its looks, and holds from so many events on; None: it fails to tell."""

    def __init__(self, first: int | None) -> None:
        self.looks = 0
        self.first = first

    def named(self) -> NamedCheck:
        return NamedCheck(Metric("check:own", "own", "higher", "share", 0, 1), self.measure)

    def measure(self, seen: Examined) -> bool:
        self.looks += 1
        if self.first is None:
            raise KeyError("nothing there")
        return len(seen.history) > self.first


@pytest.mark.parametrize(("first", "wanted"), [(0, 0), (1, 1), (300, 300), (500, 500), (501, None)])
def test_events_are_looked_at_log2_times(first: int, wanted: int | None) -> None:
    """True at the first event, at the last, never: of 501 events ten are looked after, or one."""
    check = Counting(first)
    with refold.open("memory:") as store:
        talk(store, "call-1", "Be kind.", *["One moment."] * 250)
        found = first_event(store, "call-1", check.named())
    assert found.first == wanted
    assert found.before == (500 if wanted is None else wanted - 1)
    assert check.looks == len(found.asked) <= (1 if wanted is None else 10)


def test_a_check_that_fails_to_tell_is_never_no() -> None:
    """Its error comes, with its name and where it looked, and nothing is found."""
    with refold.open("memory:") as store:
        talk(store, "call-1", "Be kind.", "Hello.")
        with pytest.raises(UsageError, match=r"check:own failed.*KeyError") as raised:
            first_event(store, "call-1", Counting(None).named())
        assert raised.value.facts["check"] == "check:own"
        with pytest.raises(UsageError, match="KeyError"):
            shared_in(store, ["call-1"], Counting(None).named())


def test_what_is_withheld_is_looked_for_by_nobody(tmp_path: Path) -> None:
    """A check of words that cannot be read would say that they were not said."""
    with refold.open(tmp_path / "log.db", privacy=Privacy(new_keyring(), CONVERSATION)) as store:
        talk(store, "call-1", "Be kind.", "A refund.")
        with pytest.raises(UsageError, match="withheld"):
            first_event(store, "call-1", NO_REFUND, holds=False)
        with pytest.raises(UsageError, match="withheld"):
            shared_in(store, ["call-1"], NO_REFUND)


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
