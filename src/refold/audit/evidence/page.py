"""The readable page of a bundle: what a lawyer opens, without a script and without a request."""

from __future__ import annotations

from base64 import b64decode
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from refold.audit.evidence.gathering import Gathered
from refold.audit.verifier.heads import leaf_hash
from refold.conversation.events import AgentConfigured
from refold.conversation.state import at
from refold.conversation.transcript import Line, shortened, transcript
from refold.core.clock import from_us
from refold.core.recorded import Recorded
from refold.errors import RefoldError

if TYPE_CHECKING:
    from jinja2 import Environment

PAYLOAD_CHARS_MAX: Final = 20_000
"""A longer payload is cut on the page; the whole stands in proof/events.jsonl."""
ABOUT: Final = {"0": "payload", "1": "metadata", "2": "key", "3": "name of the stream"}


class ShownEvent(NamedTuple):
    """An event as the page shows it: lines to read, why it is withheld, and what was sealed."""

    id: str
    position: int
    type: str
    at: str
    lines: Sequence[Line]
    withheld: Mapping[str, str]
    leaf: str
    payload: str


def page(found: Gathered, key: str) -> str:
    """The page as one file; ``key`` is the verifying key. The same input, the same text."""
    shown = list(_shown(found))
    values = {
        "found": found,
        "key": key,
        "origin": found.events[0]["origin"],
        "sealed_at": from_us(found.head.made_at).isoformat(timespec="seconds"),
        "events": shown,
        "withheld": _withheld(shown),
        "configured": list(_configured(found)),
        "style": resources.files(__package__).joinpath("page.css").read_text("utf-8"),
    }
    return _environment().get_template("page.html").render(**values)


def _shown(found: Gathered) -> Iterator[ShownEvent]:
    lines: defaultdict[str, list[Line]] = defaultdict(list)
    for line in _lines(found.disclosed):
        lines[line.id].append(line)
    for recorded, shown, proof in zip(found.history, found.shown, found.events, strict=True):
        told = proof["recorded"]
        yield ShownEvent(
            _id(recorded, proof),
            told["position"],
            told["type"],
            told["occurred_at"],
            lines.get((shown or recorded).origin_id, ()),
            {ABOUT.get(str(one["ordinal"]), "a value"): one["why"] for one in proof["withheld"]},
            leaf_hash(b64decode(proof["entry"])).hex(),
            "" if shown is None else _text(shown),
        )


def _withheld(events: Sequence[ShownEvent]) -> Mapping[tuple[str, str], Sequence[ShownEvent]]:
    """What is withheld and why, each with the events that it is withheld of."""
    found: defaultdict[tuple[str, str], list[ShownEvent]] = defaultdict(list)
    for one in events:
        for said in one.withheld.items():
            found[said].append(one)
    return found


def _lines(history: Sequence[Recorded]) -> Sequence[Line]:
    """What a person reads of events; as they are stored where they are no conversation."""
    try:
        return transcript(history)
    except RefoldError:
        return [
            Line(one.origin_id, at(one), one.type, one.type, shortened(one.raw.decode()))
            for one in history
        ]


def _configured(found: Gathered) -> Iterator[tuple[str, AgentConfigured]]:
    """What the agent ran on from an event on, where that is said in a form that is known."""
    for shown, proof in zip(found.shown, found.events, strict=True):
        if shown is not None and shown.type == "agent.configured":
            with suppress(RefoldError):
                yield _id(shown, proof), shown.to_class(AgentConfigured)


def _id(recorded: Recorded, proof: Mapping[str, Any]) -> str:
    """How an event is called where the stream's name may be withheld."""
    return str(proof["recorded"]["id"] or f"version {recorded.version}")


def _text(recorded: Recorded) -> str:
    text = recorded.raw.decode(errors="replace")
    left = len(text) - PAYLOAD_CHARS_MAX
    return text if left <= 0 else f"{text[:PAYLOAD_CHARS_MAX]} … {left:,} more characters"


@cache
def _environment() -> Environment:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    return Environment(
        autoescape=True,
        undefined=StrictUndefined,
        loader=PackageLoader(__package__),
        trim_blocks=True,
        lstrip_blocks=True,
    )
