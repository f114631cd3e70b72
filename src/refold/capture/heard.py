"""The conversations that were read before, so that of a request only what is new need be read.

Reading the events of 2,000 messages again at each turn would take ten times as long as keeping
their bytes. What is compared is the bytes of the messages: 1, 1.0 and true are three.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

import msgspec

from refold.capture.conversations import Chain
from refold.conversation.apis.base import Asked
from refold.conversation.events import AgentConfigured

KEYS: Final = ("messages", "input", "contents")
"""The lists that hold a conversation in a request, in one API or another."""
HEARD_MAX: Final = 64
"""How many conversations are at hand; others are read again as a whole."""

_decode_top: Final = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_decode_list: Final = msgspec.json.Decoder(list[msgspec.Raw]).decode


class _SoFar(NamedTuple):
    """So many messages, by the hash of their bytes, and the history that they are."""

    length: int
    digest: bytes
    chain: Chain


class Heard:
    """The messages of the last requests with the histories that they are."""

    def __init__(self) -> None:
        self._last: dict[bytes, _SoFar] = {}

    def unread(self, request: bytes, body: Mapping[str, Any]) -> tuple[Mapping[str, Any], Chain]:
        """The body of a request without what was read before, and the history that this is.

        Messages of the system that come first stay: they configure the agent. What is sent to go on
        from an earlier response is all new.
        """
        key, prompts, said = _parted(request, body)
        known = self._last.get(_hash(said[:1]))
        if known is None or "previous_response_id" in body:
            return body, Chain()
        items = body[key]
        rest = items[prompts + known.length :]
        # A prompt that comes next would stand with those that come first.
        if _hash(said[: known.length]) != known.digest or (rest and _is_prompt(rest[0])):
            return body, Chain()
        return {**body, key: [*items[:prompts], *rest]}, known.chain

    def note(self, request: bytes, body: Mapping[str, Any], asked: Asked, chain: Chain) -> None:
        """A whole request was read, to a history; not where the agent changes within it."""
        _, _, said = _parted(request, body)
        first = _hash(said[:1])
        self._last.pop(first, None)
        agents = (isinstance(one.data, AgentConfigured) for el in asked.elements for one in el)
        if said and not any(agents):
            self._last[first] = _SoFar(len(said), _hash(said), chain)
        if len(self._last) > HEARD_MAX:
            del self._last[next(iter(self._last))]


def _parted(request: bytes, body: Mapping[str, Any]) -> tuple[str, int, Sequence[bytes]]:
    """Where the messages of a request stand, how many prompts come first, the others' bytes."""
    key = next((key for key in KEYS if isinstance(body.get(key), list)), None)
    if key is None:
        return "", 0, ()
    items = body[key]
    count = next((n for n, one in enumerate(items) if not _is_prompt(one)), 0)
    return key, count, [bytes(raw) for raw in _decode_list(_decode_top(request)[key])[count:]]


def _is_prompt(item: Any) -> bool:
    return isinstance(item, Mapping) and item.get("role") in ("system", "developer")


def _hash(said: Sequence[bytes]) -> bytes:
    return hashlib.blake2b(b"\n".join(said), digest_size=16).digest()
