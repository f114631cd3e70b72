"""`refold projections`."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import click

import refold
from refold.cli import output
from refold.cli.errors import FINDING, FINE
from refold.cli.loading import projections_from
from refold.cli.options import command, group, named_store, no_effect, opened, option
from refold.cli.reading import reading_options
from refold.cli.text import clean, one_line, suggestion
from refold.errors import NotFound

if TYPE_CHECKING:
    from refold.projections import Projector
    from refold.projections.catalog import Parked
    from refold.projections.projector import ProjectionStatus

PARKED_SHOWN_MAX: Final = 20
STATE_WORDS: Final = {
    "new": "never started: `refold projections run{db}` does",
    "changed": "changed: `refold projections rebuild {name}{db}`",
    "unknown": "its code was not given: --from MODULE:ATTRIBUTE does",
}
from_option = option(
    "--from",
    "places",
    multiple=True,
    metavar="MODULE:ATTRIBUTE",
    help="Projections of your own.  [default: the built-in ones]",
)


@group("projections")
def projections_command() -> None:
    """Keep tables from the events, and set them right.

    refold projections run
    refold projections status --json
    refold projections rebuild costs
    """


subcommand = partial(command, group=projections_command)
writing = partial(refold.open, mode="write")


@subcommand("status")
@from_option
@option("--metrics", "as_metrics", is_flag=True, help="As OpenMetrics text.")
def status(url: str, places: tuple[str, ...], as_metrics: bool) -> int:
    """Show how each projection stands: position, lag, rate, and what was set aside.

    Without --from, these are the built-in ones and all that have rows here. Ends with 1 where a
    stream was set aside or a projection has to be rebuilt.

        refold projections status
        refold projections status --metrics > refold.prom
    """
    if as_metrics:
        no_effect("beside --metrics", "as_json")
    with opened(url) as store:
        projector = _projector(store, places)
        found = [*projector.status(), *(() if places else projector.others())]
    if as_metrics:
        from refold.projections.metrics import metrics

        output.line("\n".join(metrics(found)))
        return FINE
    for one in found:
        output.show(_as_object(one), _summary(one))
    return FINDING if any(one.parked or one.state == "changed" for one in found) else FINE


@subcommand("run")
@from_option
@option("--once", is_flag=True, help="Catch up and end.")
@reading_options
def run(url: str, places: tuple[str, ...], once: bool) -> None:
    """Catch up, then follow the log until it is interrupted.

    Several may run at once; each event counts once all the same. It may be killed at any moment.

        refold projections run
        refold projections run --once
        refold projections run --from shop.models:projections
    """
    with opened(url, mode="write") as store:
        projector = _projector(store, places)
        with projector, closed_by_terminate(projector.close):
            with output.progress("catch up") as tell:
                projector.catch_up(progress=_told(tell, time.monotonic()))
            if not once:
                output.note(f"following {', '.join(projector.projections)}; Ctrl-C ends")
                projector.run()
        for one in projector.status() if output.as_json() else ():
            output.show(_as_object(one), ())


@subcommand("rebuild")
@click.argument("names", nargs=-1, required=True, metavar="NAME...")
@from_option
def rebuild(url: str, names: tuple[str, ...], places: tuple[str, ...]) -> None:
    """Fill the tables anew beside the old ones, and show them when they have caught up.

    Readers see the old rows until then. The old tables are kept for `rollback` until `confirm`. A
    rebuild that is interrupted goes on where it was.

        refold projections rebuild costs
        refold projections rebuild conversations tool_usage --json
    """
    with writing(url) as store:
        projector = _projector(store, places, *names)
        for name in names:
            with output.progress(f"rebuild {name}") as tell:
                started = time.monotonic()
                generation = projector.rebuild(name, progress=_told(tell, started))
                spent_s = time.monotonic() - started
            events = store.log_head()
            said = {"projection": name, "generation": generation, "events": events}
            confirm_it = f"`refold projections confirm {name}{named_store()}`"
            output.show(
                {**said, "seconds": round(spent_s, 3)},
                f"{name}: shows generation {generation}, from {events:,} events in "
                f"{spent_s:.1f} s; {confirm_it} drops the one before",
            )


@subcommand("confirm")
@click.argument("name")
def confirm(url: str, name: str) -> None:
    """Drop the tables that a rebuild has replaced, or that a rollback has.

    refold projections confirm costs
    """
    with writing(url) as store:
        dropped = _projector(store, None).confirm(name)
    shown = "there was nothing to drop" if dropped is None else f"dropped generation {dropped}"
    output.show({"projection": name, "dropped_generation": dropped}, f"{name}: {shown}")


@subcommand("rollback")
@click.argument("name")
def rollback(url: str, name: str) -> None:
    """Show the tables that a rebuild has replaced again.

    They go on from where they stood, with the code that made them.

        refold projections rollback costs
    """
    with writing(url) as store:
        generation = _projector(store, None).roll_back(name)
    shown = f"{name}: shows generation {generation} again"
    output.show({"projection": name, "generation": generation}, shown)


@subcommand("retry")
@click.argument("name")
@click.argument("stream", required=False)
@from_option
def retry(url: str, name: str, stream: str | None, places: tuple[str, ...]) -> int:
    """Take up the streams that were set aside, or one of them.

    Ends with 1 where one failed again.

        refold projections retry costs
        refold projections retry costs call-42
    """
    with writing(url) as store:
        return _show_failed(name, _projector(store, places, name).retry(name, stream))


@subcommand("skip")
@click.argument("name")
@click.argument("event_id", metavar="EVENT_ID")
@from_option
@option("--reason", required=True, help="Why; the log remembers it.")
def skip(url: str, name: str, event_id: str, places: tuple[str, ...], reason: str) -> int:
    """Leave out an event that failed, now and in every rebuild, and go on with its stream.

    Ends with 1 where a later event of the stream failed.

        refold projections skip costs call-42@7 --reason "a price in pounds"
    """
    with writing(url) as store:
        projector = _projector(store, places, name)
        return _show_failed(name, projector.skip(name, event_id, reason=reason))


def _projector(store: refold.Store, places: tuple[str, ...] | None, *names: str) -> Projector:
    """The projector of what stands at the places (None: of nothing), these names among it."""
    from refold.projections import Projector

    found = [] if places is None else projections_from(places)
    projector = Projector(store, found, on_parked=_say_parked)
    known = projector.projections
    for name in names:
        if name not in known:
            near = suggestion(name, known)
            raise NotFound(
                f"there is no projection {name!r}{near}; --from names your own", projection=name
            )
    return projector


def _say_parked(name: str, parked: Parked) -> None:
    shown = one_line(parked.error, output.UNBROKEN)
    output.note(f"{name}: set aside {clean(parked.id)}, which failed: {shown}")


@contextmanager
def closed_by_terminate(close: Callable[[], None]) -> Iterator[None]:
    """While it lasts, SIGTERM lets what follows a log end after the batch it is at."""
    before = signal.signal(signal.SIGTERM, lambda *_: close())
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _told(tell: output.Tell, started: float) -> Callable[[int, int], None]:
    def progress(done: int, in_all: int) -> None:
        rate = done / max(time.monotonic() - started, 1e-6)
        tell(done, in_all, f"{rate:,.0f} events/s")

    return progress


def _show_failed(name: str, failed: list[Parked]) -> int:
    parked = [{"stream": one.stream, "event": one.id, "error": one.error} for one in failed]
    lines = [clean(f"{name}: {one.id} failed again: {one.error}") for one in failed]
    nothing = f"{name}: nothing is set aside that was asked for"
    output.show({"projection": name, "failed": parked}, lines or nothing)
    return FINDING if failed else FINE


# -- how they stand, for people and programs -----------------------------------------------------


def _as_object(status: ProjectionStatus) -> dict[str, Any]:
    """A status as a JSON object."""
    parked = [
        {
            "stream": one.stream,
            "event": one.id,
            "position": one.position,
            "error": one.error,
            "attempts": one.attempts,
        }
        for one in status.parked
    ]
    return {**status._asdict(), "parked": parked}


def _summary(status: ProjectionStatus) -> Iterator[str]:
    """A few lines for a person."""
    yield f"{status.name}  {_how_far(status)}"
    if status.state in STATE_WORDS:
        yield f"  {STATE_WORDS[status.state].format(name=status.name, db=named_store())}"
    if status.filling_position is not None:
        yield f"  a rebuild has come to position {status.filling_position:,}"
    if status.previous is not None:
        yield f"  generation {status.previous} is kept until it is confirmed"
    for one in status.parked[:PARKED_SHOWN_MAX]:
        yield clean(f"  set aside: {one.id} ({one.attempts} attempts): {one.error}")
    if len(status.parked) > PARKED_SHOWN_MAX:
        yield f"  and {len(status.parked) - PARKED_SHOWN_MAX:,} more streams set aside"


def _how_far(status: ProjectionStatus) -> str:
    if status.state == "new":
        return f"{status.lag_events:,} events behind"
    behind = "up to date"
    if status.lag_events:
        behind = f"{status.lag_events:,} events and {status.lag_s:,.1f} s behind"
    return (
        f"generation {status.generation} at position {status.position:,}: {behind}, "
        f"{status.rate:,.0f} events/s at last"
    )
