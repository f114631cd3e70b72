"""Streams of frames for the readers' tests: as servers send them, cut into any chunks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any

import msgspec
from hypothesis import strategies as st

from refold.conversation.apis.sse import Frame

Body = dict[str, Any]


def frame(data: Mapping[str, Any] | str, event: str = "") -> Frame:
    return Frame(event, data if isinstance(data, str) else msgspec.json.encode(data).decode())


def wire(frames: Iterable[Frame]) -> bytes:
    """The frames as bytes of an event stream."""
    return b"".join(
        (f"event: {event}\n" if event else "").encode() + f"data: {data}\n\n".encode()
        for event, data in frames
    )


def pieces(text: str, cuts: Sequence[int]) -> list[str]:
    """A text in pieces, cut at these places modulo its length."""
    places = sorted({cut % (len(text) + 1) for cut in cuts} | {0, len(text)})
    return [text[a:b] for a, b in pairwise(places)]


def chunked(raw: bytes, cuts: Sequence[int]) -> list[bytes]:
    places = sorted({cut % (len(raw) + 1) for cut in cuts} | {0, len(raw)})
    return [raw[a:b] for a, b in pairwise(places)]


cuts = st.lists(st.integers(0, 10_000), max_size=6)
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
words = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12)


def set_in(value: Any) -> Any:
    """The value without nulls inside."""
    if isinstance(value, dict):
        return {key: set_in(inner) for key, inner in value.items() if inner is not None}
    return [set_in(inner) for inner in value] if isinstance(value, list) else value
