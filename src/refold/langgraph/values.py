"""What LangGraph's serialiser made, as JSON to be read and searched, and back to the same bytes.

msgpack becomes the JSON that it says. An extension, which is how an object such as a message is
kept, becomes ``{"$ext": its code, "of": what it holds}``; what JSON has not (bytes, NaN, keys that
are no text) ``{"$msgpack": base64}``; what another serialiser made, or msgpack that would not come
back to the byte, ``{"$typed": [its name, base64]}``.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from functools import lru_cache
from math import isfinite
from typing import Any, Final

import msgspec
from msgspec.msgpack import Ext, decode, encode

_AS_IS: Final = frozenset((type(None), str, int, bool))
DEPTH_MAX: Final = 100
"""How deep the JSON of a value goes; a payload may be 128 deep."""


def shown(serialised: tuple[str, bytes]) -> Any:
    """The JSON of what ``dumps_typed`` gave; each extension as its text, which is made once."""
    kind, data = serialised
    if kind == "null" and not data:
        return None
    node = _read(bytes(data), 0) if kind == "msgpack" else None
    return {"$typed": [kind, b64encode(data).decode()]} if node is None else node


def read(node: Any) -> Any:
    """The same with what its texts say."""
    return msgspec.json.decode(msgspec.json.encode(node))


def typed(node: Any) -> tuple[str, bytes]:
    """What ``loads_typed`` takes, of the JSON that :func:`shown` made of it, as it is read."""
    if isinstance(node, dict) and "$typed" in node:
        return node["$typed"][0], b64decode(node["$typed"][1])
    return ("null", b"") if node is None else ("msgpack", encode(_packed(node)))


def _read(data: bytes, depth: int) -> Any:
    """The JSON of msgpack; None where it would not come back to the byte, or says nil alone."""
    try:
        value = decode(data)
        return _node(value, depth) if encode(value) == data else None
    except (msgspec.MsgspecError, ValueError, TypeError):
        return None


# Most of a state was in the one before: each message is read once. Not a whole value: those of a
# thread are as long as it is, and so many of them would fill the memory.
@lru_cache(maxsize=4096)
def _extension(code: int, data: bytes, depth: int) -> msgspec.Raw | None:
    """The JSON text of an extension."""
    of = _read(data, depth)
    return None if of is None else msgspec.Raw(msgspec.json.encode({"$ext": code, "of": of}))


def _node(value: Any, depth: int) -> Any:
    if depth < DEPTH_MAX:
        kind = value.__class__
        if kind in _AS_IS or (kind is float and isfinite(value)):
            return value
        if kind is Ext and (text := _extension(value.code, bytes(value.data), depth + 1)):
            return text
        if kind is list:
            return [_node(item, depth + 1) for item in value]
        if kind is dict and all(isinstance(k, str) and k[:1] != "$" for k in value):
            return {key: _node(item, depth + 1) for key, item in value.items()}
    return {"$msgpack": b64encode(encode(value)).decode()}


def _packed(node: Any) -> Any:
    if isinstance(node, list):
        return [_packed(item) for item in node]
    if not isinstance(node, dict):
        return node
    if "$ext" in node:
        return Ext(node["$ext"], encode(_packed(node["of"])))
    if "$msgpack" in node:
        return msgspec.Raw(b64decode(node["$msgpack"]))
    return {key: _packed(item) for key, item in node.items()}
