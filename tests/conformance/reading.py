"""What every store does when it is read."""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest

from refold.core.event import Event
from refold.engine.append import Append
from refold.engine.store import Store
from refold.errors import NotFound, UsageError
from tests.conformance.sample import OpenStore, Paid, raised, said, untyped

SPLIT = (3, 1, 2, 1)
"""How the seven events of a stream are spread over appends, so that bounds fall inside some."""
BOUNDS = (-2, 0, 1, 2, 3, 4, 6, 7, 50)
MANY_TYPES = 70
"""More than fit a 64-bit set of types, so that some must share a bit."""


def spread(store: Store, stream: str) -> None:
    """Seven events in a stream, among appends to others."""
    number = 0
    for size in SPLIT:
        store.append(stream, said(*(f"{number + n}" for n in range(size))))
        store.append("other-1", said("other"))
        number += size


class ReadingStreams:
    """One stream: direction, bounds, limit."""

    @pytest.mark.parametrize("first", BOUNDS)
    def test_a_read_gives_the_slice_that_it_names(self, open_store: OpenStore, first: int) -> None:
        """Bounds are inclusive, may fall inside an append or outside the stream; then the limit."""
        store = open_store()
        spread(store, "call-1")
        for last, limit in product((*BOUNDS, None), (0, 1, 2, 50, None)):
            versions = [v for v in range(7) if first <= v and (last is None or v <= last)]
            bounds: dict[str, Any] = {"from_version": first, "to_version": last, "limit": limit}
            forward = [e.version for e in store.read("call-1", **bounds)]
            assert forward == versions[:limit], bounds
            backward = [e.version for e in store.read("call-1", direction="backward", **bounds)]
            assert backward == versions[::-1][:limit], bounds

    def test_a_stream_longer_than_any_page_is_read_whole(self, open_store: OpenStore) -> None:
        """Paging is not seen: 1,300 appends come back, each once, both ways."""
        store = open_store()
        for _ in range(2):
            store.append_together([Append("call-1", said("a"))] * 650)
        assert [e.version for e in store.read("call-1")] == list(range(1300))
        backward = [e.version for e in store.read("call-1", direction="backward")]
        assert backward == list(range(1300))[::-1]
        assert [e.position for e in store.read_all(after=10)] == list(range(11, 1301))

    def test_what_is_not_there_is_said(self, open_store: OpenStore) -> None:
        """A missing stream or event is ``NotFound``; its head is -1; an empty log's is 0."""
        store = open_store()
        assert (store.head("call-1"), store.log_head()) == (-1, 0)
        assert raised(NotFound, store.read, "call-1").stream == "call-1"
        store.append("call-1", said("a"))
        assert store.event("call-1@0").data == {"text": "a"}
        for event_id in ("call-1@1", "call-2@0", "call@0", "call-1@999999999999999999"):
            raised(NotFound, store.event, event_id)
        for text in ("call-1", "call-1@", "@0", "call-1@-1", "call-1@x", "call-1@" + "9" * 5000):
            raised(UsageError, store.event, text)

    def test_names_that_cannot_be_are_not_there(self, open_store: OpenStore) -> None:
        """Text that no storage can hold names no stream; it is not a failure of the storage."""
        store = open_store()
        store.append("call-1", said("a"))
        assert store.head("\ud800") == -1
        raised(NotFound, store.read, "\ud800")
        assert list(store.streams(category="\ud800")) == []
        assert list(store.read_all(categories=["\ud800"], types=["\ud800"])) == []

    def test_a_wrong_read_is_refused_when_it_is_called(self, open_store: OpenStore) -> None:
        """A negative limit and an unknown direction do not wait for the first event."""
        store = open_store()
        store.append("call-1", said("a"))
        wrong: Any = "sideways"
        raised(UsageError, store.read, "call-1", direction=wrong)
        raised(UsageError, store.read, "call-1", limit=-1)
        raised(UsageError, store.read_all, limit=-1)

    def test_streams_are_listed_by_name(self, open_store: OpenStore) -> None:
        """With their last version; all, or those of one category."""
        store = open_store()
        names = ["call-2", "call-10", "Call-1", "callback-1", "über-1", "call"]
        for name in names:
            store.append(name, said("a", "b"))
        listed = [(info.stream, info.version, info.fork) for info in store.streams()]
        assert listed == [(name, 1, None) for name in sorted(names)]
        of_call = [info.stream for info in store.streams(category="call")]
        assert of_call == ["call", "call-10", "call-2"]
        assert list(store.streams(category="cal")) == []


class ReadingTheLog:
    """All streams together: after a position, by category, by type."""

    def test_the_log_is_read_after_any_position(self, open_store: OpenStore) -> None:
        """Also after one inside an append, before the first, and beyond the last."""
        store = open_store()
        spread(store, "call-1")
        head = store.log_head()
        for after in (-5, *range(head + 3), 2**63 - 1, 2**63, 10**30):
            positions = [e.position for e in store.read_all(after=after)]
            assert positions == list(range(max(after, 0) + 1, head + 1))[: head + 1], after
        assert [e.position for e in store.read_all(after=2, limit=3)] == [3, 4, 5]
        assert list(store.read_all(limit=0)) == []

    def test_the_log_is_narrowed_by_category(self, open_store: OpenStore) -> None:
        """A category is the text before the first hyphen; a branch is in one of its own."""
        store = open_store()
        for stream in ("call-1", "agent-1", "call-2", "call", "call-1~b", "calls-1"):
            store.append(stream, said("a", "b"))
        store.append("call-2", said("c"))

        def streams(categories: list[str], after: int = 0) -> list[str]:
            found = store.read_all(categories=categories, after=after)
            return list(dict.fromkeys(e.stream for e in found))

        assert streams(["call"]) == ["call-1", "call-2", "call"]
        assert streams(["call"], after=8) == ["call-2"]
        assert streams(["call~", "agent"]) == ["agent-1", "call-1~b"]
        assert streams(["cal", "call-1", ""]) == []
        assert streams([]) == []

    def test_the_log_is_narrowed_by_type(self, open_store: OpenStore) -> None:
        """Among more types than fit a set of bits, each type finds its own events and no others."""
        store = open_store()
        types = [f"test.t{number}" for number in range(MANY_TYPES)]
        for start in range(0, MANY_TYPES, 7):
            store.append(f"call-{start}", untyped(*types[start : start + 7]))
        for type_name in types:
            found = list(store.read_all(types=[type_name]))
            assert [(e.type, e.data) for e in found] == [(type_name, {"of": type_name})]
        last_four = [types[0], types[61], types[62], types[69]]
        assert [e.type for e in store.read_all(types=last_four)] == last_four
        assert [e.type for e in store.read_all(types=last_four, limit=3)] == last_four[:3]
        assert [e.type for e in store.read_all(types=last_four, after=1)] == last_four[1:]
        assert list(store.read_all(types=["test.t", "t0", "test.t70"])) == []
        assert list(store.read_all(types=[])) == []

    def test_a_type_means_all_its_schemas(self, open_store: OpenStore) -> None:
        """An old event is found by its type and comes back in the current schema."""
        store = open_store()
        store.append("call-1", [Event("test.paid", {"cents": 150}), *said("a")])
        store.append("call-1", [Paid("2.50")])  # type: ignore[arg-type]
        paid = list(store.read_all(types=["test.paid"]))
        assert [(e.version, e.stored_kind.schema, e.schema) for e in paid] == [(0, 1, 2), (2, 2, 2)]
        assert [e.data["amount"] for e in paid] == ["1.5", "2.50"]

    def test_category_and_type_narrow_together(self, open_store: OpenStore) -> None:
        """Only events that are both; the limit counts what is given."""
        store = open_store()
        for stream in ("call-1", "agent-1"):
            store.append(stream, [*said("a"), *untyped("test.x"), *said("b")])
        both = store.read_all(categories=["agent"], types=["test.said"])
        assert [e.id for e in both] == ["agent-1@0", "agent-1@2"]
        limited = store.read_all(categories=["agent"], types=["test.said"], limit=1)
        assert [e.id for e in limited] == ["agent-1@0"]

    def test_one_name_in_the_place_of_several_is_refused(self, open_store: OpenStore) -> None:
        """A string is a sequence of letters: taken as one it would find nothing, in silence."""
        store = open_store()
        store.append("call-1", said("a"))
        raised(UsageError, store.read_all, types="test.said")
        raised(UsageError, store.read_all, categories="call")

    def test_a_read_ends_with_what_was_there(self, open_store: OpenStore) -> None:
        """Appending for every event that is read does not read for ever within a page."""
        store = open_store()
        store.append("call-1", said("a", "b", "c"))
        for event in store.read("call-1"):
            store.append("call-1", said(f"answer to {event.version}"))
        assert store.head("call-1") == 5
