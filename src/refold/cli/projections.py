"""`refold projections`."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

import refold
from refold.cli import errors, output
from refold.cli.loading import named, projections_from
from refold.cli.options import command, group, opened, option
from refold.cli.projection_status import as_object, metrics, summary
from refold.cli.text import clean, one_line

if TYPE_CHECKING:
    from refold.projections import Projector
    from refold.projections.catalog import Parked

from_option = option(
    "--from",
    "places",
    multiple=True,
    metavar="MODULE:ATTRIBUTE",
    help="Projections of your own.  [default: the built-in ones]",
)


@group(
    "projections",
    example="""
refold projections run
refold projections status --json
refold projections rebuild costs
""",
)
def projections_command() -> None:
    """Keep tables from the events, and set them right."""


@command(
    "status",
    example="""
refold projections status
refold projections status --metrics > refold.prom
""",
    table="projections",
)
@from_option
@option("--metrics", "as_metrics", is_flag=True, help="As OpenMetrics text.")
def status(url: str, as_json: bool, places: tuple[str, ...], as_metrics: bool) -> int:
    """Show how each projection stands: position, lag, rate, and what was set aside.

    Without --from, these are the built-in ones and all that have rows here. Ends with 1 where a
    stream was set aside or a projection has to be rebuilt.
    """
    with opened(url) as store:
        projector = _projector(store, places)
        found = [*projector.status(), *(() if places else projector.others())]
    if as_metrics:
        output.line(metrics(found))
        return errors.FINE
    for one in found:
        if as_json:
            output.json_line(as_object(one))
        else:
            output.line(summary(one))
    wrong = any(one.parked or one.state == "changed" for one in found)
    return errors.FINDING if wrong else errors.FINE


@command(
    "run",
    example="""
refold projections run
refold projections run --once
refold projections run --from shop.models:projections
""",
    table="projections",
)
@from_option
@option("--once", is_flag=True, help="Catch up and end.")
def run(url: str, as_json: bool, places: tuple[str, ...], once: bool) -> None:
    """Catch up, then follow the log until it is interrupted.

    Several may run at once; each event counts once all the same. It may be killed at any moment.
    """
    with refold.open(url, mode="write") as store:
        projector = _projector(store, places)
        with projector, _closed_by_terminate(projector):
            with output.progress("catch up") as tell:
                projector.catch_up(progress=_told(tell, time.monotonic()))
            if not once:
                output.note(f"following {', '.join(projector.projections)}; Ctrl-C ends")
                projector.run()
        for one in projector.status() if as_json else ():
            output.json_line(as_object(one))


@command(
    "rebuild",
    example="""
refold projections rebuild costs
refold projections rebuild conversations tool_usage --json
""",
    table="projections",
)
@click.argument("names", nargs=-1, required=True, metavar="NAME...")
@from_option
def rebuild(url: str, as_json: bool, names: tuple[str, ...], places: tuple[str, ...]) -> None:
    """Fill the tables anew beside the old ones, and show them when they have caught up.

    Readers see the old rows until then. The old tables are kept for `rollback` until `confirm`. A
    rebuild that is interrupted goes on where it was.
    """
    with refold.open(url, mode="write") as store:
        projector = _projector(store, places)
        for name in names:
            named(projector.projections, name)
        for name in names:
            with output.progress(f"rebuild {name}") as tell:
                started = time.monotonic()
                generation = projector.rebuild(name, progress=_told(tell, started))
                spent_s = time.monotonic() - started
            _print_rebuilt(name, generation, store.log_head(), spent_s, as_json)


@command("confirm", example="refold projections confirm costs", table="projections")
@click.argument("name")
def confirm(url: str, as_json: bool, name: str) -> None:
    """Drop the tables that a rebuild has replaced, or that a rollback has."""
    from refold.projections import Projector

    with refold.open(url, mode="write") as store:
        dropped = Projector(store, []).confirm(name)
    if as_json:
        output.json_line({"projection": name, "dropped_generation": dropped})
    elif dropped is None:
        output.line(f"{name}: there was nothing to drop")
    else:
        output.line(f"{name}: dropped generation {dropped}")


@command("rollback", example="refold projections rollback costs", table="projections")
@click.argument("name")
def rollback(url: str, as_json: bool, name: str) -> None:
    """Show the tables that a rebuild has replaced again.

    They go on from where they stood, with the code that made them.
    """
    from refold.projections import Projector

    with refold.open(url, mode="write") as store:
        generation = Projector(store, []).roll_back(name)
    if as_json:
        output.json_line({"projection": name, "generation": generation})
    else:
        output.line(f"{name}: shows generation {generation} again")


@command(
    "retry",
    example="""
refold projections retry costs
refold projections retry costs call-42
""",
    table="projections",
)
@click.argument("name")
@click.argument("stream", required=False)
@from_option
def retry(url: str, as_json: bool, name: str, stream: str | None, places: tuple[str, ...]) -> int:
    """Take up the streams that were set aside, or one of them.

    Ends with 1 where one failed again.
    """
    with refold.open(url, mode="write") as store:
        projector = _projector(store, places)
        named(projector.projections, name)
        return _print_failed(name, projector.retry(name, stream), as_json)


@command(
    "skip",
    example='refold projections skip costs call-42@7 --reason "a price in pounds"',
    table="projections",
)
@click.argument("name")
@click.argument("event_id", metavar="EVENT_ID")
@from_option
@option("--reason", required=True, help="Why; the log remembers it.")
def skip(
    url: str, as_json: bool, name: str, event_id: str, places: tuple[str, ...], reason: str
) -> int:
    """Leave out an event that failed, now and in every rebuild, and go on with its stream.

    Ends with 1 where a later event of the stream failed.
    """
    with refold.open(url, mode="write") as store:
        projector = _projector(store, places)
        named(projector.projections, name)
        return _print_failed(name, projector.skip(name, event_id, reason=reason), as_json)


for _one in (status, run, rebuild, confirm, rollback, retry, skip):
    projections_command.add_command(_one)


def _projector(store: refold.Store, places: tuple[str, ...]) -> Projector:
    from refold.projections import Projector

    return Projector(store, projections_from(places), on_parked=_say_parked)


def _say_parked(name: str, parked: Parked) -> None:
    shown = one_line(parked.error, output.UNBROKEN)
    output.note(f"{name}: set aside {clean(parked.id)}, which failed: {shown}")


class _closed_by_terminate:  # noqa: N801
    """While it lasts, SIGTERM lets a projector end after the batch it is at."""

    def __init__(self, projector: Projector) -> None:
        self._projector = projector
        self._before: Any = None

    def __enter__(self) -> None:
        self._before = signal.signal(signal.SIGTERM, lambda *_: self._projector.close())

    def __exit__(self, *_: object) -> None:
        signal.signal(signal.SIGTERM, self._before)


def _told(tell: output.Tell, started: float) -> Callable[[int, int], None]:
    def progress(done: int, in_all: int) -> None:
        rate = done / max(time.monotonic() - started, 1e-6)
        tell(done, in_all, f"{rate:,.0f} events/s")

    return progress


def _print_rebuilt(name: str, generation: int, events: int, spent_s: float, as_json: bool) -> None:
    if as_json:
        said = {"projection": name, "generation": generation, "events": events}
        output.json_line({**said, "seconds": round(spent_s, 3)})
        return
    output.line(
        f"{name}: shows generation {generation}, from {events:,} events in {spent_s:.1f} s; "
        f"`confirm {name}` drops the one before"
    )


def _print_failed(name: str, failed: list[Parked], as_json: bool) -> int:
    if as_json:
        parked = [{"stream": one.stream, "event": one.id, "error": one.error} for one in failed]
        output.json_line({"projection": name, "failed": parked})
    elif not failed:
        output.line(f"{name}: nothing is set aside that was asked for")
    for one in () if as_json else failed:
        output.line(clean(f"{name}: {one.id} failed again: {one.error}"))
    return errors.FINDING if failed else errors.FINE
