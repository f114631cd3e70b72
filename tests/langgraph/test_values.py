"""What a serialiser made comes back to the byte, and is JSON to be read where it can be."""

import json
import math
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.messages import AIMessage, HumanMessage
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
from langgraph.types import Interrupt, Send

from refold.langgraph.values import DEPTH_MAX, _extension, read, shown, typed

SERDE = JsonPlusSerializer()
LEAVES = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats()
    | st.text()
    | st.binary()
    | st.sampled_from(["$ext", "$msgpack", "$typed"])
)
VALUES: st.SearchStrategy[Any] = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner)
        | st.dictionaries(st.text() | st.sampled_from(["$ext", "of", "$typed"]), inner)
        | st.dictionaries(st.integers(-5, 5), inner)
        | st.tuples(inner, inner)
    ),
)


def kept(serialised: tuple[str, bytes]) -> tuple[str, bytes]:
    """What comes back through the JSON text that is stored."""
    return typed(read(shown(serialised)))


@given(VALUES)
def test_a_value_comes_back_to_the_byte(value: Any) -> None:
    """Whatever LangGraph's serialiser takes, words of the form itself among it."""
    serialised = SERDE.dumps_typed(value)
    assert kept(serialised) == serialised
    json.dumps(read(shown(serialised)), allow_nan=False)


@given(st.sampled_from(["msgpack", "json", "pickle", "null", "msgpack+aes"]), st.binary())
def test_bytes_of_any_serialiser_come_back(kind: str, data: bytes) -> None:
    """Msgpack that is none, or not written the shortest way, is kept as it is."""
    assert kept((kind, data)) == (kind, data)


@pytest.mark.parametrize("data", [b"\xcc\x01", b"\xc0", b"\x92\x01", b"\x81\xa1a\xcd\x00\x01"])
def test_msgpack_written_another_way_comes_back(data: bytes) -> None:
    """A number in more bytes than it needs, nil alone, a list cut short."""
    assert kept(("msgpack", data)) == ("msgpack", data)


def test_messages_are_read_as_json() -> None:
    """What was said stands there in words, however deep in objects."""
    value = [HumanMessage("Is nine free?"), Send("node", {"with": AIMessage("It is.")})]
    node = read(shown(SERDE.dumps_typed(value)))
    assert node[0]["of"][:2] == ["langchain_core.messages.human", "HumanMessage"]
    assert node[0]["of"][2]["content"] == "Is nine free?"
    assert "It is." in json.dumps(node[1])
    assert "$msgpack" not in json.dumps(node)


def test_what_json_has_not_does_not_hide_what_it_has() -> None:
    """Bytes, NaN and keys that are no text are base64, their neighbours stay readable."""
    value = {
        "said": "hello",
        "logprob": math.nan,
        "image": b"\x00",
        "by": {1: "x"},
        "i": Interrupt(1),
    }
    node = read(shown(SERDE.dumps_typed(value)))
    assert node["said"] == "hello"
    assert all(set(node[name]) == {"$msgpack"} for name in ("logprob", "image", "by"))
    assert node["i"]["of"][:2] == ["langgraph.types", "Interrupt"]


@pytest.mark.parametrize("depth", [DEPTH_MAX - 1, DEPTH_MAX, DEPTH_MAX + 1, 250])
def test_a_deep_value_comes_back(depth: int) -> None:
    """What is deeper than a payload may be is base64 from there on."""
    value: Any = "in"
    for _ in range(depth):
        value = [value]
    serialised = SERDE.dumps_typed(value)
    assert kept(serialised) == serialised


def test_whole_values_are_not_held() -> None:
    """Each of a thread's is as long as the thread: only the objects in them are read once."""
    before = _extension.cache_info().currsize
    for count in range(20):
        shown(("msgpack", msgspec.msgpack.encode([f"{n} of these" for n in range(count)])))
    assert _extension.cache_info().currsize == before
