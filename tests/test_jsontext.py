"""JSON text read fast says what it says read carefully, to the last digit; no key stands twice."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from refold.core import jsonvalue
from refold.errors import UsageError
from refold.jsontext import read

KEYS = st.sampled_from(
    ['"a"', '"b"', r'"a\\"', r'"\""', '":"', r'"\":"', r'"\u003a"', r'"\u0022"', r'"\u005c"']
)
LEAVES = st.sampled_from(
    [
        "1", "-0", "1.10", "1e400", "12345678901234567890123", "0.1000000000000000055511151231257",
        "null", "true", "NaN", "tru", '"a"', '":"', '": x"', r'"\u003a"', r'"\":"', r'"a\\"',
        r'"\\\":"', r'"\ud800"', '"\x01"', '"\u00e9"', "",
    ]
)  # fmt: skip
COLONS = st.sampled_from([":", ":", ":", " :", "\n:", ": ", "::"])


def members(values: Any) -> Any:
    pairs = st.lists(st.tuples(KEYS, COLONS, values), max_size=4)
    return pairs.map(lambda told: "{" + ",".join(map("".join, told)) + "}")


TEXTS = st.recursive(
    LEAVES,
    lambda inner: members(inner) | st.lists(inner, max_size=3).map(lambda t: f"[{','.join(t)}]"),
    max_leaves=8,
)


def told(how: Any, text: str | bytes) -> str:
    """What a reader says of a text: the value as it prints, or the error."""
    try:
        return repr(how(text))
    except (ValueError, UsageError, RecursionError) as error:
        return f"{type(error).__name__}: {error}"


@given(TEXTS)
def test_it_reads_as_the_careful_reader_does(text: str) -> None:
    """Each value, with its type, and each error, of text and of bytes."""
    assert told(read, text) == told(jsonvalue.read, text)
    assert told(read, text.encode()) == told(jsonvalue.read, text.encode())


@pytest.mark.parametrize(
    "text", ["[" * 300 + "]" * 300, "[" * 9_000 + "]" * 9_000, "9" * 9_000, "", "[1] 2", "\ufeff1"]
)
def test_what_is_at_an_edge_reads_the_same(text: str) -> None:
    """Deep, long, empty, more than one, behind a byte order mark."""
    assert told(read, text) == told(jsonvalue.read, text)


def test_objects_with_a_key_twice_may_be_kept() -> None:
    """By whoever says how: of those alone it is asked here, in most texts of none."""
    asked: list[Any] = []

    def kept(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        asked.append(pairs)
        return dict(pairs)

    assert read('{"a": {"b": 1}}', kept) == {"a": {"b": 1}}
    assert asked == []
    assert read('{"a": 1, "a": 2}', kept) == {"a": 2}
    assert asked == [[("a", 1), ("a", 2)]]
