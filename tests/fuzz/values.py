"""What the fuzzers are fed with, and how much of it: any value, and any damage to bytes."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from functools import wraps
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from tests.support.soak import bound, counted

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
HALVES = st.text(st.characters(), max_size=8) | st.sampled_from(["\ud800", "a\udfff", "\x00"])
"""Text that may hold half of a surrogate pair, which UTF-8 cannot."""
KEYS = TEXT | st.sampled_from(["", "$ref", "__class__", "a/b~c", "type", "0"])
LEAVES: st.SearchStrategy[Any] = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXT
    | st.text(st.characters(exclude_categories=["Cs"]), min_size=200, max_size=2_000)
)
JSON_VALUES: st.SearchStrategy[Any] = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=6) | st.dictionaries(KEYS, inner, max_size=6),
    max_leaves=25,
)
NESTED: st.SearchStrategy[Any] = st.builds(
    lambda depth, leaf, how: _nested(depth, leaf, how),
    st.integers(0, 400),
    LEAVES,
    st.lists(st.booleans(), min_size=1, max_size=4),
)
"""Values up to 400 levels deep, of lists and objects in turn."""
ODDITIES: st.SearchStrategy[Any] = st.one_of(
    st.floats(),
    st.decimals(),
    HALVES,
    st.binary(max_size=10),
    st.datetimes(timezones=st.just(UTC)),
    st.sets(st.integers(), max_size=3),
    st.tuples(st.integers(), TEXT),
    st.sampled_from([object(), 10**30, -(10**400), 1j, datetime, Decimal("1e400"), Ellipsis]),
)
ANYTHING: st.SearchStrategy[Any] = st.recursive(
    LEAVES | ODDITIES,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(KEYS | HALVES | st.integers() | st.none(), inner, max_size=4)
    ),
    max_leaves=12,
)
"""What a program may hand over, whether JSON has it or not."""
WRONG_JSON = [
    b"null", b"true", b"-1", b"1e999", b"-0.0", b"99999999999999999999", b'"\\ud800"', b'"\\u0000"',
    b'""', b"[]", b"{}", b"[", b"]", b"{", b"}", b",", b":", b'"', b"\\", b"\xff", b"\x00",
    b"NaN", b"\xed\xa0\x80", b"1.", b"// x", b"[[[[", b"\n",
]  # fmt: skip
"""Pieces of JSON, and of what only looks like it, to put in wrong places."""


def fuzzed(usual: int, soaking: int) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """So many examples in ``make test``, and in ``make soak``; goes over ``given``."""
    limits = settings(
        max_examples=bound(usual, soaking),
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )

    def fuzz(test: Any) -> Callable[..., None]:
        one_example = test.hypothesis.inner_test

        @wraps(one_example)
        def counting(*args: Any, **kwargs: Any) -> None:
            counted("fuzzed inputs")
            one_example(*args, **kwargs)

        test.hypothesis.inner_test = counting
        fuzzing: Callable[..., None] = limits(test)
        return fuzzing

    return fuzz


@st.composite
def damaged(draw: st.DrawFn, contents: Sequence[bytes], edits_max: int = 4) -> bytes:
    """One of some contents, cut, repeated, or with other bytes here and there."""
    content = bytearray(draw(st.sampled_from(contents)))
    for _ in range(draw(st.integers(1, edits_max))):
        at = draw(st.integers(0, len(content)))
        end = min(len(content), at + draw(st.integers(1, 40)))
        match draw(st.sampled_from(["flip", "cut", "delete", "insert", "replace", "repeat"])):
            case "flip" if at < len(content):
                content[at] ^= 1 << draw(st.integers(0, 7))
            case "cut":
                del content[at:]
            case "delete":
                del content[at:end]
            case "insert":
                content[at:at] = draw(st.sampled_from(WRONG_JSON) | st.binary(max_size=6))
            case "replace":
                content[at:end] = draw(st.sampled_from(WRONG_JSON))
            case _:
                content[end:end] = content[at:end]
    return bytes(content)


def same_json(first: Any, second: Any) -> bool:
    """Whether two values are the same as JSON: by type, by digit, and in the order of keys."""
    return json.dumps(first) == json.dumps(second)


def _nested(depth: int, leaf: Any, how: Sequence[bool]) -> Any:
    value = leaf
    for level in range(depth):
        value = [value] if how[level % len(how)] else {"x": value}
    return value
