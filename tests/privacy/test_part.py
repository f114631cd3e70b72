"""A part of a log gives what the whole does of its streams, and nothing of any other."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import refold
from refold.conversation import Conversation, UserUtterance
from refold.errors import NotFound, UsageError
from refold.privacy.part import ELSEWHERE, part_of

APPENDS = st.lists(st.tuples(st.sampled_from("abc"), st.integers(1, 4)), min_size=1, max_size=12)


@settings(max_examples=60, deadline=None)
@given(APPENDS, st.dictionaries(st.sampled_from("abc"), st.integers(0, 6)))
def test_it_reads_as_the_whole_does(appends: list[tuple[str, int]], wanted: dict[str, int]) -> None:
    """Each event in its place, up to the version that is asked; positions follow one another."""
    with refold.open("memory:") as store:
        for number, (name, count) in enumerate(appends):
            store.append(name, [UserUtterance(text=f"{number} {n}") for n in range(count)])
        until = {
            name: min(at, store.head(name)) for name, at in wanted.items() if store.head(name) >= 0
        }
        part = part_of(store, until)
        assert {info.stream: info.version for info in part.streams()} == until
        for name, at in until.items():
            expected = list(store.read(name, to_version=at))
            assert [*part.read(name)] == expected
            assert part.fold(name, Conversation) == store.fold(name, Conversation, version=at)
        told = [*part.read_all()]
        assert [one.position for one in told] == [*range(1, store.log_head() + 1)]
        kept = [one for one in store.read_all() if one.version <= until.get(one.stream, -1)]
        assert [one for one in told if one.stream != ELSEWHERE] == kept
        assert {one.raw for one in told if one.stream == ELSEWHERE} <= {b"{}"}


def test_branches_come_with_it_and_what_they_share() -> None:
    """Those that leave what is asked for, of any depth; not those of what they branched from."""
    with refold.open("memory:") as store:
        store.append("a-1", [UserUtterance(text=f"{n}") for n in range(5)])
        for name, parent, at in (("a-1~x", "a-1", 1), ("a-1~y", "a-1", 3), ("a-1~z", "a-1~x", 2)):
            branch = store.branch(parent, at=at).adding(UserUtterance(text=name))
            store.save_branch(branch, name)
        assert names(part_of(store, {"a-1": 2})) == {"a-1": 2, "a-1~x": 3, "a-1~z": 4}
        part = part_of(store, {"a-1~x": None})
        assert names(part) == {"a-1": 1, "a-1~x": 3, "a-1~z": 4}
        assert [*part.read("a-1~z")] == [*store.read("a-1~z")]


def names(store: refold.Store) -> dict[str, int]:
    """The streams of a store, and their last versions."""
    return {info.stream: info.version for info in store.streams()}


def test_it_is_only_read() -> None:
    """And of what there is."""
    with refold.open("memory:") as store:
        store.append("a-1", [UserUtterance(text="Hi")])
        with pytest.raises(UsageError, match="only read"):
            part_of(store, {"a-1": None}).append("a-1", [UserUtterance(text="more")])
        with pytest.raises(NotFound, match="a-2"):
            part_of(store, {"a-2": None})
