"""`refold schemas`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import refold
from refold.cli import jsontext, output, suggest
from refold.cli.errors import FINDING, FINE
from refold.cli.loading import registry_from
from refold.cli.options import command, no_effect, opened, option
from refold.cli.text import clean, counted, one_line
from refold.errors import RefoldError, UsageError
from refold.jsontext import exact, kept

if TYPE_CHECKING:
    from refold.schemas import Example, StoredSchema

EVENTS_BETWEEN_TELLS = 10_000
VALUE_WIDTH_MIN = 40


@command("schemas")
@option(
    "--from",
    "modules",
    multiple=True,
    metavar="MODULE",
    help="Import this first: it has your event classes and upcasters. module:attribute for a "
    "Registry of its own.",
)
@option("--type", "types", multiple=True, metavar="TYPE", help="Only events of these types.")
@option("--example", metavar="JSON", help="Show what this payload of the one --type is read as.")
def schemas_command(
    url: str, modules: tuple[str, ...], types: tuple[str, ...], example: str | None
) -> int:
    """Show which schemas a store holds and what they are read as.

    For each type and schema: how many events, their class, the upcasters and splits that they go
    through with the first of them before and after, whether the type is retired. Every event is
    read. Exits with 1 when one cannot be, or when its type is known and its schema leads nowhere.

        refold schemas --from shop.events
        refold schemas --type order.placed --json | jq .example
        refold schemas --from shop.events --type order.placed --example '{"sum": 5}'
    """
    registry = registry_from(modules)
    if example is not None:
        no_effect("beside --example, for which no store is needed", "url")
        return _try(types, jsontext.argument(example, option="--example"), registry)
    from refold.schemas import survey

    with opened(url, registry=registry) as store:
        found = survey(_told(store, types), registry)
        if types and not any(one.events for one in found):
            suggest.note_nothing(store, types=types)
    for one in found:
        if not types or {one.type, f"{one.type}.v{one.schema}"} & {*types}:
            output.show(exact(one), _lines(one))
    return FINDING if any(one.finding for one in found) else FINE


def _told(store: refold.Store, types: tuple[str, ...]) -> Iterator[refold.Recorded]:
    """The events of a store, with a progress bar beside them."""
    head = store.log_head()
    with output.progress("reading") as tell:
        for count, recorded in enumerate(store.read_all(types=types or None)):
            if count % EVENTS_BETWEEN_TELLS == 0:
                tell(recorded.position, head)
            yield recorded


def _try(types: tuple[str, ...], payload: Any, registry: refold.Registry) -> int:
    from refold.schemas import tried

    if len(types) != 1:
        raise UsageError("--example is a payload of one --type: give it, with its schema (x.v2)")
    try:
        found = tried(types[0], kept(payload), registry)
    except RefoldError as error:
        output.show({"finding": error.message}, _bad(error.message))
        return FINDING
    output.show(exact(found), _example_lines(found))
    return FINE


# -- for a person -------------------------------------------------------------------------------


def _lines(one: StoredSchema) -> Iterator[str]:
    named = output.styled(f"{clean(one.type):<28} schema {one.schema}", bold=True)
    yield f"{named}  {counted(one.events, 'event'):>14}  {clean(_meaning(one))}"
    if one.finding is not None:
        several = f" ({counted(one.unreadable, 'event')})" if one.unreadable > 1 else ""
        yield _bad(f"{one.finding}{several}")
    for step in one.steps:
        what = "split" if step.into else f"{step.schema} to {step.schema + 1}"
        yield f"    {what:<8} {clean(step.by)}"
    if one.steps and one.example is not None:
        yield from _example_lines(one.example)


def _meaning(one: StoredSchema) -> str:
    """What events of a stored schema are read as."""
    if one.retired is not None:
        return f"retired: {one.retired}"
    if one.splits_into:
        return f"split into {', '.join(one.splits_into)}"
    cls = one.cls or "no class"
    return f"read as {one.reads_as}, {cls}" if one.steps else cls


def _bad(text: str) -> str:
    return f"    {output.styled('BAD', fg='red', bold=True)}      {clean(text)}"


def _example_lines(example: Example) -> Iterator[str]:
    room = max(output.width() - 13, VALUE_WIDTH_MIN)
    yield f"    before   {one_line(output.compact(example.before), room)}"
    for after in example.after:
        tag = after.type if after.schema == 1 else f"{after.type}.v{after.schema}"
        yield f"    after    {one_line(f'{tag} {output.compact(after.data)}', room)}"
    if not example.after:
        yield "    after    nothing: it is retired"
