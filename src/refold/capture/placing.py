"""Which stream a call is recorded in: the one that it goes on with, a branch of it, or a new one.

The rules and their limits stand in docs/explanation/capture.md.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from hashlib import sha256
from typing import Any, Final, NamedTuple

from refold.capture.call import ModelCall
from refold.capture.conversations import (
    Beginning,
    Chain,
    after_last_answer,
    beginnings,
    chains_of,
    named_in,
    response_tags,
)
from refold.capture.followed import Followed, goes_on
from refold.capture.histories import Histories, Spot
from refold.conversation.apis.base import Asked
from refold.conversation.events import AgentConfigured
from refold.engine.store import Store
from refold.errors import Conflict

DIGESTS_MAX: Final = 500_000
"""How many digests of elements are at hand, of about 100 bytes; the streams of others are read
again when a call goes on with them."""
RETRY_US_MAX: Final = 600 * 1_000_000
"""How long after a first request without an answer the same one tries again, and begins nothing."""


AGAIN: Final = "again:"
"""In place of a tag: the last request of a stream, which had no answer."""


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
        state = self._followed.pop(stream, None)
        if state is None:
            state = Followed(self._store, stream)
            while sum(map(len, self._followed.values())) > DIGESTS_MAX:
                del self._followed[next(iter(self._followed))]
        self._followed[stream] = state
        state.catch_up()
        return state

    def fitting(
        self, call: ModelCall, body: Mapping[str, Any], asked: Asked, start: Chain
    ) -> Placed | None:
        """The stream that a call goes on with, or a branch of it; None where none fits.

        ``asked`` is what it says after the history ``start``.
        """
        named = self._named(call, body)
        chains = chains_of(asked.elements, start)
        wanted = beginnings(chains)
        answered = response_tags(body.get("previous_response_id"))
        if answered:
            wanted = [Beginning(AGAIN, seen=len(asked.elements), answered=True)]
            wanted += [Beginning(tag, seen=0, answered=True) for tag in answered]
        found = self._ending_so(wanted, call, named)
        if found is None:
            self.histories.look_up([one.tag for one in wanted])
            found = self._ending_so(wanted, call, named)
            if found is None and not start.digest:  # All of the history is here to choose from.
                found = self._branching(wanted, call, named)
        if found is None:
            return None
        state, seen = found
        if answered:
            before = state.asked[2] if seen else state.tags
            chains = chains_of(asked.elements[seen:], Chain.at(before))
        return Placed(state, chains[-1], seen, named or state.notes.stream.partition("~")[0])

    def _ending_so(
        self, wanted: Sequence[Beginning], call: ModelCall, named: str | None
    ) -> tuple[Followed, int] | None:
        """A stream that ends as a call's history begins, and how much of that it is."""
        for stream in dict.fromkeys(spot.stream for _, spot in self._spots(wanted, named)):
            state = self.following(stream)
            if any(goes_on(*one, now_us=call.started_us) for one in state.open.items()):
                continue
            asks_again = _asks_again(state, call)
            # Of an answer that came nothing asks again, but for another one.
            tags = state.tags | ({AGAIN} if asks_again and state.asked[2] <= state.tags else set())
            longest = next((one for one in wanted if one.tag in tags), None)
            if longest and (longest.answered or named or asks_again):
                return state, longest.seen
        return None

    def _branching(
        self, wanted: Sequence[Beginning], call: ModelCall, named: str | None
    ) -> tuple[Followed, int] | None:
        """A branch from where the longest beginning stood in which an agent had spoken."""
        for one, spot in self._spots(wanted, named):
            if one.answered:
                return self._branched(spot, call), one.seen
        return None

    def _spots(
        self, wanted: Sequence[Beginning], named: str | None
    ) -> Iterator[tuple[Beginning, Spot]]:
        for one in wanted:
            for spot in self.histories.at_hand(one.tag):
                if named is None or is_part(spot.stream, named):
                    yield one, spot

    def _branched(self, spot: Spot, call: ModelCall) -> Followed:
        name = f"{spot.stream.partition('~')[0]}~{call.id[-12:]}"
        with suppress(Conflict):  # It was made before an append was lost to another writer.
            self._store.branch(spot.stream, at=spot.version).save(name)
        return self.following(name)

    def unfitting(self, call: ModelCall, body: Mapping[str, Any], asked: Asked) -> Placed:
        """Where a call belongs whose history stands nowhere."""
        chain, named = chains_of(asked.elements, Chain())[-1], self._named(call, body)
        state = self.following(named or f"{self._category}-{call.id}")
        stream = state.notes.stream
        if named and _is_aside(asked.agent, state.notes.agent):
            return Placed(self.following(f"{named}.{call.id[-12:]}"), chain, 0, named)
        # Tools may have run before the first call.
        is_new = not state.asked[0] and state.notes.spoken is None
        return Placed(state, chain, 0 if is_new else after_last_answer(asked.elements), stream)

    def _named(self, call: ModelCall, body: Mapping[str, Any]) -> str | None:
        return call.conversation or named_in(body, self._category)


def is_part(stream: str, conversation: str) -> bool:
    """Whether a stream is of a conversation: its own, a branch of it, or one beside it."""
    return stream == conversation or stream.startswith((f"{conversation}~", f"{conversation}."))


def _is_aside(now: AgentConfigured, before: AgentConfigured | None) -> bool:
    """Whether another agent than the one before is at work: with another prompt and other tools."""
    if before is None:
        return False
    tools = [{tool.name for tool in agent.tools} for agent in (now, before)]
    return tools[0] != tools[1] and now.prompt != before.prompt


def _asks_again(state: Followed, call: ModelCall) -> bool:
    """Whether a call repeats the last request of a stream, and soon."""
    asked, at_us, _ = state.asked
    return call.started_us - at_us < RETRY_US_MAX and asked == sha256(call.request).hexdigest()
