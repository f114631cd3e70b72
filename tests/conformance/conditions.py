"""What conditional appends and commands with ids promise, on any store."""

from __future__ import annotations

from refold.core.event import Event
from refold.core.fold import Decider, Fold
from refold.core.query import Query
from refold.engine.append import Append
from refold.engine.store import Store
from refold.errors import Conflict, InvalidEvent, Rejected, UsageError
from refold.ports import Appended
from tests.conformance.sample import OpenStore, raised, registry, untyped

TYPED = Query(types=["test.a"])
TAGGED = Query(tags=["x:1"])
BOTH = Query(types=["test.a"], tags=["x:1"])

counting: Fold[int] = Fold("count", int, registry=registry)
counting.on("test.a", "test.b", "test.c")(lambda state, _: state + 1)


def count(command: int, state: int) -> list[Event]:
    """As many events as are asked for, up to five in all; nothing for nothing."""
    if state + command > 5:
        raise Rejected("too many", left=5 - state)
    return [Event("test.a") for _ in range(command)]


counter: Decider[int, int] = Decider(counting, count)
audited: Decider[int, int] = Decider(counting, count, rejections="recorded")


def is_refused(store: Store, query: Query, after: int, stream: str = "other-1") -> bool:
    """Whether an append on a condition is refused; one that is not leaves nothing that matches."""
    before = store.log_head()
    try:
        store.append(stream, untyped("test.probe"), unless=query, after=after)
    except Conflict as conflict:
        assert (conflict.expected, conflict.query) == (after, repr(query))
        assert after < conflict.actual <= before == store.log_head()
        return True
    return False


class Conditions:
    """An append that is made unless an event of a query has come."""

    def test_a_condition_is_about_types_and_tags(self, open_store: OpenStore) -> None:
        """An event of any of the types and with all of the tags refuses; no other does."""
        with open_store() as store:
            for types, tags, refused in (
                (["test.b"], [], set()),
                (["test.b"], ["x:1"], {TAGGED}),
                (["test.a"], ["x:2"], {TYPED}),
                (["test.a"], [], {TYPED}),
                (["test.a"], ["x:1"], {TYPED, TAGGED, BOTH}),
                (["test.b", "test.a"], ["x:2", "x:1"], {TYPED, TAGGED, BOTH}),
            ):
                before = store.log_head()
                store.append("call-1", untyped(*types), tags=tags)
                found = {q for q in (TYPED, TAGGED, BOTH) if is_refused(store, q, before)}
                assert found == refused

    def test_a_condition_wants_all_tags_of_a_query_and_any_query(
        self, open_store: OpenStore
    ) -> None:
        """``a | b`` is refused by an event of either."""
        with open_store() as store:
            store.append("call-1", untyped("test.a"), tags=["x:1"])
            store.append("call-2", untyped("test.a"), tags=["x:2"])
            both = Query(tags=["x:1", "x:2"])
            assert not is_refused(store, both, 0)
            assert is_refused(store, both | Query(tags=["x:2"]), 0)
            store.append("call-3", untyped("test.b"), tags=["x:2", "x:1"])
            assert is_refused(store, both, 0)

    def test_a_position_may_be_within_an_append(self, open_store: OpenStore) -> None:
        """What refuses is an event after the position, not the append that it is in."""
        with open_store() as store:
            kinds = ("test.a", "test.b", "test.c", "test.b")
            store.append("call-1", untyped(*kinds), tags=["x:1"])
            for name, last in (("a", 1), ("b", 4), ("c", 3)):
                for tags in ([], ["x:1"]):
                    query = Query(types=[f"test.{name}"], tags=tags)
                    refused = [is_refused(store, query, after) for after in range(6)]
                    assert refused == [after < last for after in range(6)]
            assert [is_refused(store, TAGGED, n) for n in range(6)] == [True] * 4 + [False] * 2

    def test_every_schema_of_a_type_counts(self, open_store: OpenStore) -> None:
        """A type means all its schemas, in a condition as in reading."""
        with open_store() as store:
            store.append("call-1", [Event("test.a.v2")])
            assert is_refused(store, TYPED, 0)
            assert is_refused(store, Query(types=["test.a.v3"]), 0)

    def test_branches_do_not_count(self, open_store: OpenStore) -> None:
        """What might have been refuses nothing; an append to a branch may be conditional."""
        with open_store() as store:
            store.append("call-1", untyped("test.b"), tags=["x:2"])
            store.branch("call-1").adding(*untyped("test.a")).save("call-1~b")
            store.append("call-1~b", untyped("test.a"), tags=["x:1"])
            for query in (TYPED, TAGGED, BOTH):
                assert not is_refused(store, query, 0)
                assert list(store.read_all(matching=query)) == []
            store.append("call-1", untyped("test.a"))
            assert is_refused(store, TYPED, 0, stream="call-1~b")

    def test_a_condition_stands_beside_an_expected_version(self, open_store: OpenStore) -> None:
        """Both must hold; either refuses alone."""
        with open_store() as store:
            store.append("call-1", untyped("test.a"))
            call = ("call-1", untyped("test.b"))
            error = raised(Conflict, store.append, *call, expected=7, unless=TYPED, after=1)
            assert error.expected == 7
            error = raised(Conflict, store.append, *call, expected=0, unless=TYPED)
            assert error.actual == 1
            assert store.append(*call, expected=0, unless=TYPED, after=1).position == 2

    def test_a_condition_is_that_of_a_whole_append(self, open_store: OpenStore) -> None:
        """Of all its streams, all or none; its own events do not stand in its way."""
        with open_store() as store:
            parts = [Append("call-1", untyped("test.a")), Append("call-2", untyped("test.a"))]
            assert len(store.append_together(parts, unless=TYPED)) == 2
            raised(Conflict, store.append_together, parts, unless=TYPED)
            assert store.log_head() == 2
            store.append_together(parts, unless=TYPED, after=2)

    def test_a_stored_key_is_answered_before_its_condition(self, open_store: OpenStore) -> None:
        """A retry finds its first answer, though its own event would refuse it."""
        with open_store() as store:
            call = ("call-1", untyped("test.a"))
            first = store.append(*call, key="tx-1", unless=TYPED)
            again = store.append(*call, key="tx-1", unless=TYPED)
            assert again == first._replace(duplicate=True)
            assert store.find("tx-1") == [again]
            other = ("call-1", untyped("test.b"))
            error = raised(UsageError, store.append, *other, key="tx-1", unless=TYPED)
            assert error.code == "key_reused"

    def test_a_refused_condition_leaves_its_key_free(self, open_store: OpenStore) -> None:
        """The key may be used for what is decided next."""
        with open_store() as store:
            store.append("call-1", untyped("test.a"))
            raised(Conflict, store.append, "call-1", untyped("test.b"), key="tx-1", unless=TYPED)
            assert store.find("tx-1") is None
            done = store.append("call-1", untyped("test.c"), key="tx-1", unless=TYPED, after=1)
            assert not done.duplicate

    def test_a_query_is_read_and_folded_as_it_is_checked(self, open_store: OpenStore) -> None:
        """Its events once and in order, after any position; a fold says how far it looked."""
        with open_store() as store:
            store.append("call-1", untyped("test.a", "test.b"), tags=["x:1"])
            store.append("call-2", untyped("test.a"))
            store.append("call-3", untyped("test.c", "test.a"), tags=["x:1", "x:2"])
            for query, positions in (
                (TYPED, [1, 3, 5]),
                (TAGGED, [1, 2, 4, 5]),
                (BOTH, [1, 5]),
                (TYPED | TAGGED, [1, 2, 3, 4, 5]),
                (Query(tags=["x:9"]), []),
            ):
                assert [e.position for e in store.read_all(matching=query)] == positions
                late = [e.position for e in store.read_all(matching=query, after=3)]
                assert late == [position for position in positions if position > 3]
                assert store.fold(query, counting) == (len(positions), -1, 5)
                early = [position for position in positions if position <= 3]
                assert store.fold(query, counting, position=3) == (len(early), -1, 3)

    def test_tags_are_in_the_metadata(self, open_store: OpenStore) -> None:
        """However they were given; without repeats."""
        with open_store() as store:
            call = ("call-1", untyped("test.a"))
            store.append(*call, tags=["x:1", "x:1"], metadata={"by": "ann"})
            store.append(*call, metadata={"tags": ["x:2"]}, tags=["x:1"])
            store.append(*call, metadata={"tags": ["x:2"]})
            assert [e.metadata for e in store.read("call-1")] == [
                {"by": "ann", "tags": ["x:1"]},
                {"tags": ["x:1", "x:2"]},
                {"tags": ["x:2"]},
            ]
            found = store.read_all(matching=Query(tags=["x:2"]))
            assert [e.version for e in found] == [1, 2]

    def test_wrong_tags_are_refused(self, open_store: OpenStore) -> None:
        """Text in the place of a list, what is too long or no name, too many."""
        with open_store() as store:
            many = [str(number) for number in range(33)]
            for tags in ("x:1", ["x" * 256], ["a\nb"], [""], [1], many):
                call = ("call-1", untyped("test.a"))
                raised(InvalidEvent, store.append, *call, tags=tags)
                raised(InvalidEvent, store.append, *call, metadata={"tags": tags})
            assert store.log_head() == 0


class Commands:
    """Commands with ids, rejections that are recorded, decisions over a query."""

    def test_a_command_with_an_id_is_done_once(self, open_store: OpenStore) -> None:
        """Its repetition gives the first outcome, also where it would be decided otherwise now."""
        with open_store() as store:
            first = _done(store.execute("call-1", counter, 5, command_id="cmd-1"))
            raised(Rejected, store.execute, "call-1", counter, 5)
            again = store.execute("call-1", counter, 5, command_id="cmd-1")
            assert again == first._replace(duplicate=True)
            assert store.find("cmd-1") == [again]
            assert store.log_head() == 5

    def test_an_id_names_one_command(self, open_store: OpenStore) -> None:
        """Another command, another stream, or the key of a plain append: refused."""
        with open_store() as store:
            store.execute("call-1", counter, 1, command_id="cmd-1")
            store.append("call-1", [Event("test.a")], key="tx-1")
            for stream, command, command_id in (
                ("call-1", 2, "cmd-1"),
                ("call-2", 1, "cmd-1"),
                ("call-1", 1, "tx-1"),
            ):
                ask = (stream, counter, command)
                error = raised(UsageError, store.execute, *ask, command_id=command_id)
                assert (error.code, error.key, error.stream) == (
                    "key_reused",
                    command_id,
                    "call-1",
                )
            error = raised(UsageError, store.append, "call-1", [Event("test.a")], key="cmd-1")
            assert error.code == "key_reused"
            assert store.log_head() == 2

    def test_what_records_nothing_leaves_its_id_free(self, open_store: OpenStore) -> None:
        """A command without events, and a rejection that is not recorded, are decided again."""
        with open_store() as store:
            assert store.execute("call-1", counter, 0, command_id="cmd-1") is None
            raised(Rejected, store.execute, "call-1", counter, 6, command_id="cmd-2")
            assert store.find("cmd-1") is store.find("cmd-2") is None
            assert store.execute("call-1", counter, 0, command_id="cmd-1") is None

    def test_a_recorded_rejection_stands_for_its_id(self, open_store: OpenStore) -> None:
        """It is an event, raised again for the same id, whatever would be decided now."""
        with open_store() as store:
            store.append("call-1", untyped("test.a", "test.b", "test.c"))
            ask = ("call-1", audited, 3)
            first = raised(Rejected, store.execute, *ask, command_id="cmd-1", metadata={"n": 1})
            assert first.facts == {"reason": "too many", "left": 2}
            (event,) = store.read("call-1", from_version=3)
            assert (event.type, event.metadata["command"]) == ("command.rejected", "cmd-1")
            assert event.data["facts"] == {"left": 2}
            store.append("call-1", untyped("test.a"))
            again = raised(Rejected, store.execute, *ask, command_id="cmd-1")
            assert again.facts == first.facts
            assert store.head("call-1") == 4

    def test_the_events_of_a_command_tell_its_cause(self, open_store: OpenStore) -> None:
        """Its id, what caused it, and where the chain began."""
        with open_store() as store:
            store.execute("call-1", counter, 1, command_id="cmd-1", tags=["x:1"])
            (first,) = store.read("call-1")
            assert first.metadata == {
                "command": "cmd-1",
                "correlation": "cmd-1",
                "tags": ["x:1"],
            }
            store.execute("call-2", counter, 1, command_id="cmd-2", metadata=first.cause)
            (second,) = store.read("call-2")
            assert second.metadata == {
                "command": "cmd-2",
                "causation": "call-1@0",
                "correlation": "cmd-1",
            }

    def test_a_decision_over_a_query_rests_on_its_events(self, open_store: OpenStore) -> None:
        """Of whatever streams; what it records is among them; its repetition is answered."""
        with open_store() as store:
            store.append("call-9", untyped("test.a", "test.a"))
            for number in range(2):
                stream = f"call-{number}"
                store.execute(stream, counter, 2, command_id=f"c-{number}", over=TAGGED)
            rejected = raised(Rejected, store.execute, "call-3", counter, 2, over=TAGGED)
            assert rejected.left == 1
            again = _done(store.execute("call-0", counter, 2, command_id="c-0", over=TAGGED))
            assert (again.duplicate, again.version) == (True, 1)
            assert store.fold(TAGGED, counting).state == 4


def _done(outcome: Appended | None) -> Appended:
    assert outcome is not None
    return outcome
