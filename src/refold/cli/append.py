"""`refold append`."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple

import click
import msgspec

import refold
from refold.cli import jsontext, output, vocabulary
from refold.cli.options import command, instant, option
from refold.cli.text import clean, suggestion
from refold.errors import InvalidEvent, UsageError
from refold.times import rfc3339, to_us

_PLACED: Final = ("position", "stream", "version", "id", "recorded_at")
"""What `refold show --json` prints beside; left out, so that its lines can be appended again."""
_EXPECTED: Final = {
    "any": refold.ANY,
    "none": refold.NO_STREAM,
    "exists": refold.STREAM_EXISTS,
}


def _expected(_ctx: click.Context, _option: click.Parameter, value: str) -> Any:
    """The expectation as the store takes it."""
    if value in _EXPECTED:
        return _EXPECTED[value]
    if value.isascii() and value.isdigit():
        return int(value)
    raise click.BadParameter(f"{value!r} is not any, none, exists or a version from 0")


@command(
    "append",
    example="""
refold append call-42 --type user.utterance --data '{"text": "Hello"}' --expected none
refold append call-42 --type tool.result --data @result.json --key result-17
refold show call-42 --json | refold append call-43
""",
)
@click.argument("stream")
@option("--type", "type_name", metavar="TYPE", help="Event type; without it, events are on stdin.")
@option("--data", metavar="JSON", help="Payload: JSON, @file, or - for stdin.  [default: {}]")
@option("--metadata", metavar="JSON", help="What all the events share: JSON or @file.")
@option(
    "--occurred-at",
    metavar="T",
    callback=instant,
    help="When it happened: RFC 3339, a date or an age.  [default: now]",
)
@option(
    "--expected",
    callback=_expected,
    default="any",
    metavar="any|none|exists|N",
    help="What the stream must be: N is its last version.",
)
@option("--key", metavar="TEXT", help="Makes it idempotent: the same again stores nothing.")
@option("--untyped", is_flag=True, help="Allow event types that are not in the vocabulary.")
def append_command(
    url: str,
    as_json: bool,
    stream: str,
    type_name: str | None,
    data: str | None,
    metadata: str | None,
    occurred_at: int | None,
    expected: Any,
    key: str | None,
    untyped: bool,
) -> None:
    """Add events to the end of a stream.

    All of them are stored or none; the store is made when it is missing. One event by --type and
    --data; or any number on stdin, one JSON object a line: "type", "data", and if wanted "schema",
    "metadata", "occurred_at". Payloads of known types are checked. Exits with 1 when the stream is
    not at the expected version.
    """
    if type_name is not None:
        drafts = [_one(type_name, data, occurred_at)]
    elif data is not None or occurred_at is not None:
        raise UsageError("--data and --occurred-at belong to one event: give its --type")
    else:
        drafts = list(_from_stdin())
    check = vocabulary.check_known if untyped else vocabulary.check
    shared = None if metadata is None else jsontext.argument(metadata, option="--metadata")
    for draft in drafts:
        check(draft.event, place=draft.place)
    events = [draft.event for draft in drafts]
    with refold.open(url) as store:
        appended = store.append(stream, events, expected=expected, key=key, metadata=shared)
    (_print_json if as_json else _print_plain)(appended)


class _Draft(NamedTuple):
    """An event to append and where it was written."""

    place: str
    event: refold.Event


def _one(type_name: str, data: str | None, occurred_at: int | None) -> _Draft:
    payload = {} if data is None else jsontext.argument(data, option="--data")
    return _Draft("--data", refold.Event(type_name, payload, occurred_at=occurred_at))


def _from_stdin() -> Iterator[_Draft]:
    if sys.stdin.isatty():
        raise UsageError("give --type and --data, or events on stdin, one JSON object a line")
    for number, text in enumerate(jsontext.stdin_lines(), 1):
        if text.strip():
            place = f"stdin, line {number}"
            value = jsontext.parsed(text, source="stdin", first_line=number)
            yield _Draft(place, _event_of(value, place))


class _Line(msgspec.Struct):
    """A line of stdin."""

    type: str
    data: Any = {}
    schema: int = 1
    metadata: dict[str, Any] | None = None
    occurred_at: str | None = None


def _event_of(value: Any, place: str) -> refold.Event:
    if not isinstance(value, Mapping) or "type" not in value:
        raise InvalidEvent(f'{place}: an event is a JSON object with "type" and "data"')
    fields = _Line.__struct_fields__
    for name in value:
        if name not in fields and name not in _PLACED:
            near = suggestion(name, fields) or f": it may have {', '.join(fields)}"
            raise InvalidEvent(f"{place}: an event has no {name!r}{near}", field=name)
    try:
        line = msgspec.convert(value, _Line)
        occurred_at = None if line.occurred_at is None else to_us(line.occurred_at)
    except (msgspec.ValidationError, UsageError) as error:
        raise InvalidEvent(f"{place}: {error}") from error
    return refold.Event(
        line.type,
        line.data,
        schema=line.schema,
        metadata=line.metadata,
        occurred_at=occurred_at,
    )


def _print_json(appended: refold.Appended) -> None:
    stored = appended._asdict()
    when = rfc3339(stored.pop("recorded_at_us"))
    output.json_line({**stored, "recorded_at": when, "ids": appended.ids})


def _print_plain(appended: refold.Appended) -> None:
    first, last = appended.ids[0], appended.ids[-1]
    named = first if first == last else f"{first} to {last}"
    known = " (was already there, under this key)" if appended.duplicate else ""
    output.line(f"{clean(named)}, position {appended.position}{known}")
