"""Given/when/then for projections."""

from collections.abc import Callable

import msgspec
import pytest

from refold import Append, Event, Registry
from refold.projections import Projection, Rows, Table
from refold.testing import given
from refold.testing.projected import Projected


class Total(msgspec.Struct):
    """What one stream adds up to."""

    stream: str
    amount: int = 0


TOTALS = Table("totals", Total, key="stream")


@pytest.fixture
def totals() -> Projection:
    """Adds up ``added`` events by stream."""
    projection = Projection(
        "totals",
        tables=[TOTALS],
        views={"grand_total": "SELECT sum(amount) AS amount FROM {totals}"},
        registry=Registry(),
    )

    @projection.on("added")
    def _(rows: Rows, event: dict[str, int], recorded: object) -> None:
        stream = recorded.stream  # type: ignore[attr-defined]
        row = rows.get(TOTALS, stream) or Total(stream)
        row.amount += event["amount"]
        rows.put(TOTALS, row)

    return projection


def added(amount: object) -> Event:
    """An event of the projection."""
    return Event("added", {"amount": amount})


def failure(check: Callable[[], object]) -> str:
    """What a failed expectation says."""
    with pytest.raises(AssertionError) as failed:
        check()
    return str(failed.value)


def test_rows_and_views_are_as_expected(totals: Projection) -> None:
    """Rows are compared in any order, queries in theirs; each `then` can be followed by another."""
    said = given(totals, added(2), Append("b", [added(3), added(4)]), added(1))
    assert isinstance(said, Projected)
    said.then_rows(TOTALS, [Total("b", 7), Total("test-1", 3)]).then_selected(
        "SELECT amount FROM grand_total", [(10,)]
    )
    given(totals).then_rows(TOTALS, [])


def test_a_difference_is_told_by_what_is_missing_and_what_is_too_much(totals: Projection) -> None:
    """The story names the events, the rows that were expected and those that were there."""
    said = failure(lambda: given(totals, added(2)).then_rows(TOTALS, [Total("test-1", 3)]))
    assert "added {'amount': 2}" in said
    assert "missing  Total(stream='test-1', amount=3)" in said
    assert "surplus  Total(stream='test-1', amount=2)" in said
    said = failure(lambda: given(totals, added(2)).then_selected("SELECT 1", [(2,)]))
    assert "expected (2,)" in said
    assert "but got  (1,)" in said


def test_the_same_row_twice_is_not_the_same_rows(totals: Projection) -> None:
    """Expecting a row twice that is there once fails."""
    twice = [Total("test-1", 2), Total("test-1", 2)]
    assert failure(lambda: given(totals, added(2)).then_rows(TOTALS, twice))


def test_a_failing_handler_is_expected_by_its_event(totals: Projection) -> None:
    """`then_failed` names the event; without it a failure is never passed over."""
    said = given(totals, added(1), added("much"), added(2))
    said.then_failed("test-1@1", "TypeError")
    assert "test-1@1" in failure(lambda: said.then_failed("test-1@0"))
    assert "test-1@1" in failure(lambda: said.then_rows(TOTALS, [Total("test-1", 1)]))
    assert failure(lambda: given(totals, added(1)).then_failed("test-1@0"))
