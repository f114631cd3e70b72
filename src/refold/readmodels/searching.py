"""The read model ``search``: what streams are found by, with the words that were said in them.

Unlike the others it has branches too: what an agent really said may stand in one, as in a
conversation that was gone on with twice. A branch has rows of its own events alone. What a replay
asked never happened, and is left out; what a framework took back is not found any more.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import Any, Final, NamedTuple

import msgspec

from refold.conversation import events, governance
from refold.conversation.amounts import add
from refold.conversation.attributes import Attributes, names_in
from refold.core import jsonvalue
from refold.core.recorded import Recorded
from refold.projections import Projection, Rows, Table
from refold.readmodels.columns import shown


class SearchStreamRow(msgspec.Struct):
    """A stream: when it went on, what was said, what went wrong, what it cost, what it is known by.

    ``cost`` and ``attributes`` are JSON; the cost of ``priced`` of the ``answers`` is known.
    What stands up to the position ``gone_at`` was taken back;
    ``events`` counts what there was since. ``opening`` is the version of the first words of a
    person, at the position ``opening_at``; the words themselves are not kept twice.
    """

    stream: str
    first_at: str
    last_at: str
    events: int = 0
    turns: int = 0
    errors: int = 0
    answers: int = 0
    priced: int = 0
    cost: str = "{}"
    outcome: str | None = None
    attributes: str = "{}"
    gone_at: int = 0
    opening: int = -1
    opening_at: int = 0
    item_at: int = 0
    item_errors: int = 0
    item_turns: int = 0


class SearchNameRow(msgspec.Struct):
    """That a stream has to do with an agent, a model, a tool … (``kind``) of a name."""

    kind: str
    name: str
    stream: str
    position: int


class SearchItemRow(msgspec.Struct):
    """The positions of an item that a framework may take back, and of what it says."""

    stream: str
    version: int
    first: int
    last: int
    errors: int = 0
    turns: int = 0


class SearchTextRow(msgspec.Struct):
    """What an event says; ``rowid`` is its position, and the text is for finding it alone."""

    rowid: int
    stream: str
    text: str | None


class Facts(NamedTuple):
    """What its event is found by: ``(kind, name)``, the words it says, whether something failed."""

    names: Sequence[tuple[str, str | None]] = ()
    text: str = ""
    is_error: bool = False


STREAMS: Final = Table("search_streams", SearchStreamRow, key=("stream",), indexes=[("last_at",)])
NAMES: Final = Table(
    "search_names", SearchNameRow, key=("kind", "name", "stream"), indexes=[("stream", "position")]
)
ITEMS: Final = Table("search_items", SearchItemRow, key=("stream", "version"))
TEXTS: Final = Table("search_texts", SearchTextRow, key=("rowid",), words=("text",))
SAID: Final = """
SELECT texts.rowid AS position, texts.stream, texts.text
FROM {search_texts} AS texts
JOIN {search_streams} AS one ON one.stream = texts.stream
WHERE texts.rowid > one.gone_at
"""
search: Final = Projection(
    "search", tables=[STREAMS, NAMES, ITEMS, TEXTS], views={"search": SAID}, revision=5
)
"""What streams are found by: times, agents, models, tools, prompts, outcomes, errors, cost, words.
"""

amounts_in: Final = msgspec.json.Decoder(dict[str, Decimal]).decode
"""Amounts of money by currency, of the JSON that a column has them in."""
attributes_in: Final = msgspec.json.Decoder(Attributes).decode
"""What a stream is known by, of the JSON that a column has it in."""
_encode: Final = msgspec.json.Encoder(order="sorted").encode
# Scripts that put no spaces between words (Thai, Lao, Burmese, Khmer, kana, Han): each character
# is a word then, and a word that is looked for is some of them in a row.
_UNSPACED: Final = re.compile(
    "([\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff"
    "\U00020000-\U0003ffff])"
)
# What is neither said nor done, but kept beside.
_UNHEARD: Final = ("wire.", "session.forked", "projection.skipped", "dataset.versioned")
# What is said of a conversation later: it did not go on then.
_AFTERWARDS: Final = frozenset(
    {
        *("score.recorded", "label.recorded", "redaction.applied", "erasure.executed"),
        *("hold.placed", "hold.released", "access.recorded"),
    }
)
# What may be said again in another way: the last word on it counts.
_SETTLING: Final = (
    events.SessionStarted, events.SessionEnded, events.ScoreRecorded, events.LabelRecorded,
)  # fmt: skip
ITEM_POSITIONS_MAX: Final = 1_000
"""So many positions before an item are looked through for what it says."""
_NAMED_BETWEEN: Final = """
SELECT kind, name FROM {search_names} WHERE stream = ? AND position >= ? AND position < ?
"""
_BRANCHES: Final = "SELECT stream FROM {search_streams} WHERE stream > ? AND stream < ?"


def spaced(text: str) -> str:
    """Text as its words are looked for and found."""
    return text if text.isascii() else _UNSPACED.sub(r" \1 ", text)


def facts_of(event: object) -> Facts:
    """What an event of the vocabulary is found by, beside what its conversation is known by."""
    match event:
        case events.UserUtterance() | events.AgentUtterance():
            return Facts(text=event.text)
        case events.ToolCall():
            given = event.arguments if event.parsed is None else _text_of(event.parsed)
            return Facts([("tool", event.name)], f"{event.name} {given}")
        case events.ToolResult():
            is_error = event.is_error or says_error(event.result)
            return Facts([("tool", event.name)], _text_of(event.result), is_error)
        case events.ToolRelayed():
            return Facts(text=_text_of(event.result))
        case events.ModelFailed():
            return Facts(text=event.error, is_error=True)
        case events.AgentConfigured(prompt=events.Prompt(id=own), version=version):
            return Facts([("label", own), ("label", version)])
        case events.SessionEnded():
            failed = event.error is not None or event.reason == "error"
            return Facts(text=event.error or "", is_error=failed)
    return Facts()


def says_error(result: Any) -> bool:
    """Whether a tool's result is an object that says that it failed, or the JSON text of one."""
    if isinstance(result, str) and result.lstrip().startswith("{"):
        try:
            result = jsonvalue.read(result.encode())
        except (ValueError, RecursionError):
            return False
    names = ("error", "is_error", "isError")
    return isinstance(result, dict) and any(result.get(name) for name in names)


@search.on(
    events.UserUtterance,
    events.AgentUtterance,
    events.SessionStarted,
    events.AgentConfigured,
    events.ModelResponse,
    events.ToolCall,
    events.ToolResult,
    events.ToolRelayed,
    events.ModelFailed,
    events.SessionEnded,
    events.ScoreRecorded,
    events.LabelRecorded,
)
def _happened(rows: Rows, event: Any, recorded: Recorded) -> None:
    row = _seen(rows, recorded)
    if row is None:
        return
    names, text, is_error = facts_of(event)
    row.errors += is_error
    row.turns += isinstance(event, events.UserUtterance | events.AgentUtterance)
    if isinstance(event, events.UserUtterance) and not row.opening_at and event.text.strip():
        row.opening, row.opening_at = recorded.version, recorded.position
    row.answers += isinstance(event, events.ModelResponse)
    if isinstance(event, events.ModelResponse) and event.cost is not None:
        row.priced += 1
        totals = amounts_in(row.cost)
        add(totals, event.currency, event.cost)
        row.cost = _encode(totals).decode()
    _know(rows, row, event, names, recorded)
    if text:
        row.item_at = row.item_at or recorded.position
        _say(rows, row.stream, text, recorded)
    rows.put(STREAMS, row)


@search.on(governance.RedactionApplied)
def _redacted(rows: Rows, event: governance.RedactionApplied, recorded: Recorded) -> None:
    _passed(rows, recorded)
    stream, _, version = event.event.rpartition("@")
    row = rows.get(STREAMS, (stream,))
    if row is not None and version == str(row.opening):
        row.opening = -1
        rows.put(STREAMS, row)


@search.on_every
def _passed(rows: Rows, recorded: Recorded) -> None:
    row = None if recorded.type.startswith(_UNHEARD) else _seen(rows, recorded)
    if row is not None:
        _know(rows, row, None, (), recorded)
        rows.put(STREAMS, row)


def _know(
    rows: Rows,
    row: SearchStreamRow,
    event: object,
    names: Iterable[tuple[str, str | None]],
    recorded: Recorded,
) -> None:
    """Take what an event says that its stream is known by, and the names it has beside."""
    known = [*names_in(event, recorded), *names]
    is_new = [_named(rows, row, kind, name, recorded) for kind, name in known if name]
    # Whom it is about may be said again after another: the last word on it counts too.
    is_settling = recorded.version == 0 or isinstance(event, _SETTLING) or "customer" in dict(known)
    if any(is_new) or is_settling:
        attributes = attributes_in(row.attributes)
        attributes.take(event, recorded)
        row.attributes, row.outcome = _encode(attributes).decode(), attributes.outcome


def _seen(rows: Rows, recorded: Recorded) -> SearchStreamRow | None:
    """The row of an event's stream, stretched to its time; None for what a replay asked."""
    stream, at = recorded.stream, shown(recorded.occurred_at_us)
    if _is_replay(stream):
        return None
    row = rows.get(STREAMS, (stream,)) or SearchStreamRow(stream, at, at)
    if not row.events:
        row.first_at = row.last_at = at
    elif recorded.type not in _AFTERWARDS:
        row.first_at, row.last_at = min(row.first_at, at), max(row.last_at, at)
    row.events += 1
    return row


def _is_replay(stream: str) -> bool:
    return "~replay-" in stream or stream.startswith("replay~")


def _named(rows: Rows, row: SearchStreamRow, kind: str, name: str, recorded: Recorded) -> bool:
    """Put down that a stream has to do with a name; whether that is new."""
    kind = "customer" if kind == "party" else kind
    found = rows.get(NAMES, (kind, name, row.stream))
    if found is not None and found.position > row.gone_at:
        return False
    rows.put(NAMES, SearchNameRow(kind, name, row.stream, recorded.position))
    return True


def _say(rows: Rows, stream: str, text: str, recorded: Recorded) -> None:
    """Put down what an event says; the parts of one that is split stand at one position."""
    before = rows.get(TEXTS, recorded.position) if recorded.whole is not None else None
    said = [before.text] if before is not None and before.text else []
    rows.put(TEXTS, SearchTextRow(recorded.position, stream, " ".join([*said, spaced(text)])))


# -- what frameworks take back ---------------------------------------------------------------------


@search.on("openai_agents.item")
def _kept(rows: Rows, _: Any, recorded: Recorded) -> None:
    _passed(rows, recorded)
    row = rows.get(STREAMS, (recorded.stream,))
    if row is not None:
        last = recorded.position
        first = max(row.item_at or last, last - ITEM_POSITIONS_MAX)
        told = row.errors - row.item_errors, row.turns - row.item_turns
        rows.put(ITEMS, SearchItemRow(row.stream, recorded.version, first, last, *told))
        row.item_at, row.item_errors, row.item_turns = 0, row.errors, row.turns
        rows.put(STREAMS, row)


@search.on("openai_agents.popped")
def _popped(rows: Rows, event: Any, recorded: Recorded) -> None:
    item = rows.get(ITEMS, (recorded.stream, event["version"]))
    row = rows.get(STREAMS, (recorded.stream,))
    if item is not None and row is not None:
        row.errors, row.item_errors = row.errors - item.errors, row.item_errors - item.errors
        row.turns, row.item_turns = row.turns - item.turns, row.item_turns - item.turns
        if row.opening_at >= item.first:
            row.opening, row.opening_at = -1, 0
        rows.put(STREAMS, row)
        # The last item is popped: a name that came with it is said by none before, and none after.
        for named in rows.execute(_NAMED_BETWEEN, (item.stream, item.first, item.last)):
            rows.delete(NAMES, (*named, item.stream))
        for position in range(item.first, item.last):
            said = rows.get(TEXTS, position)
            if said is not None and said.stream == recorded.stream:
                rows.delete(TEXTS, position)
        rows.delete(ITEMS, (recorded.stream, item.version))
    _passed(rows, recorded)


@search.on("openai_agents.cleared", "claude.deleted", "pydantic_ai.deleted")
def _taken_back(rows: Rows, _: Any, recorded: Recorded) -> None:
    at, names = shown(recorded.occurred_at_us), [recorded.stream]
    if recorded.type == "pydantic_ai.deleted":
        begins = f"{recorded.stream}~"
        found = rows.execute(_BRANCHES, (begins, f"{begins}:"))  # After the digits in ASCII.
        names += [one for (one,) in found if one.removeprefix(begins).isdecimal()]
    for stream in names:
        if rows.get(STREAMS, (stream,)) is not None:
            rows.put(STREAMS, SearchStreamRow(stream, at, at, gone_at=recorded.position))


def _text_of(value: Any) -> str:
    """The words in a JSON value, the names of its members too."""
    match value:
        case dict():
            return " ".join(f"{name} {_text_of(one)}" for name, one in value.items())
        case list():
            return " ".join(map(_text_of, value))
        case None:
            return ""
    return str(value)
