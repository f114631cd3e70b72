"""What goes over the wire, as classes: requests are decoded into them, answers made of them.

The document at ``/openapi.json`` is made of the same classes, so it says what is so.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import UNSET, Meta, Raw, UnsetType

from refold.core.event import NAME_BYTES_MAX, TYPE_BYTES_MAX
from refold.core.query import ITEMS_MAX, TAGS_MAX
from refold.core.recorded import Recorded
from refold.jsontext import exact
from refold.ports import Appended
from refold.times import rfc3339

PAGE_MAX: Final = 1_000
"""The most events of one page."""
EVENTS_MAX: Final = 10_000
NUMBER_MAX: Final = 2**53 - 1
"""The largest position or version that is asked for: what every reader of JSON can say."""

Name = Annotated[str, Meta(min_length=1, max_length=NAME_BYTES_MAX)]
TypeName = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=TYPE_BYTES_MAX,
        description="Dotted lower-case text such as `user.utterance`; `.v2` behind names schema 2.",
    ),
]
Number = Annotated[int, Meta(ge=0, le=NUMBER_MAX)]
Limit = Annotated[int, Meta(ge=1, le=PAGE_MAX, description="The most events of the page.")]
Moment = Annotated[
    str,
    Meta(min_length=1, description="RFC 3339, a date (its start, UTC) or an age such as 30m, 7d."),
]
After = Annotated[int, Meta(ge=0, le=NUMBER_MAX, description="Only events after this position.")]
Stream = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=NAME_BYTES_MAX,
        pattern="^[^\\x00-\\x1f\\x7f-\\x9f\\u2028\\u2029]+$",
        description="A stream's name, at most 255 bytes of UTF-8.",
    ),
]


class Strict(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """What a request says; what it has no name for is refused."""


class NewEvent(Strict):
    """An event to append. Its `data` is stored as it was sent, with each number as it was written.

    Payloads of the types that refold knows are checked; any other type is stored as it is.
    """

    type: TypeName
    data: Annotated[Raw, Meta(description="The payload, any JSON; {} by default.")] | UnsetType = (
        UNSET
    )
    occurred_at: (
        Annotated[str, Meta(min_length=1, description="When it happened, RFC 3339.")] | UnsetType
    ) = UNSET
    metadata: dict[str, Raw] | UnsetType = UNSET


class Matching(Strict):
    """Events with any of the types (none given: of any type) and all of the tags."""

    types: Annotated[list[TypeName], Meta(max_length=1_000)] = []
    tags: Annotated[list[Name], Meta(max_length=TAGS_MAX)] = []


class Conditions(Strict):
    """Refused with 409 when an event that matches any of `unless` has a position over `after`."""

    unless: Annotated[list[Matching], Meta(min_length=1, max_length=ITEMS_MAX)]
    after: Number = 0


class AppendRequest(Strict):
    """Events to add to the end of a stream, all or none.

    `expected` is what the stream must be: N is its last version. `key` makes the append idempotent
    for ever: sent again with the same events it stores nothing and is answered as the first time,
    with `duplicate`. `metadata` is shared by the events, `tags` are what conditions find them by.
    """

    events: Annotated[list[NewEvent], Meta(min_length=1, max_length=EVENTS_MAX)]
    expected: Literal["any", "no_stream", "stream_exists"] | Number = "any"
    key: Name | UnsetType = UNSET
    metadata: dict[str, Raw] | UnsetType = UNSET
    tags: Annotated[list[Name], Meta(max_length=TAGS_MAX)] = []
    conditions: Conditions | UnsetType = UNSET


class AppendAnswer(msgspec.Struct):
    """Where the events stand, durable when this is said; `duplicate`: they stood there before."""

    stream: str
    first_version: int
    last_version: int
    first_position: int
    last_position: int
    recorded_at: str
    duplicate: bool

    @classmethod
    def of(cls, stored: Appended) -> AppendAnswer:
        """The answer to an append."""
        before = stored.event_count - 1
        return cls(
            stored.stream,
            stored.version - before,
            stored.version,
            stored.position - before,
            stored.position,
            rfc3339(stored.recorded_at_us),
            stored.duplicate,
        )


class EventAnswer(msgspec.Struct):
    """An event of the log: its place, its times (RFC 3339), and what it says.

    `id` is `stream@version`. `data` is what was stored, byte for byte, unless its type has a newer
    schema: then it is brought to that, which `schema` names.
    """

    position: int
    stream: str
    version: int
    id: str
    type: str
    schema: int
    occurred_at: str
    recorded_at: str
    data: Raw
    metadata: dict[str, Any]

    @classmethod
    def of(cls, recorded: Recorded) -> EventAnswer:
        """A recorded event as it is told."""
        is_as_stored = recorded.kind == recorded.stored_kind
        return cls(
            recorded.position,
            recorded.stream,
            recorded.version,
            recorded.id,
            recorded.type,
            recorded.schema,
            rfc3339(recorded.occurred_at_us),
            rfc3339(recorded.recorded_at_us),
            Raw(recorded.raw) if is_as_stored else exact(recorded.data),
            {name: exact(value) for name, value in recorded.metadata.items()},
        )


class EventPage(msgspec.Struct):
    """Events in order; `next` is where to go on from, and `end` that there were no more then."""

    events: list[EventAnswer]
    next: int
    end: bool


class OfStream(Strict):
    """Which events of a stream; `from` is the first version."""

    from_: Annotated[int, Meta(ge=0, le=NUMBER_MAX, description="The first version.")] = (
        msgspec.field(name="from", default=0)
    )
    limit: Limit = 100


class OfLog(Strict):
    """Which events of the log; categories and types may be given several times."""

    after: After = 0
    limit: Limit = 100
    category: list[Name] = []
    type: list[TypeName] = []


class OfState(Strict):
    """Which fold of a stream, and of when; of several moments all must hold."""

    fold: Literal["conversation", "portfolio"] = "conversation"
    version: Annotated[int, Meta(ge=0, le=NUMBER_MAX, description="Up to it.")] | UnsetType = UNSET
    position: Annotated[int, Meta(ge=0, le=NUMBER_MAX, description="Up to it.")] | UnsetType = UNSET
    recorded_until: Moment | UnsetType = UNSET
    occurred_until: Moment | UnsetType = UNSET


class StateAnswer(msgspec.Struct):
    """A state, after which version and position; -1 before the first event."""

    stream: str
    fold: str
    version: int
    position: int
    state: Any


class OfComparison(Strict):
    """Two streams, or streams up to a version such as `call-42@7`, and the fold to compare."""

    a: Stream
    b: Stream
    fold: Literal["conversation", "portfolio"] = "conversation"


class ChangeAnswer(msgspec.Struct):
    """One place where two histories differ; `patch` is RFC 6902, from one payload to the other."""

    kind: Literal["removed", "added", "changed"]
    before: EventAnswer | None
    after: EventAnswer | None
    patch: Any


class ComparisonAnswer(msgspec.Struct):
    """How one history became another: events `shared` at the start, `changes`, and of the state."""

    a: str
    b: str
    shared: int
    changes: list[ChangeAnswer]
    fold: str
    state: Any


class OfConversations(Strict):
    """What must hold of conversations; what is not given is not asked. `from` is how many to skip.

    As the options of `refold streams`; `sample` takes so many by chance, `seed` says which.
    """

    category: Name | UnsetType = UNSET
    since: Moment | UnsetType = UNSET
    until: Moment | UnsetType = UNSET
    agent: Name | UnsetType = UNSET
    prompt_version: Name | UnsetType = UNSET
    model: Name | UnsetType = UNSET
    tool: Name | UnsetType = UNSET
    outcome: Name | UnsetType = UNSET
    tag: Name | UnsetType = UNSET
    with_error: bool = False
    cost_over: Annotated[str, Meta(description="A decimal.")] | UnsetType = UNSET
    text: Annotated[str, Meta(description="Words that were said.")] | UnsetType = UNSET
    sample: Annotated[int, Meta(ge=1, le=NUMBER_MAX)] | UnsetType = UNSET
    seed: Number = 0
    stratify: Name | UnsetType = UNSET
    from_: Annotated[int, Meta(ge=0, le=NUMBER_MAX, description="How many to skip.")] = (
        msgspec.field(name="from", default=0)
    )
    limit: Limit = 100


class ForkAnswer(msgspec.Struct):
    """Where a branch left its parent."""

    parent: str
    version: int


class ConversationAnswer(msgspec.Struct):
    """A stream: its last version, when it was last written, and where it branched off."""

    stream: str
    category: str
    version: int
    recorded_at: str
    fork: ForkAnswer | None


class ConversationsAnswer(msgspec.Struct):
    """Those that fit, the newest first; `unread` could not be looked into to their end."""

    conversations: list[ConversationAnswer]
    next: int
    end: bool
    unread: list[str]


class OfFollowing(Strict):
    """Which events to follow; categories and types may be given several times."""

    after: After = 0
    category: list[Name] = []
    type: list[TypeName] = []


class ProblemDocument(msgspec.Struct, omit_defaults=True):
    """Why a request was refused (RFC 9457): `code` is for programs, `facts` is what it is about.

    `retry` says what can be done: `never`; `redecide`: read again and decide again; `later`; or
    `check`: it is not known whether the append is stored, so send it again with the same key.
    """

    type: str
    title: str
    status: int
    detail: str
    code: str
    retry: Literal["never", "redecide", "later", "check"]
    facts: dict[str, Any] = {}


class Health(msgspec.Struct):
    """The store can be read."""

    status: Literal["ok"]
    version: str
