"""`refold demo`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click
import msgspec

from refold.cli import output, printing
from refold.cli.compare import print_comparison
from refold.cli.options import command, new_file, opened, option
from refold.cli.text import one_line
from refold.errors import UsageError

if TYPE_CHECKING:
    from refold.demo.look import DemoResult, Moment

OPERATIONS_SHOWN_MAX: Final = 8


@command(
    "demo",
    example="""
refold demo
refold demo --seed 11 --db try.db --report try.html
""",
    # Made-up calls do not belong in a store that somebody works with.
    variable="REFOLD_DEMO_DB",
    store="refold-demo.db",
)
@option(
    "--seed",
    type=click.IntRange(0, 9999),
    default=7,
    metavar="N",
    help="Who calls and what they say.",
)
@option(
    "--report",
    default="refold-demo.html",
    metavar="FILE",
    callback=new_file,
    help="Where the comparison is written.",
)
def demo_command(url: str, as_json: bool, seed: int, report: str) -> None:
    """Record, rewind, replay and compare forty made-up calls.

    A clinic's receptionist answers the phone; it is a rule-based stand-in for a model, served on
    127.0.0.1. Nothing leaves this machine and no key is needed. It works in a store of its own;
    running it again reuses what is there.
    """
    from refold.demo import Demo

    _check_store(url)
    with output.progress("demo") as tell, Demo() as server:
        result = server.run(
            url,
            seed=seed,
            report_path=report,
            progress=lambda step, done, total: tell(done, total, step),
        )
    (_print_json if as_json else _print_plain)(result)


def _check_store(url: str) -> None:
    """Refuse a store that somebody works with, wherever it was named."""
    if not Path(url.removeprefix("sqlite:///")).is_file():
        return
    with opened(url) as store:
        other = next((i.stream for i in store.streams() if not i.stream.startswith("call-")), None)
    if other is not None:
        raise UsageError(f"{url} holds {other!r}: give the demo a store of its own with --db")


def _print_json(result: DemoResult) -> None:
    """Everything but the conversations one by one: those are what `refold compare` is for."""
    said = msgspec.to_builtins(result)
    del said["comparison"]["conversations"]
    output.json_line(said)


def _print_plain(result: DemoResult) -> None:
    recorded = result.recorded
    db = f" --db {result.store}"
    output.line(output.styled(result.note, fg="yellow"))
    _heading(f"Recorded {recorded.calls} calls in {result.store}")
    output.line(
        f"{recorded.events:,} events: {recorded.turns:,} turns, {recorded.tool_calls:,} tool calls "
        f"({recorded.tool_errors:,} with an error), {recorded.interruptions:,} interruptions"
        + (f"; {recorded.reused} calls were there already" if recorded.reused else "")
    )
    _heading(f"One of them: refold show {result.shown}{db}")
    printing.print_transcript(result.transcript)
    _heading(f"Its state half-way and at the end: refold state {result.shown} --version N{db}")
    for moment in (result.half_way, result.at_end):
        _print_moment(moment)
    without = result.what_if.without
    version = without.id.rpartition("@")[2]
    _heading(f"Without {without.id}: refold what-if {result.shown} --without {version}{db}")
    output.line(one_line(f"{without.who}: {without.text}", output.width()))
    for operation in result.what_if.patch[:OPERATIONS_SHOWN_MAX]:
        output.line(one_line(f"  {_operation(operation)}", output.width()))
    named = f"--variant {result.replayed.variant_id} --control {result.control.variant_id}"
    _heading(f"All of them again with a shorter prompt: refold compare {named}{db}")
    print_comparison(result.comparison)
    _print_end(result, db)


def _print_moment(moment: Moment) -> None:
    state = moment.state
    calls = ", ".join(use.event.name for use in state.tool_calls) or "none"
    output.line(
        f"{moment.id:<14}{state.status}, {len(state.transcript)} turns, tools used: {calls}; "
        f"{sum(map(len, state.open_calls.values()))} without a result"
    )


def _operation(operation: dict[str, Any]) -> str:
    value = f" {output.compact(operation['value'])}" if "value" in operation else ""
    return f"{operation['op']} {operation['path']}{value}"


def _print_end(result: DemoResult, db: str) -> None:
    _heading("To look at")
    output.line(f"{result.report}  the conversations side by side")
    output.line(f"refold streams{db}  every call and every replay of it")
    output.note(f"{result.timings_s['total']:.1f} s, {result.requests:,} requests to 127.0.0.1")


def _heading(text: str) -> None:
    output.line()
    output.line(output.styled(text, bold=True))
