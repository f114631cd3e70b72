"""Time travel: the state of a stream as it was, by every measure of then."""

from __future__ import annotations

from decimal import Decimal

import msgspec

from refold.core.event import Event
from refold.core.fold import Fold
from refold.engine.store import Store
from refold.errors import CodecError, NotFound, UpcastFailed
from tests.conformance.sample import (
    HandClock,
    Ledger,
    OpenStore,
    Paid,
    Said,
    ledger,
    raised,
    said,
    untyped,
)

TIMES_US = (100, 100, 200, 350)
"""When the appends of the story were recorded; two at one instant."""


def told(open_store: OpenStore) -> Store:
    """Seven events over four appends, with another stream's between: texts 0 to 6."""
    clock = HandClock()
    store = open_store(clock=clock)
    parts = (("0", "1", "2"), ("3",), ("4", "5"), ("6",))
    for clock.us, part in zip(TIMES_US, parts, strict=True):
        store.append("call-1", said(*part))
        store.append("call-2", said("elsewhere"))
    return store


class Travelling:
    """Folds and their moments."""

    def test_a_fold_stands_where_its_last_event_stands(self, open_store: OpenStore) -> None:
        """State, version and position of the whole stream."""
        folded = told(open_store).fold("call-1", ledger)
        assert folded.state == Ledger(["0", "1", "2", "3", "4", "5", "6"])
        assert (folded.version, folded.position) == (6, 10)

    def test_a_state_by_version(self, open_store: OpenStore) -> None:
        """Inclusive, also inside an append; before the first it is the initial state."""
        store = told(open_store)
        for version in range(-2, 9):
            folded = store.fold("call-1", ledger, version=version)
            assert folded.state.texts == [str(n) for n in range(7) if n <= version]
            assert folded.version == max(min(version, 6), -1)
        assert store.fold("call-1", ledger, version=-1).position == 0

    def test_a_state_by_position(self, open_store: OpenStore) -> None:
        """What stood at or before a place of the whole log."""
        store = told(open_store)
        places = [e.position for e in store.read("call-1")]
        for position in range(-1, store.log_head() + 3):
            folded = store.fold("call-1", ledger, position=position)
            assert len(folded.state.texts) == sum(place <= position for place in places)
            assert folded.position <= max(position, 0)

    def test_a_state_by_what_was_known(self, open_store: OpenStore) -> None:
        """Everything recorded by an instant, and nothing after it."""
        store = told(open_store)
        for until, known in ((99, 0), (100, 4), (199, 4), (200, 6), (349, 6), (350, 7), (999, 7)):
            folded = store.fold("call-1", ledger, recorded_until=until)
            assert len(folded.state.texts) == known, until
        early = "1970-01-01T00:00:00.0002Z"
        assert store.fold("call-1", ledger, recorded_until=early).version == 5

    def test_a_state_by_what_had_happened(self, open_store: OpenStore) -> None:
        """By the events' own times, wherever they stand; without one, the time of recording."""
        store = open_store(clock=HandClock(1_000))
        times = {"late": 900, "early": 100, "middle": 500, "now": None}
        events = [Event.of(Said(text), occurred_at=time) for text, time in times.items()]
        store.append("call-1", events)
        for until, had in (
            (99, []),
            (100, ["early"]),
            (500, ["early", "middle"]),
            (900, ["late", "early", "middle"]),
            (1_000, ["late", "early", "middle", "now"]),
        ):
            assert store.fold("call-1", ledger, occurred_until=until).state.texts == had

    def test_every_bound_holds_at_once(self, open_store: OpenStore) -> None:
        """The narrowest of version, position and instant decides."""
        store = told(open_store)

        def count(**bounds: int) -> int:
            return len(store.fold("call-1", ledger, **bounds).state.texts)

        assert count(version=4, position=99, recorded_until=999) == 5
        assert count(version=4, position=2, recorded_until=999) == 2
        assert count(version=4, position=99, recorded_until=150) == 4
        assert count(version=4, occurred_until=150) == 4
        assert count(version=1, occurred_until=150) == 2

    def test_there_is_no_past_of_what_is_not_there(self, open_store: OpenStore) -> None:
        """A missing stream has no state at any moment."""
        store = told(open_store)
        raised(NotFound, store.fold, "call-9", ledger)
        raised(NotFound, store.fold, "call-9", ledger, recorded_until=0)

    def test_a_long_stream_folds_like_its_events(self, open_store: OpenStore) -> None:
        """Over several pages, with events that the fold does not know, exact to the cent."""
        store = open_store()
        for number in range(40):
            mixed = [Paid(Decimal("0.01")), *said(f"{number}"), *untyped(f"test.t{number}")]
            store.append("call-1", mixed * 20)
        folded = store.fold("call-1", ledger)
        assert folded == ledger.run(store.read("call-1"))
        assert (folded.state.total, folded.version) == (Decimal("8.00"), 2399)


class Upcasting:
    """Old shapes become new ones when they are read; what is stored stays as it was."""

    def test_old_and_new_fold_alike(self, open_store: OpenStore) -> None:
        """Stored bytes are untouched; data, events and folds are in the current schema."""
        store = open_store()
        store.append("call-1", [Event("test.paid", {"cents": 125}), Paid(Decimal("0.75"))])
        old, _new = store.read("call-1")
        assert (old.raw, old.stored_kind.schema, old.schema) == (b'{"cents":125}', 1, 2)
        assert (old.data, old.event) == ({"amount": "1.25"}, Paid(Decimal("1.25")))
        assert store.fold("call-1", ledger).state.total == Decimal("2.00")
        assert store.fold("call-1", ledger, version=0).state.total == Decimal("1.25")

    def test_an_upcaster_that_fails_names_the_event(self, open_store: OpenStore) -> None:
        """Reading goes on until the event is asked for; then the error says which it is."""
        store = open_store()
        store.append("call-1", [*said("a"), Event("test.paid", {"dollars": 1})])
        _, broken = store.read("call-1")
        assert broken.raw == b'{"dollars":1}'
        assert raised(UpcastFailed, lambda: broken.data).id == "call-1@1"
        assert raised(UpcastFailed, store.fold, "call-1", ledger).id == "call-1@1"
        assert store.fold("call-1", ledger, version=0).state.texts == ["a"]

    def test_a_payload_that_does_not_fit_names_the_event(self, open_store: OpenStore) -> None:
        """A fold by class finds it; one by type name has no class to fit."""
        store = open_store()
        store.append("call-1", [*said("a"), Event("test.said", msgspec.Raw(b'{"text":5}'))])
        assert raised(CodecError, store.fold, "call-1", ledger).id == "call-1@1"
        by_name: Fold[list[object]] = Fold("by name", list, registry=ledger.registry)

        @by_name.on("test.said")
        def _(state: list[object], event: dict[str, object]) -> list[object]:
            return [*state, event["text"]]

        assert store.fold("call-1", by_name).state == ["a", 5]
