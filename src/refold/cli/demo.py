"""`refold demo`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec

from refold.cli import output, printing
from refold.cli.compare import comparison_lines
from refold.cli.options import command, int_option, opened, report_option
from refold.cli.text import address, counted, one_line
from refold.errors import NotFound, UsageError

if TYPE_CHECKING:
    from refold.demo.run import CallFigures, DemoResult, Moment

OPERATIONS_SHOWN_MAX: Final = 8


@command(
    "demo",
    # Made-up calls do not belong in a store that somebody works with.
    variable="REFOLD_DEMO_DB",
    store="refold-demo.db",
)
@int_option("--seed", 0, 9999, default=7, help="Who calls and what they say.")
@report_option(default="refold-demo.html")
def demo_command(url: str, seed: int, report: str) -> None:
    """Record, rewind, replay and compare 44 made-up calls.

    A clinic's receptionist answers the phone; it is a rule-based stand-in for a model, served on
    127.0.0.1. Nothing leaves this machine and no key is needed. It works in a store of its own;
    running it again reuses what is there.

        refold demo
        refold demo --seed 11 --db try.db --report try.html
    """
    from refold.demo import Demo

    # A store that somebody works with is refused, wherever it was named.
    with suppress(NotFound), opened(url) as store:
        for info in store.streams():
            if not info.stream.startswith(("call-", "steady-", "replay~")):
                raise UsageError(f"{address(url)} holds {info.stream!r}: give another with --db")
    with output.progress("demo") as tell, Demo() as server:
        result = server.run(
            url,
            seed=seed,
            report_path=report,
            progress=lambda step, done, total: tell(done, total, step),
        )
    result = msgspec.structs.replace(result, store=address(url))
    said = msgspec.to_builtins(result)
    # The conversations one by one are what `refold compare` is for.
    del said["comparison"]["conversations"]
    output.show(said, _lines(result))


def _lines(result: DemoResult) -> Iterator[str]:
    yield output.styled(result.note, fg="yellow")
    for heading, lines in _sections(result):
        yield from ("", output.styled(heading, bold=True))
        yield from lines
    output.note(f"{result.timings_s['total']:.1f} s, {result.requests:,} requests to 127.0.0.1")


def _sections(result: DemoResult) -> Iterator[tuple[str, Iterable[str]]]:
    """What is shown of a run, and how the command line shows it of any store."""
    db, shown = f" --db {result.store}", result.shown
    report = Path(result.report).absolute().as_uri()
    yield f"Recorded {result.recorded.calls} calls in {result.store}", [_recorded(result.recorded)]
    yield f"One of them: refold show {shown}{db}", printing.transcript_lines(result.transcript)
    moments = map(_moment, (result.half_way, result.at_end))
    yield f"Its state half-way and at the end: refold state {shown} --version N{db}", moments
    without = result.what_if.without
    what_if = f"refold what-if {shown} --without {without.id.rpartition('@')[2]}{db}"
    changes = map(_operation, result.what_if.patch[:OPERATIONS_SHOWN_MAX])
    lines = (f"{without.who}: {without.text}", *changes)
    yield f"Without {without.id}: {what_if}", (one_line(one, output.width()) for one in lines)
    named = f"--variant {result.replayed.variant_id} --control {result.control.variant_id}"
    compare = f"All of them again with a shorter prompt: refold compare {named}{db}"
    yield compare, comparison_lines(result.comparison)
    gate = f"refold compare {named} --primary same_calls --fail-on changed{db}"
    verdicts = result.comparison.verdicts
    yield "Would you ship the shorter prompt?", [verdicts.ship, verdicts.primary.plain]
    yield "Let go on with their own answers", _led(result, db)
    yield (
        "What to do next",
        [
            f"look at every call in the browser: refold ui{db}",
            f"look at {report}: the conversations side by side, behind every figure",
            f"stop such a change: {gate}",
            "do it with your own conversations and prompt: refold import FILE, refold gate --help",
        ],
    )


def _led(result: DemoResult, db: str) -> Iterator[str]:
    for shown in result.own_ways:
        yield shown.says
        for one in shown.comparisons:
            calls = counted(one.figures.conversations, "call")
            told = f"{one.mode}: {one.partings} of {calls} part from the record"
            yield f"  {told}. {one.verdicts.ship}"
        led, asked = shown.comparisons[-1], shown.comparisons[-1].question
        margin = "" if asked.margin is None else f" --margin {100 * asked.margin:g}pt"
        how = f"--variant {led.variant_id} --primary {asked.primary}{margin}"
        yield f"  where it led: refold compare {how}{db}"


def _recorded(figures: CallFigures) -> str:
    reused = f"; {figures.reused} calls were there already" if figures.reused else ""
    return (
        f"{figures.events:,} events: {figures.turns:,} turns, {figures.tool_calls:,} tool calls "
        f"({figures.tool_errors:,} with an error), {figures.interruptions:,} interruptions{reused}"
    )


def _moment(moment: Moment) -> str:
    state = moment.state
    calls = ", ".join(use.event.name for use in state.tool_calls) or "none"
    return (
        f"{moment.id:<14}{state.status}, {len(state.transcript)} turns, tools used: {calls}; "
        f"{sum(map(len, state.open_calls.values()))} without a result"
    )


def _operation(operation: dict[str, Any]) -> str:
    value = f" {output.compact(operation['value'])}" if "value" in operation else ""
    return f"  {operation['op']} {operation['path']}{value}"
