"""The read model ``search``: what streams are found by, with the words that were said in them.

Unlike the others it has branches too: what an agent really said may stand in one, as in a
conversation that was gone on with twice. A branch has rows of its own events alone. What a replay
asked never happened, and is left out.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from decimal import Decimal
from typing import Any, Final, NamedTuple

import msgspec

from refold.conversation import events
from refold.conversation.amounts import add
from refold.core.recorded import Recorded
from refold.projections import Projection, Rows, Table
from refold.readmodels.columns import shown


class SearchStreamRow(msgspec.Struct):
    """A stream: when it went on, how much went wrong in it, and what its answers cost (JSON)."""

    stream: str
    first_at: str
    last_at: str
    errors: int = 0
    cost: str = "{}"


class SearchNameRow(msgspec.Struct):
    """That a stream has to do with an agent, a model or a tool (``kind``) of a name."""

    kind: str
    name: str
    stream: str


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
NAMES: Final = Table("search_names", SearchNameRow, key=("kind", "name", "stream"))
TEXTS: Final = Table("search_texts", SearchTextRow, key=("rowid",), words=("text",))
search: Final = Projection(
    "search",
    tables=[STREAMS, NAMES, TEXTS],
    views={"search": "SELECT rowid AS position, stream, text FROM {search_texts}"},
    revision=1,
)
"""What streams are found by: times, agents, models, tools, errors, cost and words."""

amounts_in: Final = msgspec.json.Decoder(dict[str, Decimal]).decode
"""Amounts of money by currency, of the JSON that a column has them in."""
_encode: Final = msgspec.json.Encoder(order="sorted").encode
# Scripts that put no spaces between words (Thai, Lao, Burmese, Khmer, kana, Han): each character
# is a word then, and a word that is looked for is some of them in a row.
_UNSPACED: Final = re.compile(
    "([\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff"
    "\U00020000-\U0003ffff])"
)
# What is neither said nor done, but kept beside.
_UNHEARD: Final = ("wire.", "session.forked")


def spaced(text: str) -> str:
    """Text as its words are looked for and found."""
    return text if text.isascii() else _UNSPACED.sub(r" \1 ", text)


def facts_of(event: object) -> Facts:
    """What an event of the vocabulary is found by."""
    match event:
        case events.UserUtterance():
            return Facts(text=event.text)
        case events.AgentUtterance():
            return Facts([("agent", event.party)], event.text)
        case events.SessionStarted():
            agents = [one for one in event.parties if one.role == "agent"]
            return Facts([("agent", one.name or one.id) for one in agents])
        case events.AgentConfigured():
            return Facts([("agent", event.agent), ("model", event.model)])
        case events.ModelResponse():
            return Facts([("model", event.model)])
        case events.ToolCall():
            given = event.arguments if event.parsed is None else _text_of(event.parsed)
            return Facts([("tool", event.name)], f"{event.name} {given}")
        case events.ToolResult():
            return Facts([("tool", event.name)], _text_of(event.result), event.is_error)
        case events.ModelFailed():
            return Facts(text=event.error, is_error=True)
        case events.SessionEnded():
            failed = event.error is not None or event.reason == "error"
            return Facts(text=event.error or "", is_error=failed)
    return Facts()


@search.on(
    events.UserUtterance,
    events.AgentUtterance,
    events.SessionStarted,
    events.AgentConfigured,
    events.ModelResponse,
    events.ToolCall,
    events.ToolResult,
    events.ModelFailed,
    events.SessionEnded,
)
def _happened(rows: Rows, event: Any, recorded: Recorded) -> None:
    row = _seen(rows, recorded)
    if row is None:
        return
    names, text, is_error = facts_of(event)
    row.errors += is_error
    if isinstance(event, events.ModelResponse) and event.cost is not None:
        totals = amounts_in(row.cost)
        add(totals, event.currency, event.cost)
        row.cost = _encode(totals).decode()
    rows.put(STREAMS, row)
    for kind, name in names:
        if name and rows.get(NAMES, (kind, name, row.stream)) is None:
            rows.put(NAMES, SearchNameRow(kind, name, row.stream))
    if text:
        rows.put(TEXTS, SearchTextRow(recorded.position, row.stream, spaced(text)))


@search.on_every
def _passed(rows: Rows, recorded: Recorded) -> None:
    row = None if recorded.type.startswith(_UNHEARD) else _seen(rows, recorded)
    if row is not None:
        rows.put(STREAMS, row)


def _seen(rows: Rows, recorded: Recorded) -> SearchStreamRow | None:
    """The row of an event's stream, stretched to its time; None for what a replay asked."""
    stream, at = recorded.stream, shown(recorded.occurred_at_us)
    if "~replay-" in stream or stream.startswith("replay~"):
        return None
    row = rows.get(STREAMS, (stream,)) or SearchStreamRow(stream, at, at)
    row.first_at, row.last_at = min(row.first_at, at), max(row.last_at, at)
    return row


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
