"""The conversations that were read before, so that of a request only what is new need be read.

Reading the events of 2,000 messages again at each turn would take ten times as long as keeping
their bytes. What is compared is what the messages say as JSON values.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from refold.capture.conversations import Chain
from refold.conversation.apis.base import Asked
from refold.conversation.events import AgentConfigured

KEYS: Final = ("messages", "input", "contents")
"""The lists that hold a conversation in a request, in one API or another."""
HEARD_MAX: Final = 64
"""How many conversations are at hand; others are read again as a whole."""


class Heard:
    """The messages of the last requests with the histories that they are."""

    def __init__(self) -> None:
        self._last: dict[bytes, tuple[list[Any], Chain]] = {}

    def unread(self, body: Mapping[str, Any]) -> tuple[Mapping[str, Any], Chain]:
        """A request without what was read before, and the history that this is.

        Messages of the system that come first stay: they configure the agent. What is sent to go on
        from an earlier response is all new.
        """
        key, head, said = _parted(body)
        known, chain = self._last.get(_first(said), ([], Chain()))
        if not known or "previous_response_id" in body or said[: len(known)] != known:
            return body, Chain()
        rest = said[len(known) :]
        if rest and _is_prompt(rest[0]):  # It would stand with those that come first.
            return body, Chain()
        return {**body, key: [*head, *rest]}, chain

    def note(self, body: Mapping[str, Any], asked: Asked, chain: Chain) -> None:
        """A whole request was read, to a history; not where the agent changes within it."""
        _, _, said = _parted(body)
        self._last.pop(_first(said), None)
        agents = (isinstance(one.data, AgentConfigured) for el in asked.elements for one in el)
        if said and not any(agents):
            self._last[_first(said)] = (said, chain)
        if len(self._last) > HEARD_MAX:
            del self._last[next(iter(self._last))]


def _parted(body: Mapping[str, Any]) -> tuple[str, Sequence[Any], list[Any]]:
    """Where the messages of a request stand, those of the system that come first, the others."""
    key = next((key for key in KEYS if isinstance(body.get(key), list)), "")
    items = body.get(key, [])
    count = next((n for n, one in enumerate(items) if not _is_prompt(one)), 0)
    return key, items[:count], items[count:]


def _is_prompt(item: Any) -> bool:
    return isinstance(item, Mapping) and item.get("role") in ("system", "developer")


def _first(said: Sequence[Any]) -> bytes:
    return msgspec.json.encode(said[:1])
