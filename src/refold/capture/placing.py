"""Which stream a call is recorded in: the one that it goes on with, a branch of it, or a new one.

The rules and their limits stand in docs/explanation/capture.md.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from hashlib import blake2b, sha256
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit

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
from refold.capture.elements import decode_list, decode_top
from refold.capture.streams import Followed, Histories, goes_on
from refold.conversation.apis.base import Asked
from refold.conversation.events import AgentConfigured
from refold.conversation.openai_chat import AGENT_UNKNOWN
from refold.engine.store import Store
from refold.errors import Conflict, InvalidEvent

DIGESTS_MAX: Final = 500_000
"""How many digests of elements are at hand, of about 100 bytes; the streams of others are read
again when a call goes on with them."""
RETRY_US_MAX: Final = 600 * 1_000_000
"""How long after a first request without an answer the same one tries again, and begins nothing."""


KEYS: Final = ("messages", "input", "contents")
"""The lists that hold a conversation in a request, in one API or another."""
HEARD_MAX: Final = 64
"""How many conversations are at hand; others are read again as a whole."""
AGAIN: Final = "again:"
"""In place of a tag: the last request of a stream, which had no answer."""


class Placed(NamedTuple):
    """Where a call belongs, and what it says.

    ``conversation`` is what the stream is part of, ``chain`` the history that the call is about.
    ``asked`` is what the request says beyond what was read before; the stream holds the first
    ``seen`` elements of it.
    """

    state: Followed
    conversation: str
    chain: Chain
    asked: Asked
    seen: int


class Places:
    """The streams of a store that calls are captured into."""

    def __init__(self, store: Store, category: str) -> None:
        self._store, self._category = store, category
        self._followed: dict[str, Followed] = {}
        self._heard = Heard()
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

    def place(self, call: ModelCall, body: Mapping[str, Any]) -> Placed:
        """The stream that a call goes on with, a branch of it, or a new one."""
        call.conversation = call.conversation or named_in(body, self._category)
        said = _parted(call.request, body)
        unread, start = self._heard.unread(said, body)
        asked = asked_in(call, unread)
        placed = self._fitting(call, body, asked, start)
        if placed is None and start.digest:
            asked = asked_in(call, body)
            placed = self._fitting(call, body, asked, Chain())
        placed = placed or self._unfitting(call, asked)
        self._heard.note(said.items, asked, placed.chain)
        return placed

    def _fitting(
        self, call: ModelCall, body: Mapping[str, Any], asked: Asked, start: Chain
    ) -> Placed | None:
        """The stream that goes on with what a call says after the history ``start``, if any."""
        chains = chains_of(asked.elements, start)
        wanted = beginnings(chains)
        answered = response_tags(body.get("previous_response_id"))
        if answered:
            wanted = [Beginning(AGAIN, seen=len(asked.elements), answered=True)]
            wanted += [Beginning(tag, seen=0, answered=True) for tag in answered]
        found = self._ending_so(wanted, call)
        if found is None:
            self.histories.look_up([one.tag for one in wanted])
            found = self._ending_so(wanted, call)
            if found is None and not start.digest:  # All of the history is here to choose from.
                found = self._branching(wanted, call)
        if found is None:
            return None
        state, seen = found
        if answered:
            before = state.asked[2] if seen else state.tags
            chains = chains_of(asked.elements[seen:], Chain.at(before))
        conversation = call.conversation or _root(state.notes.stream)
        return Placed(state, conversation, chains[-1], asked, seen)

    def _ending_so(
        self, wanted: Sequence[Beginning], call: ModelCall
    ) -> tuple[Followed, int] | None:
        """A stream that ends as a call's history begins, and how much of that it is."""
        spots = (spot for one in wanted for spot in self.histories.at_hand(one.tag))
        for stream in dict.fromkeys(spot.stream for spot in spots):
            if not is_part(stream, call.conversation):
                continue
            state = self.following(stream)
            if any(goes_on(*one, now_us=call.started_us) for one in state.open.items()):
                continue
            asks_again = _asks_again(state, call)
            # Of an answer that came nothing asks again, but for another one.
            tags = state.tags | ({AGAIN} if asks_again and state.asked[2] <= state.tags else set())
            longest = next((one for one in wanted if one.tag in tags), None)
            if longest and (longest.answered or call.conversation or asks_again):
                return state, longest.seen
        return None

    def _branching(
        self, wanted: Sequence[Beginning], call: ModelCall
    ) -> tuple[Followed, int] | None:
        """A branch from where the longest beginning stood in which an agent had spoken."""
        for one in wanted:
            for spot in self.histories.at_hand(one.tag) if one.answered else ():
                if is_part(spot.stream, call.conversation):
                    name = f"{_root(spot.stream)}~{call.id[-12:]}"
                    with suppress(Conflict):  # Made before an append was lost to another writer.
                        self._store.branch(spot.stream, at=spot.version).save(name)
                    return self.following(name), one.seen
        return None

    def _unfitting(self, call: ModelCall, asked: Asked) -> Placed:
        """Where a call belongs whose history stands nowhere."""
        named = call.conversation
        state = self.following(named or f"{self._category}-{call.id}")
        # Tools may have run before the first call.
        is_new = not state.asked[0] and state.notes.spoken is None
        seen = 0 if is_new else after_last_answer(asked.elements)
        conversation = state.notes.stream
        if named and _is_aside(asked.agent, state.notes.agent):
            state, seen = self.following(f"{named}.{call.id[-12:]}"), 0
        return Placed(state, conversation, chains_of(asked.elements, Chain())[-1], asked, seen)


def asked_in(call: ModelCall, body: Mapping[str, Any]) -> Asked:
    """What a body of a call says; nothing where it is none of its API."""
    try:
        return call.api.read_request(body, urlsplit(call.url).path)
    except InvalidEvent:
        return Asked(AGENT_UNKNOWN, [], [])


def _root(stream: str) -> str:
    """The stream that a branch began in, or itself."""
    return stream.partition("~")[0]


def is_part(stream: str, conversation: str | None) -> bool:
    """Whether a stream is of a conversation: its own, a branch of it, or one beside it.

    None is any conversation.
    """
    own = conversation
    return own is None or stream == own or stream.startswith((f"{own}~", f"{own}."))


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


# -- what was read before -------------------------------------------------------------------------


class _SoFar(NamedTuple):
    """So many messages, by the hash of their bytes, and the history that they are."""

    length: int
    digest: bytes
    chain: Chain


class Heard:
    """The messages of the last requests with the histories that they are.

    Reading the events of 2,000 messages again at each turn would take ten times as long as keeping
    their bytes. What is compared is the bytes of the messages: 1, 1.0 and true are three.
    """

    def __init__(self) -> None:
        self._last: dict[bytes, _SoFar] = {}

    def unread(self, said: _Said, body: Mapping[str, Any]) -> tuple[Mapping[str, Any], Chain]:
        """The body of a request without what was read before, and the history that this is.

        Messages of the system that come first stay: they configure the agent. What is sent to go on
        from an earlier response is all new.
        """
        known = self._last.get(_hash(said.items[:1]))
        if known is None or _hash(said.items[: known.length]) != known.digest:
            return body, Chain()
        items, first = body[said.key], said.prompts + known.length
        # A prompt that comes next would stand with those that come first.
        if any(map(_is_prompt, items[first : first + 1])):
            return body, Chain()
        return {**body, said.key: [*items[: said.prompts], *items[first:]]}, known.chain

    def note(self, said: Sequence[bytes], asked: Asked, chain: Chain) -> None:
        """A whole request was read, to a history; not where the agent changes within it."""
        first = _hash(said[:1])
        self._last.pop(first, None)
        agents = (isinstance(one.data, AgentConfigured) for el in asked.elements for one in el)
        if said and not any(agents):
            self._last[first] = _SoFar(len(said), _hash(said), chain)
        if len(self._last) > HEARD_MAX:
            del self._last[next(iter(self._last))]


class _Said(NamedTuple):
    """Where the messages of a request stand, how many prompts come first, the others' bytes."""

    key: str = ""
    prompts: int = 0
    items: Sequence[bytes] = ()


def _parted(request: bytes, body: Mapping[str, Any]) -> _Said:
    """Its messages; none where it goes on from an earlier response, of which it says nothing."""
    key = next((key for key in KEYS if isinstance(body.get(key), list)), None)
    if key is None or "previous_response_id" in body:
        return _Said()
    count = next((n for n, one in enumerate(body[key]) if not _is_prompt(one)), 0)
    said = decode_list(decode_top(request)[key])[count:]
    return _Said(key, count, [*map(bytes, said)])


def _is_prompt(item: Any) -> bool:
    return isinstance(item, Mapping) and item.get("role") in ("system", "developer")


def _hash(said: Sequence[bytes]) -> bytes:
    return blake2b(b"\n".join(said), digest_size=16).digest()
