"""`refold append`."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from functools import cache
from typing import Any, Final

import click
import msgspec

import refold
from refold.cli import jsontext, output
from refold.cli.given import each_kept, event_of, exactly
from refold.cli.loading import known_registry
from refold.cli.options import command, option, read_by, time_option
from refold.cli.private import open_store
from refold.cli.text import clean, suggestion
from refold.errors import InvalidEvent, UnknownEventType, UsageError
from refold.jsontext import exact, read
from refold.times import rfc3339

_EXPECTED: Final = {"any": refold.ANY, "none": refold.NO_STREAM, "exists": refold.STREAM_EXISTS}


def _expected(value: str) -> Any:
    """The expectation as the store takes it."""
    if value in _EXPECTED:
        return _EXPECTED[value]
    if value.isascii() and value.isdigit():
        return int(value)
    raise click.BadParameter(f"{value!r} is not any, none, exists or a version from 0")


@command("append")
@click.argument("stream")
@option("--type", "type_name", metavar="TYPE", help="Event type; without it, events are on stdin.")
@option("--data", metavar="JSON", help="Payload: JSON, @file, or - for stdin.  [default: {}]")
@option("--metadata", metavar="JSON", help="What all the events share: JSON or @file.")
@time_option("--occurred-at", help="When it happened: RFC 3339, a date or an age.  [default: now]")
@option(
    "--expected",
    type=read_by(_expected),
    default="any",
    metavar="any|none|exists|N",
    help="What the stream must be: N is its last version.",
)
@option("--key", metavar="TEXT", help="Makes it idempotent: the same again stores nothing.")
@option("--untyped", is_flag=True, help="Allow event types that are not in the vocabulary.")
def append_command(
    url: str,
    stream: str,
    type_name: str | None,
    data: str | None,
    metadata: str | None,
    occurred_at: int | None,
    untyped: bool,
    **how: Any,
) -> None:
    """Add events to the end of a stream.

    All of them are stored or none; the store is made when it is missing. One event by --type and
    --data; or any number on stdin, one JSON object a line: "type", "data", and if wanted "schema",
    "metadata", "occurred_at". Payloads of known types are checked. Exits with 1 when the stream is
    not at the expected version.

        refold append call-42 --type user.utterance --data '{"text": "Hello"}' --expected none
        refold append call-42 --type tool.result --data @result.json --key result-17
        refold show call-42 --json | refold append call-43
    """
    if type_name is not None:
        payload = {} if data is None else jsontext.argument(data, option="--data")
        placed = [("--data", refold.Event(type_name, payload, occurred_at=occurred_at))]
    elif data is not None or occurred_at is not None:
        raise UsageError("--data and --occurred-at belong to one event: give its --type")
    else:
        placed = list(_from_stdin())
    shared = None if metadata is None else jsontext.argument(metadata, option="--metadata")
    check = _check_known if untyped else _check
    for place, event in placed:
        check(event, place=place)
    with open_store(url) as store:
        events = [exactly(event) for _, event in placed]
        appended = store.append(stream, events, metadata=each_kept(shared), **how)
    stored = appended._asdict()
    when = rfc3339(stored.pop("recorded_at_us"))
    output.show({**stored, "recorded_at": when, "ids": appended.ids}, _line(appended))


def _from_stdin() -> Iterator[tuple[str, refold.Event]]:
    """Where each event was written, and the event."""
    if sys.stdin.isatty():
        raise UsageError("give --type and --data, or events on stdin, one JSON object a line")
    for number, text in enumerate(jsontext.stdin().split("\n"), 1):
        if text.strip():
            place = f"stdin, line {number}"
            yield place, event_of(jsontext.parsed(text, source="stdin", first_line=number), place)


def _line(appended: refold.Appended) -> str:
    first, last = appended.ids[0], appended.ids[-1]
    named = first if first == last else f"{first} to {last}"
    known = " (was already there, under this key)" if appended.duplicate else ""
    return f"{clean(named)}, position {appended.position}{known}"


# -- which events are known: their payloads are checked before they are recorded ----------------


def _check(event: refold.Event, *, place: str) -> None:
    """Refuse an event of a type that is not in the vocabulary, or that does not fit its class.

    ``place`` is where it was written. Raises :class:`UnknownEventType`, naming the nearest types
    that there are, or :class:`InvalidEvent`.
    """
    tag = _tag(event)
    if tag not in _classes():
        near = suggestion(tag, _classes())
        raise UnknownEventType(
            f"{place}: there is no event type {tag!r}{near or ':'} --untyped records it as it is",
            type=tag,
        )
    _check_known(event, place=place)


def _check_known(event: refold.Event, *, place: str) -> None:
    """Refuse an event that does not fit the class of its type; a type without one may be it."""
    tag = _tag(event)
    known_registry().check_in_use(tag)
    cls = _classes().get(tag)
    if cls is None:
        return
    if not isinstance(event.data, dict):
        raise InvalidEvent(f"{place}: the data of {tag} must be a JSON object", type=tag)
    fields = {field.encode_name for field in msgspec.structs.fields(cls)}
    for name in event.data:
        if name not in fields:
            near = suggestion(name, fields)
            raise InvalidEvent(f"{place}: {tag} has no field {name!r}{near}", type=tag, field=name)
    try:
        fitted: Any = msgspec.convert(event.data, cls)
    except msgspec.ValidationError as error:
        raise InvalidEvent(f"{place}: not a {tag}: {error}", type=tag) from error
    for what in jsontext.lost(event.data, read(bytes(exact(fitted)))):
        raise InvalidEvent(f"{place}: not a {tag}: {what}", type=tag)


@cache
def _classes() -> dict[str, type]:
    """The event classes by type; a schema over 1 has its number behind it (``x.v2``)."""
    registry = known_registry()
    return {kind.tag: registry.class_of(kind) for kind in registry.kinds()}


def _tag(event: refold.Event) -> str:
    return event.type.removesuffix(".v1") if event.schema == 1 else f"{event.type}.v{event.schema}"
