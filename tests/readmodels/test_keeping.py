"""However the read models are kept, the rows are the same."""

from collections.abc import Iterator
from pathlib import Path

import pytest

import refold
from refold.conversation.importers import import_files
from refold.ports import TableKeeper
from refold.projections import Projector
from refold.projections.cursor import Context
from refold.projections.runner import Runner
from refold.readmodels import built_in
from tests.conversation.importers.inputs import real
from tests.readmodels.naive import rows_of
from tests.readmodels.tables import Tables, caught_up, rows_in

NOON = 1_772_366_400_000_000
CUTS = (1, 2, 3, 700, 701, 2_000, 3_333, 5_000)
"""Positions of the log, most of them in the middle of an append."""


def imported(store: refold.Store) -> refold.Store:
    file = real("tau-bench", "gpt-4o-airline.json")
    assert import_files(store, "tau-bench", [file]).imported == 200
    return store


@pytest.fixture
def airline(tmp_path: Path) -> Iterator[refold.Store]:
    """The 200 recorded conversations, in a file."""
    with refold.open(tmp_path / "log.db", clock=lambda: NOON) as store:
        yield imported(store)


@pytest.fixture(scope="module")
def expected() -> Tables:
    """What the tables must say of them."""
    with refold.open("memory:", clock=lambda: NOON) as store:
        return rows_of(imported(store).read_all())


def test_a_restart_in_the_middle_of_an_append_changes_nothing(
    airline: refold.Store, expected: Tables
) -> None:
    """Runners that each go on from where the one before stopped come to the same rows."""
    backend = airline._backend
    assert isinstance(backend, TableKeeper)
    context = Context(backend, backend, lambda: 0, lambda _pause_s: False)
    for projection in built_in():
        for cut in CUTS:
            Runner(context, projection).advance(until=cut)
    assert caught_up(airline) == expected


def test_a_rebuild_gives_the_same_rows(airline: refold.Store) -> None:
    """A second generation beside the first holds what the first does."""
    before = caught_up(airline)
    projector = Projector(airline, built_in())
    for name in projector.projections:
        assert projector.rebuild(name) == 2
    assert rows_in(projector) == before


def test_rows_kept_inline_are_those_that_follow(tmp_path: Path, expected: Tables) -> None:
    """In the transaction of the append they are there at once, and the same."""
    with refold.open(tmp_path / "inline.db", clock=lambda: NOON, inline=built_in()) as store:
        imported(store)
        rows = rows_in(Projector(store, built_in()))
    assert rows == expected


def test_rows_may_live_elsewhere(airline: refold.Store, expected: Tables) -> None:
    """In memory, or in another file, with nothing in the log's."""
    with refold.open("memory:") as elsewhere:
        projector = Projector(airline, built_in(), rows=elsewhere)
        projector.catch_up()
        assert rows_in(projector) == expected
    assert Projector(airline, []).query("SELECT name FROM sqlite_schema WHERE name = 'costs'") == []
