"""The vocabulary of a conversation: one class an event type.

Provider bytes are kept as they came where they matter: tool arguments are the verbatim string, a
reasoning part keeps its signature. Events that one model answer gave share a ``message_id``.
Money is exact (``Decimal``); ``*_ms`` are milliseconds; offsets count from the session's start.
"""

from __future__ import annotations

import hashlib
from decimal import Decimal
from typing import Annotated, Any, Literal

import msgspec
from msgspec.structs import force_setattr

from refold.core.fingerprint import ADDED
from refold.core.registry import event

Effect = Literal["read", "write", "irreversible", "unknown"]
"""What a tool does to the world; ``unknown`` is treated as the worst."""


Channel = Literal["voice", "chat", "email", "api"]
Direction = Literal["inbound", "outbound"]
ToolKind = Literal["function", "custom"]
"""Whether a tool takes arguments as JSON, or any text."""


class Payload(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """Base of everything here: immutable, defaults are not stored, and nothing holds itself.

    A field that a class gets later is marked ``ADDED``: read models kept before go on.
    """


class Party(Payload, frozen=True):
    """Someone in a session: ``role`` is customer, agent, human or system."""

    role: str
    name: str | None = None
    id: str | None = None
    address: str | None = None


class Tool(Payload, frozen=True):
    """A tool as offered to a model; ``parameters`` is the JSON schema of its arguments.

    ``schema_hash`` is SHA-256, in hex, of the schema as JSON with sorted keys and no white space;
    it is filled in where it is not given and there is a schema.
    """

    name: str
    description: str = ""
    parameters: dict[str, Any] = {}
    schema_hash: str = ""
    effect: Effect = "unknown"
    kind: Annotated[ToolKind, ADDED] = "function"

    def __post_init__(self) -> None:
        if self.parameters and not self.schema_hash:
            force_setattr(self, "schema_hash", sha256_of(self.parameters))


class Prompt(Payload, frozen=True):
    """A system prompt; ``hash`` is SHA-256 of its UTF-8 text, in hex, filled in if not given."""

    text: str
    id: str | None = None
    hash: str = ""

    def __post_init__(self) -> None:
        if not self.hash:
            force_setattr(self, "hash", sha256_of(self.text))


class Usage(Payload, frozen=True):
    """Tokens of one model answer.

    ``cached_tokens`` are those of the input that the provider read from its cache, and
    ``cache_write_tokens`` those that it wrote there; ``reasoning_tokens`` are part of the output.
    None of the last two where the provider does not say.
    """

    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    cache_write_tokens: Annotated[int | None, ADDED] = None
    reasoning_tokens: Annotated[int | None, ADDED] = None


class Word(Payload, frozen=True):
    """A recognised word and where it stands in the audio."""

    text: str
    start_ms: int
    end_ms: int
    confidence: float | None = None


@event("session.started")
class SessionStarted(Payload, frozen=True):
    """A conversation begins; an initial state that is not here is lost at the first rewind."""

    channel: Channel = "chat"
    direction: Direction = "inbound"
    parties: list[Party] = []
    initial_state: dict[str, Any] = {}


@event("session.ended")
class SessionEnded(Payload, frozen=True):
    """A conversation ends: ``reason`` is completed, error, cancelled, transferred or another."""

    reason: str = "completed"
    error: str | None = None


@event("agent.configured")
class AgentConfigured(Payload, frozen=True):
    """From here on the agent runs with this prompt, model and tools.

    It is the whole configuration: what an earlier one said and this one does not is no longer in
    force. To change a part, give the others again (``msgspec.structs.replace``).
    """

    prompt: Prompt | None = None
    model: str | None = None
    provider: str | None = None
    params: dict[str, Any] = {}
    tools: list[Tool] = []
    agent: str | None = None
    version: str | None = None


@event("user.utterance")
class UserUtterance(Payload, frozen=True):
    """What the person said; ``parts`` where it was more than text; the rest for voice."""

    text: str
    parts: list[dict[str, Any]] | None = None
    party: str | None = None
    confidence: float | None = None
    language: str | None = None
    words: list[Word] = []
    audio: str | None = None


@event("agent.utterance")
class AgentUtterance(Payload, frozen=True):
    """What the agent answered. What was heard of it may be less: see playback.interrupted.

    ``party`` is which agent of several it was.
    """

    text: str
    parts: list[dict[str, Any]] | None = None
    finish_reason: str | None = None
    message_id: str | None = None
    party: Annotated[str | None, ADDED] = None


@event("model.request")
class ModelRequest(Payload, frozen=True):
    """A call to a model; ``messages`` refers to events by id, ``hash`` covers the whole request.

    ``url`` is where it was sent: scheme, host, port and path, without a user and without a query.
    """

    api: str
    messages: list[str] = []
    hash: str = ""
    params: dict[str, Any] = {}
    attempt: int = 1
    url: Annotated[str, ADDED] = ""


@event("model.response")
class ModelResponse(Payload, frozen=True):
    """A model's answer with its price; what it says and calls are events of the same message.

    ``latency_ms`` is the time on the wire of the request that was answered, ``attempts`` how many
    were sent for it, and ``wait_ms`` the time from the first of them to the answer. What the others
    took is ``lost_usage`` as far as it is known; ``lost_unknown`` counts those that may have been
    charged without a word.
    """

    response_id: str | None = None
    model: str | None = None
    parts: list[dict[str, Any]] = []
    usage: Usage | None = None
    first_token_ms: float | None = None
    latency_ms: float | None = None
    cost: Decimal | None = None
    currency: str = "USD"
    finish_reason: str | None = None
    message_id: str | None = None
    attempts: Annotated[int, ADDED] = 1
    wait_ms: Annotated[float | None, ADDED] = None
    lost_usage: Annotated[Usage | None, ADDED] = None
    lost_unknown: Annotated[int, ADDED] = 0


@event("model.failed")
class ModelFailed(Payload, frozen=True):
    """A model call that gave no answer."""

    error: str
    attempt: int = 1
    status: int | None = None


@event("tool.call")
class ToolCall(Payload, frozen=True):
    """The agent calls a tool; ``arguments`` is the verbatim string, ``parsed`` what it says.

    The text that a ``custom`` tool takes is not parsed.
    """

    call_id: str
    name: str
    arguments: str = "{}"
    parsed: Any = None
    schema_hash: str = ""
    effect: Effect = "unknown"
    message_id: str | None = None
    kind: Annotated[ToolKind, ADDED] = "function"


@event("tool.decided")
class ToolDecided(Payload, frozen=True):
    """Someone approved, refused or changed a tool call before it ran."""

    call_id: str
    approver: str
    decision: Literal["approved", "refused", "changed"]
    changed_arguments: str | None = None


@event("tool.result")
class ToolResult(Payload, frozen=True):
    """What a tool gave back, as the agent saw it."""

    call_id: str
    result: Any = None
    is_error: bool = False
    latency_ms: float | None = None
    name: str | None = None


@event("tool.relayed")
class ToolRelayed(Payload, frozen=True):
    """What the agent was told instead of what the tool itself gave back, where the two differ."""

    call_id: str
    result: Any = None


@event("retrieval.completed")
class RetrievalCompleted(Payload, frozen=True):
    """Documents were looked up for the agent."""

    query: str
    ids: list[str] = []
    hashes: list[str] = []


@event("memory.read")
class MemoryRead(Payload, frozen=True):
    """The agent read its long-term memory."""

    query: str
    ids: list[str] = []
    hashes: list[str] = []


@event("memory.written")
class MemoryWritten(Payload, frozen=True):
    """The agent wrote to its long-term memory."""

    ids: list[str] = []
    hashes: list[str] = []


@event("state.patched")
class StatePatched(Payload, frozen=True):
    """The session's state changed by an RFC 6902 patch."""

    patch: list[dict[str, Any]]


@event("score.recorded")
class ScoreRecorded(Payload, frozen=True):
    """Someone rated a conversation, or one event of it (``at``, its id).

    ``rater`` is a person, a program or a model with version.
    """

    name: str
    value: float
    rater: str
    comment: str | None = None
    at: Annotated[str | None, ADDED] = None


@event("label.recorded")
class LabelRecorded(Payload, frozen=True):
    """Someone labelled a conversation, or one event of it (``at``, its id); ``rater`` as above.

    The label ``outcome`` says how a conversation came out; each ``tag`` is one tag more.
    """

    name: str
    value: str
    rater: str
    comment: str | None = None
    at: str | None = None


@event("goal.stated")
class GoalStated(Payload, frozen=True):
    """What the user of a conversation wanted, for who stands in for them; the last one counts.

    ``text`` tells it, ``facts`` are what they know, by name, and ``wants`` what they are to bring
    up, each in a sentence. ``by`` is who says so: rules, a model, a person.
    """

    text: str
    facts: dict[str, str] = {}
    wants: list[str] = []
    by: str = ""


SimulatorFault = Literal["invents_facts", "forgets_goal", "ends_early", "answers_for_agent"]
"""What can be wrong with a simulated user, by rules."""


@event("simulator.faulted")
class SimulatorFaulted(Payload, frozen=True):
    """What a simulated user just said is at fault: by that, nothing is shown of the agent.

    It gave a value that nobody had given, said that it does not know what it was to know or never
    asked for what it wants, ended while it was asked something, or spoke as the agent; ``detail``
    is what shows that.
    """

    kind: SimulatorFault
    detail: str = ""


def sha256_of(value: Any) -> str:
    """SHA-256 in hex of a text in UTF-8, or of a JSON value with sorted keys; "" for neither."""
    try:
        raw = (
            value.encode()
            if isinstance(value, str)
            else msgspec.json.encode(value, order="deterministic")
        )
    except (TypeError, ValueError, RecursionError):
        return ""  # It cannot be stored either: the append refuses it and says where.
    return hashlib.sha256(raw).hexdigest()
