"""What an append expects."""

from __future__ import annotations

from typing import Any

import pytest

from refold.core.expected import (
    ANY,
    NO_STREAM,
    STREAM_EXISTS,
    Expected,
    check_expected,
    check_head,
)
from refold.errors import Conflict, UsageError


@pytest.mark.parametrize(
    ("expected", "met_at"),
    [
        (ANY, {-1, 0, 1, 2}),
        (NO_STREAM, {-1}),
        (STREAM_EXISTS, {0, 1, 2}),
        (0, {0}),
        (1, {1}),
        (7, set()),
    ],
)
def test_each_expectation_is_met_where_it_says(expected: Expected, met_at: set[int]) -> None:
    """By a missing stream (-1), or by last versions 0, 1, 2; else the conflict tells both sides."""
    check_expected(expected)
    for head in (-1, 0, 1, 2):
        if head in met_at:
            check_head(stream="call-1", expected=expected, head=head)
            continue
        with pytest.raises(Conflict) as caught:
            check_head(stream="call-1", expected=expected, head=head)
        conflict = caught.value
        assert (conflict.stream, conflict.expected, conflict.actual) == ("call-1", expected, head)


@pytest.mark.parametrize("expected", [-1, True, False, 1.0, "any", None, [0]])
def test_what_no_stream_can_be_at_is_refused(expected: Any) -> None:
    """``-1`` too: a stream that is not there is ``NO_STREAM``, which cannot be a slip."""
    with pytest.raises(UsageError) as caught:
        check_expected(expected)
    assert caught.value.expected == expected
