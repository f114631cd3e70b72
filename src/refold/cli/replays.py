"""`refold replays`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from refold.cli import output, suggest
from refold.cli.options import command, opened, option
from refold.cli.text import clean, counted, one_line

if TYPE_CHECKING:
    from refold.replay.replays import ReplayRun

CHANGED_CHARS_MAX: Final = 48


@command("replays")
@option("--category", metavar="NAME", help="Only replays of conversations of this category.")
def replays_command(url: str, category: str | None) -> None:
    """List the replays that a store holds.

    Which variant and what it changes, which sample, when it ran, of how many conversations, and how
    many of its decisions were answered and failed. The id names it for `refold compare`.

        refold replays
        refold replays --category call --json | jq -r .variant
    """
    from refold.replay import replays

    with opened(url) as store:
        kept = replays(store, category=category)
        found = [replay.run(store, sample) for replay in kept for sample in replay.streams]
        if not found and category is not None:
            suggest.note_nothing(store, categories=[category])
        elif not found:
            output.note("there is no replay in this store: `refold replay` makes one")
    for run in sorted(found, key=lambda run: (run.first_at, run.variant, run.sample)):
        output.show(run, _line(run))


def _line(run: ReplayRun) -> str:
    from refold.replay.report.formatting import unanswered
    from refold.replay.variant import NEXT_STEP

    name = output.styled(run.variant, bold=True)
    label = f"  ({run.label})" if run.label else ""
    left = f"; {rest}" if (rest := unanswered(run)) else ""
    apart = {"conditional": run.conditional, "excluded": run.excluded}
    left += f"; {counted(run.unfinished, 'conversation')} stopped in the midst" * bool(
        run.unfinished
    )
    more = "".join(f", {count:,} {what}" for what, count in apart.items() if count)
    mode = "" if run.mode == NEXT_STEP else f"  {run.mode}"
    changed = "; ".join(_changed(*change) for change in run.changes.items()) or "nothing changed"
    return (
        f"{name}{mode}  sample {run.sample}  {(run.last_at or 'nothing asked')[:16]}"
        f"  {counted(run.conversations, 'conversation')}, {run.answered:,} answered, "
        f"{run.failed:,} failed{more}{left}  {clean(changed)}{clean(label)}"
    )


def _changed(name: str, value: Any) -> str:
    if name == "tools":
        return counted(len(value), "tool")
    text = value if isinstance(value, str) else output.compact(value)
    return f"{name} {one_line(text, CHANGED_CHARS_MAX)}"
