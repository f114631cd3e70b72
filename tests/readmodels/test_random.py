"""Random histories give the rows that a look through the whole history gives."""

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

import refold
from refold.projections import Projector
from refold.readmodels import built_in
from tests.readmodels.naive import rows_of
from tests.readmodels.strategies import APPENDS
from tests.readmodels.tables import caught_up, rows_in
from tests.support.postgres import schema_of_its_own
from tests.support.soak import bound


@given(appends=APPENDS, pauses=st.sets(st.integers(0, 11)))
@settings(max_examples=100)
def test_the_rows_are_those_of_the_whole_history(appends: Any, pauses: set[int]) -> None:
    """Whatever happened, in whatever order and batches: each row is what the history comes to."""
    with refold.open("memory:") as store:
        check_rows(store, appends, pauses)


@given(appends=APPENDS, pauses=st.sets(st.integers(0, 11)))
@settings(max_examples=bound(6, 60))
def test_the_rows_in_postgresql_are_those_of_the_whole_history(
    appends: Any, pauses: set[int]
) -> None:
    """The same where log and rows are in a server."""
    with refold.open(schema_of_its_own()) as store:
        check_rows(store, appends, pauses)


def check_rows(store: refold.Store, appends: Any, pauses: set[int]) -> None:
    """Append, catch up now and then and at the end, and compare."""
    for number, (stream, events) in enumerate(appends):
        store.append(stream, events)
        if number in pauses:
            # A runner of its own each time: nothing is kept but the rows.
            caught_up(store)
    assert caught_up(store) == rows_of(store.read_all())


@given(appends=APPENDS)
@settings(max_examples=20)
def test_a_rebuild_gives_the_rows_that_are_there(appends: Any) -> None:
    """Rows that were kept append by append are those of a rebuild in one go."""
    with refold.open("memory:") as store:
        projector = Projector(store, built_in())
        projector.catch_up()
        for stream, events in appends:
            store.append(stream, events)
            projector.catch_up()
        before = rows_in(projector)
        for name in projector.projections:
            projector.rebuild(name)
        assert rows_in(projector) == before
