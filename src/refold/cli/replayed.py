"""`refold replays`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

import refold
from refold.cli import output, suggest
from refold.cli.options import command, opened, option
from refold.cli.replays import Replay, replays
from refold.cli.text import clean, counted, one_line
from refold.times import rfc3339

if TYPE_CHECKING:
    from refold.replay import Variant

CHANGED_CHARS_MAX: Final = 48


@command(
    "replays",
    example="""
refold replays
refold replays --category call --json | jq -r .variant
""",
)
@option("--category", metavar="NAME", help="Only replays of conversations of this category.")
def replays_command(url: str, as_json: bool, category: str | None) -> None:
    """List the replays that a store holds.

    Which variant and what it changes, which sample, when it ran, of how many conversations, and how
    many of its decisions were answered and failed. The id names it for `refold compare`.
    """
    with opened(url) as store:
        found = [row for one in replays(store).values() for row in _rows(store, one, category)]
        if not found and category is not None:
            suggest.note_nothing(store, categories=[category])
        elif not found:
            output.note("there is no replay in this store: `refold replay` makes one")
    for row in sorted(found, key=lambda row: (row["first_at"], row["variant"], row["sample"])):
        output.json_line(row) if as_json else output.line(_line(row))


def _rows(store: refold.Store, one: Replay, category: str | None) -> Iterator[dict[str, Any]]:
    """What is told of each sample of a variant."""
    for sample, streams in sorted(one.streams.items()):
        wanted = [s for s in streams if category is None or s.partition("-")[0] == category]
        if wanted:
            yield _row(store, one.variant, sample, wanted)


def _row(store: refold.Store, variant: Variant, sample: int, streams: list[str]) -> dict[str, Any]:
    from refold.replay import branch_name
    from refold.replay.answers import answers

    times: list[int] = []
    answered = failed = 0
    for stream in streams:
        branch = branch_name(stream, variant, sample)
        own = [event for event in store.read(branch) if event.stream == branch]
        found = answers(own).values()
        answered += sum(answer.action is not None for answer in found)
        failed += sum(answer.action is None for answer in found)
        times += [own[0].recorded_at_us, own[-1].recorded_at_us]
    return {
        "variant": variant.id,
        "label": variant.label,
        "changes": _changes(variant),
        "sample": sample,
        "first_at": rfc3339(min(times)),
        "last_at": rfc3339(max(times)),
        "conversations": len(streams),
        "answered": answered,
        "failed": failed,
        "streams": sorted(streams),
    }


def _changes(variant: Variant) -> dict[str, Any]:
    """What a variant changes; empty for one that asks the recorded agent again."""
    import msgspec

    said: dict[str, Any] = msgspec.to_builtins(variant)
    return {name: value for name, value in said.items() if name != "label"}


def _line(row: dict[str, Any]) -> str:
    name = output.styled(row["variant"], bold=True)
    label = f"  ({row['label']})" if row["label"] else ""
    changed = "; ".join(_changed(*change) for change in row["changes"].items()) or "nothing changed"
    return (
        f"{name}  sample {row['sample']}  {row['last_at'][:16]}"
        f"  {counted(row['conversations'], 'conversation')}, {row['answered']:,} answered, "
        f"{row['failed']:,} failed  {clean(changed)}{clean(label)}"
    )


def _changed(name: str, value: Any) -> str:
    if name == "tools":
        return counted(len(value), "tool")
    text = value if isinstance(value, str) else output.compact(value)
    return f"{name} {one_line(text, CHANGED_CHARS_MAX)}"
