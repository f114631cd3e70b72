"""Which stream a call is recorded in: the one that it goes on with, a branch of it, or a new one.

The rules and their limits stand in docs/explanation/capture.md.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, Final, NamedTuple

from refold.capture.call import Call
from refold.capture.conversations import (
    RESPONSE,
    Chain,
    after_last_answer,
    chains_of,
    looked_for,
    named_in,
)
from refold.capture.followed import Followed, goes_on
from refold.capture.histories import Histories, Spot
from refold.conversation.apis.base import Asked
from refold.conversation.events import AgentConfigured
from refold.core.expected import NO_EVENTS
from refold.engine.store import Store
from refold.errors import Conflict

FOLLOWED_MAX: Final = 64
"""How many streams are at hand; others are read again when a call goes on with them."""
RETRY_US_MAX: Final = 600 * 1_000_000
"""How long after a first request without an answer the same one tries again, and begins nothing."""


class Placed(NamedTuple):
    """Where a call belongs.

    ``chain`` is the history that it is about, of which the stream holds the first ``seen``
    elements; ``conversation`` is what the stream is part of.
    """

    state: Followed
    chain: Chain
    seen: int
    conversation: str


class Places:
    """The streams of a store that calls are captured into."""

    def __init__(self, store: Store, category: str) -> None:
        self._store, self._category = store, category
        self._followed: dict[str, Followed] = {}
        self.histories = Histories(store)

    def following(self, stream: str) -> Followed:
        """A stream as it stands now, a new one too."""
        state = self._followed.pop(stream, None) or Followed(self._store, stream)
        self._followed[stream] = state
        if len(self._followed) > FOLLOWED_MAX:
            del self._followed[next(iter(self._followed))]
        state.catch_up()
        return state

    def place(self, call: Call, body: Mapping[str, Any], asked: Asked) -> Placed:
        """Where a call belongs; makes the branch where it belongs on one."""
        named = call.conversation or named_in(body, self._category)
        chains = chains_of(asked.elements, Chain())
        wanted = looked_for(chains)
        if isinstance(answered := body.get("previous_response_id"), str):
            wanted = [(RESPONSE + answered, 0)]
        spots = self.histories.spots([tag for tag, _ in wanted])
        for tag, seen in wanted:
            is_known = tag.startswith(RESPONSE) or chains[seen].answered
            state = self._fitting(tag, spots.get(tag, ()), call, named, is_known=is_known)
            if state is not None:
                if tag.startswith(RESPONSE):
                    chains = chains_of(asked.elements, Chain.at(state.tags))
                root = named or state.notes.stream.partition("~")[0]
                return Placed(state, chains[-1], seen, root)
        return self._unfitting(call, named, asked, chains[-1])

    def _fitting(
        self, tag: str, spots: Sequence[Spot], call: Call, named: str | None, *, is_known: bool
    ) -> Followed | None:
        """The stream that ends with a history, or a branch from where it stood."""
        ours = [one for one in spots if named is None or _is_part(one.stream, named)]
        for stream in [one.stream for one in ours]:
            state = self.following(stream)
            is_free = not any(goes_on(*one, now_us=call.started_us) for one in state.open.items())
            is_meant = is_known or named is not None or _asks_again(state, call)
            if tag in state.tags and is_free and is_meant:
                return state
        return self._branched(ours[0], call) if is_known and ours else None

    def _branched(self, spot: Spot, call: Call) -> Followed:
        name = f"{spot.stream.partition('~')[0]}~{call.id[-12:]}"
        with suppress(Conflict):  # It was made before an append was lost to another writer.
            self._store.branch(spot.stream, at=spot.version).save(name)
        return self.following(name)

    def _unfitting(self, call: Call, named: str | None, asked: Asked, chain: Chain) -> Placed:
        """Where a call belongs whose history stands nowhere."""
        if named is None:
            stream = f"{self._category}-{call.id}"
            return Placed(self.following(stream), chain, 0, stream)
        state = self.following(named)
        if _is_aside(asked.agent, state.notes.agent):
            return Placed(self.following(f"{named}.{call.id[-12:]}"), chain, 0, named)
        is_new = state.notes.version == NO_EVENTS
        return Placed(state, chain, 0 if is_new else after_last_answer(asked.elements), named)


def _is_part(stream: str, conversation: str) -> bool:
    return stream == conversation or stream.startswith((f"{conversation}~", f"{conversation}."))


def _is_aside(now: AgentConfigured, before: AgentConfigured | None) -> bool:
    """Whether another agent than the one before is at work: with another prompt and other tools."""
    if before is None:
        return False
    tools = [{tool.name for tool in agent.tools} for agent in (now, before)]
    return tools[0] != tools[1] and now.prompt != before.prompt


def _asks_again(state: Followed, call: Call) -> bool:
    """Whether a call repeats the last request of a stream, and soon."""
    asked, at_us = state.asked
    is_soon = call.started_us - at_us < RETRY_US_MAX
    return is_soon and asked == hashlib.sha256(call.request).hexdigest()
