"""Branches: histories that share a prefix and then differ."""

from __future__ import annotations

from refold.core.diff import diff
from refold.core.event import Event
from refold.core.fold import Fold
from refold.engine.append import Append
from refold.engine.store import Store
from refold.errors import Conflict, NotFound, UsageError
from tests.conformance.sample import HandClock, OpenStore, Said, ledger, raised, said


def parent(open_store: OpenStore) -> Store:
    """Texts 0 to 5 in ``call-1``, appended in threes."""
    store = open_store(clock=HandClock(500))
    store.append("call-1", said("0", "1", "2"))
    store.append("call-1", said("3", "4", "5"))
    return store


def told_in(store: Store, stream: str) -> list[str]:
    """The texts of a stream, without what only says that it is a branch."""
    return [e.data["text"] for e in store.read(stream) if e.type == "test.said"]


class Branching:
    """In memory, saved, and branches of branches."""

    def test_a_branch_leaves_out_replaces_and_adds(self, open_store: OpenStore) -> None:
        """Each change gives a new history; neither the parent nor the first branch changes."""
        store = parent(open_store)
        branch = store.branch("call-1")
        changed = (
            branch.without("call-1@1", "call-1@4")
            .replacing("call-1@2", Said("two"), Said("and a half"))
            .adding(Said("six"))
        )
        assert [e.data["text"] for e in changed] == ["0", "two", "and a half", "3", "5", "six"]
        assert changed.fold(ledger).state.texts == ["0", "two", "and a half", "3", "5", "six"]
        assert branch.fold(ledger).state.texts == told_in(store, "call-1")
        assert (len(branch), branch.shared, changed.shared) == (6, 6, 1)
        assert store.log_head() == 6
        raised(NotFound, branch.without, "call-1@6")
        raised(NotFound, changed.replacing, "call-1@1", Said("gone"))

    def test_a_saved_branch_copies_nothing_of_what_it_shares(self, open_store: OpenStore) -> None:
        """The log grows by the fork and what differs; the branch reads as one history."""
        store = parent(open_store)
        branch = store.branch("call-1").replacing("call-1@4", Said("four"))
        saved = branch.save("call-1~b")
        assert (saved.event_count, saved.version, store.log_head()) == (3, 6, 9)
        history = list(store.read("call-1~b"))
        assert [e.version for e in history] == list(range(7))
        assert [e.id for e in history[:4]] == ["call-1@0", "call-1@1", "call-1@2", "call-1@3"]
        assert [e.id for e in history[4:]] == ["call-1~b@4", "call-1~b@5", "call-1~b@6"]
        assert history[4].data["from_stream"] == "call-1"
        assert (history[4].type, history[4].data["from_version"]) == ("session.forked", 3)
        assert told_in(store, "call-1~b") == ["0", "1", "2", "3", "four", "5"]
        assert told_in(store, "call-1") == ["0", "1", "2", "3", "4", "5"]
        fork = next(info.fork for info in store.streams() if info.stream == "call-1~b")
        assert fork == ("call-1", 3)

    def test_what_a_branch_copies_keeps_its_bytes_and_times(self, open_store: OpenStore) -> None:
        """An event after the divergence is the same event: payload, metadata, own time."""
        clock = HandClock(10)
        store = open_store(clock=clock)
        own = Event("test.x", {"b": 1, "a": 1.0}, metadata={"k": None}, occurred_at=3)
        store.append("call-1", [Said("dropped"), own, Said("kept")], metadata={"shared": 1})
        clock.us = 99
        store.branch("call-1").without("call-1@0").save("call-1~b")
        before, after = list(store.read("call-1"))[1:], list(store.read("call-1~b"))[1:]
        for first, second in zip(before, after, strict=True):
            assert second.raw == first.raw
            assert second.metadata == {**first.metadata, "copied_from": first.id}
            assert second.origin_id == first.id
            assert second.occurred_at_us == first.occurred_at_us
            assert second.recorded_at_us == 99
        assert after[0].metadata == {"shared": 1, "k": None, "copied_from": "call-1@1"}

    def test_a_branch_is_read_in_slices_across_its_fork(self, open_store: OpenStore) -> None:
        """Bounds, direction and limit count along the branch, wherever the events stand."""
        store = parent(open_store)
        store.branch("call-1", at=3).adding(Said("x"), Said("y")).save("call-1~b")
        whole = [e.id for e in store.read("call-1~b")]
        assert whole[3:5] == ["call-1@3", "call-1~b@4"]
        for first in range(-1, 8):
            for last in range(-1, 8):
                part = store.read("call-1~b", from_version=first, to_version=last)
                assert [e.id for e in part] == whole[max(first, 0) : last + 1]
        backward = store.read("call-1~b", direction="backward", limit=5)
        assert [e.id for e in backward] == whole[::-1][:5]
        assert store.event("call-1~b@2").id == "call-1@2"

    def test_branches_of_branches(self, open_store: OpenStore) -> None:
        """Three deep, forking before, at and after the fork of the one below."""
        store = parent(open_store)
        store.branch("call-1", at=3).adding(Said("b")).save("call-1~b")
        store.branch("call-1~b").adding(Said("c")).save("call-1~b~c")
        store.branch("call-1~b~c").without("call-1@1").adding(Said("d")).save("call-1~d")
        store.branch("call-1~b~c", at=2).save("call-1~e")
        assert told_in(store, "call-1~b") == ["0", "1", "2", "3", "b"]
        assert told_in(store, "call-1~b~c") == ["0", "1", "2", "3", "b", "c"]
        assert told_in(store, "call-1~d") == ["0", "2", "3", "b", "c", "d"]
        assert told_in(store, "call-1~e") == ["0", "1", "2"]
        for stream in ("call-1~b", "call-1~b~c", "call-1~d", "call-1~e"):
            history = list(store.read(stream))
            assert [e.version for e in history] == list(range(len(history)))
            assert history[::-1] == list(store.read(stream, direction="backward"))
            folded = store.fold(stream, ledger)
            assert folded.state.texts == told_in(store, stream)
            assert (folded.version, folded.position) == (len(history) - 1, history[-1].position)

    def test_a_branch_at_the_ends(self, open_store: OpenStore) -> None:
        """At -1 it shares nothing; beyond the head it is all there is."""
        store = parent(open_store)
        empty = store.branch("call-1", at=-1)
        assert (len(empty), empty.shared, empty.fold(ledger).version) == (0, 0, -1)
        empty.adding(Said("from nothing")).save("call-1~n")
        assert told_in(store, "call-1~n") == ["from nothing"]
        assert [e.version for e in store.read("call-1~n")] == [0, 1]
        beyond = store.branch("call-1", at=99)
        assert (len(beyond), beyond.shared) == (6, 6)
        assert beyond.save("call-1~z").event_count == 1
        assert told_in(store, "call-1~z") == told_in(store, "call-1")

    def test_a_branch_and_its_parent_go_their_own_ways(self, open_store: OpenStore) -> None:
        """Each is appended to under its own versions; neither sees the other's events."""
        store = parent(open_store)
        saved = store.branch("call-1", at=1).save("call-1~b")
        store.append("call-1", said("6"), expected=5)
        store.append("call-1~b", said("mine"), expected=saved.version)
        raised(Conflict, store.append, "call-1~b", said("late"), expected=saved.version)
        assert told_in(store, "call-1~b") == ["0", "1", "mine"]
        assert told_in(store, "call-1") == ["0", "1", "2", "3", "4", "5", "6"]
        assert (store.head("call-1~b"), store.head("call-1")) == (3, 6)

    def test_time_travel_along_a_branch(self, open_store: OpenStore) -> None:
        """Versions, positions and instants hold across the fork."""
        clock = HandClock(100)
        store = open_store(clock=clock)
        store.append("call-1", said("0", "1", "2"))
        clock.us = 200
        store.append("call-1", said("3"))
        clock.us = 300
        store.branch("call-1", at=1).adding(Said("b")).save("call-1~b")

        def known(**bounds: int) -> list[str]:
            return store.fold("call-1~b", ledger, **bounds).state.texts

        assert known(version=0) == ["0"]
        assert known(recorded_until=99) == []
        assert known(recorded_until=250) == ["0", "1"]
        assert known(recorded_until=300) == ["0", "1", "b"]
        assert known(position=1) == ["0"]
        assert known(position=5) == ["0", "1"]
        assert known(position=6) == ["0", "1", "b"]

    def test_time_travel_at_a_fork_inside_an_append(self, open_store: OpenStore) -> None:
        """The parent's append goes on after the fork, the branch does not.

        Found by the stateful model: a moment after that append took in the branch's own events.
        """
        clock = HandClock(100)
        store = open_store(clock=clock)
        store.append("call-1", said("0", "1", "2", "3"))
        clock.us = 300
        store.branch("call-1", at=0).adding(Event.of(Said("b"), occurred_at=300)).save("call-1~b")
        for moment in ({"position": 4}, {"recorded_until": 299}, {"occurred_until": 299}):
            folded = store.fold("call-1~b", ledger, **moment)
            assert (folded.state.texts, folded.version, folded.position) == (["0"], 0, 1), moment
        assert store.fold("call-1~b", ledger, position=6).state.texts == ["0", "b"]

    def test_a_branch_is_not_read_with_what_happened(self, open_store: OpenStore) -> None:
        """A category holds no branch of its streams; theirs has a ``~``."""
        store = parent(open_store)
        store.branch("call-1", at=0).adding(Said("maybe")).save("call-1~b")
        assert {e.stream for e in store.read_all(categories=["call"])} == {"call-1"}
        assert {e.stream for e in store.read_all(categories=["call~"])} == {"call-1~b"}

    def test_a_branch_that_cannot_be_saved_leaves_nothing(self, open_store: OpenStore) -> None:
        """A name without ``~``, a name that is taken, a parent that this log does not have."""
        store = parent(open_store)
        branch = store.branch("call-1", at=2)
        raised(UsageError, branch.save, "call-2")
        branch.save("call-1~b")
        assert raised(Conflict, branch.save, "call-1~b").stream == "call-1~b"
        raised(NotFound, store.branch, "call-9")
        store.append_together([Append("gone-1", said("a")), Append("gone-1", said("b"))])
        head = store.log_head()
        for stream, at in (("ghost-1", 0), ("ghost-1", -1)):
            ghost = branch.__class__(
                stream, branch.events[: at + 1], at + 1, branch.registry, saver=branch.saver
            )
            raised(NotFound, ghost.save, "ghost-1~b")
        assert store.log_head() == head

    def test_a_branch_of_more_events_than_an_append_holds(self, open_store: OpenStore) -> None:
        """All that follows the divergence is copied, in as many rows as it takes, or nothing."""
        store = open_store()
        for _ in range(2):
            store.append("call-1", said("x") * 10_000)
        saved = store.branch("call-1").without("call-1@0").save("call-1~b")
        assert (saved.event_count, saved.version, saved.position) == (20_000, 19_999, 40_000)
        assert store.fold("call-1~b", ledger).state.texts == ["x"] * 19_999
        assert saved.ids[-1] == "call-1~b@19999"

    def test_the_difference_of_a_branch_is_what_was_changed(self, open_store: OpenStore) -> None:
        """A diff names the shared prefix and each change; a history has none to itself."""
        store = parent(open_store)
        whole = store.branch("call-1")
        changed = whole.replacing("call-1@2", Said("two")).without("call-1@4").adding(Said("six"))
        found = diff(whole, changed)
        assert found.shared == 2
        assert [(c.kind, c.before and c.before.id) for c in found.changes] == [
            ("changed", "call-1@2"),
            ("removed", "call-1@4"),
            ("added", None),
        ]
        assert not diff(whole, store.read("call-1"))

    def test_a_branch_folds_the_same_twice(self, open_store: OpenStore) -> None:
        """A step that changes the payload it was given does not change the history."""
        store = parent(open_store)
        branch = store.branch("call-1")
        greedy: Fold[list[str]] = Fold("greedy", list, registry=ledger.registry)

        @greedy.on("test.said")
        def _(state: list[str], event: dict[str, str]) -> list[str]:
            return [*state, event.pop("text")]

        assert branch.fold(greedy) == branch.fold(greedy) == store.fold("call-1", greedy)
