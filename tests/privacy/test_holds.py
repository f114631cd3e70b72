"""Holds are placed and released by events that name nobody."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import refold
from refold import Event
from refold.errors import NotFound, UsageError
from refold.privacy.decisions import STREAM
from refold.privacy.holds import holds, place_hold, release_hold
from refold.privacy.pseudonyms import forget, pseudonyms
from tests.support.stores import url_of


@pytest.fixture(params=["memory", "sqlite", "postgres"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[refold.Store]:
    """A store of each kind, with a conversation."""
    with refold.open(url_of(request.param, tmp_path)) as opened:
        opened.append("call-1", [Event("x.y", {"n": 1})], metadata={"subject": "ann@example.com"})
        yield opened


def test_a_hold_is_in_force_until_it_is_released(store: refold.Store) -> None:
    """Placed ones are told in order, and no name is given twice."""
    first = place_hold(store, "ann@example.com", reason="claim 7", by="legal")
    second = place_hold(store, category="call", reason="audit")
    assert [one.name for one in holds(store)] == ["hold-1", "hold-2"] == [first.name, second.name]
    assert (second.category, second.subject, first.reason) == ("call", "", "claim 7")
    release_hold(store, "hold-1", reason="settled")
    assert [one.name for one in holds(store)] == ["hold-2"]
    assert place_hold(store, "call-1", reason="claim 8").name == "hold-3"


def test_what_is_decided_names_nobody(store: refold.Store) -> None:
    """A subject is known by its pseudonym, the same each time, and forgotten on demand."""
    for _ in range(2):
        place_hold(store, "ann@example.com", reason="claim 7")
    told = b"".join(one.raw for one in store.read(STREAM))
    assert b"ann" not in told
    subjects = {one.subject for one in holds(store)}
    assert subjects == set(pseudonyms(store, "ann@example.com"))
    assert len(subjects) == 1
    forget(store, "ann@example.com")
    assert pseudonyms(store, "ann@example.com") == []


def test_a_hold_that_is_not_there_is_not_released(store: refold.Store) -> None:
    """The error names those that are."""
    place_hold(store, "call-1", reason="claim 7")
    with pytest.raises(NotFound, match="hold-1"):
        release_hold(store, "hold-9")
    release_hold(store, "hold-1")
    with pytest.raises(NotFound, match="there is none"):
        release_hold(store, "hold-1")


def test_a_hold_covers_a_subject_or_a_category_for_a_reason(store: refold.Store) -> None:
    """Neither, both, and no reason are refused."""
    for how in ({}, {"subject": "a", "category": "call"}):
        with pytest.raises(UsageError):
            place_hold(store, **how, reason="claim 7")
    with pytest.raises(UsageError, match="reason"):
        place_hold(store, "a", reason=" ")


def test_holds_placed_at_once_are_all_placed(store: refold.Store) -> None:
    """None takes the name of another."""
    with ThreadPoolExecutor(4) as pool:
        placed = list(pool.map(lambda n: place_hold(store, f"call-{n}", reason="x"), range(8)))
    assert {one.name for one in placed} == {one.name for one in holds(store)}
    assert len({one.name for one in placed}) == 8


def test_a_journal_is_told_to_be_copied(tmp_path: Path) -> None:
    """Nothing in one can be changed, and it keeps no tables."""
    url = str(tmp_path / "log.jsonl")
    with refold.open(url) as journal, pytest.raises(UsageError, match="refold copy"):
        place_hold(journal, "call-1", reason="claim 7")
