"""The options that choose conversations, and what they choose: for every command that takes many.

What they are found by is a read model in the store, which is brought up to date first.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import wraps
from typing import TYPE_CHECKING, Any

import click

import refold
from refold.cli import output
from refold.cli.options import is_said, opened, option, time_option, together
from refold.cli.text import clean, suggestion
from refold.errors import NotFound, UsageError

if TYPE_CHECKING:
    from refold.readmodels.finding import FoundStreams, Wanted


def choosing(model: str = "--model") -> Callable[..., Any]:
    """Decorator: what must hold of a stream, given as ``wanted``; None where nothing was said."""
    options = together(
        time_option("--since", "--last", "of_since", help="Went on since: a time or age, 7d."),
        time_option("--until", "of_until", help="Went on before."),
        option("--agent", "of_agent", metavar="NAME", help="This agent was in it."),
        option(model, "of_model", metavar="NAME", help="This model was asked."),
        option("--tool", "of_tool", metavar="NAME", help="This tool was called."),
        option("--with-error", "of_with_error", is_flag=True, help="Something failed in it."),
        option("--cost-over", "of_cost_over", metavar="X", help="It cost more, in one currency."),
        option("--text", "of_text", metavar="WORDS", help="One of its events says these words."),
    )

    def decorate(function: Callable[..., Any]) -> Any:
        @wraps(function)
        def call(**given: Any) -> Any:
            said = {name: given.pop(name) for name in [*given] if name.startswith("of_")}
            return function(**given, wanted=_wanted(said))

        return options(call)

    return decorate


def _wanted(said: dict[str, Any]) -> Wanted | None:
    if all(value is None or value is False for value in said.values()):
        return None
    from refold.readmodels import Wanted

    return Wanted(**{name.removeprefix("of_"): value for name, value in said.items()})


def found(url: str, wanted: Wanted) -> FoundStreams:
    """The streams that fit. Whether some could not be looked into is told, and where none fits."""
    from refold.readmodels import find

    with output.progress("read the log") as tell, refold.open("memory:") as rows:
        try:
            with refold.open(url, mode="read" if url.endswith(".jsonl") else "write") as store:
                those = find(store, wanted, progress=tell)
        except UsageError as error:
            if error.code != "not_writable":
                raise
            with opened(url) as store:
                those = find(store, wanted, rows=rows, progress=tell)
    if those.unread:
        output.note(f"set aside, see `projections status`: {clean(', '.join(those.unread[:9]))}")
    return those


def nothing_fits(those: FoundStreams) -> str:
    """What to say where no stream fits: the first name that none has, else all that was asked."""
    for kind, name, known in those.unknown:
        return clean(f"no stream has the {kind} {name!r}{suggestion(name, known)}")
    context = click.get_current_context()
    asked = [one for one in context.command.params if one.name and one.name.startswith("of_")]
    return f"no stream fits {' and '.join(one.opts[0] for one in asked if is_said(context, one))}"


def chosen(
    url: str, streams: Sequence[str], category: str | None, wanted: Wanted | None
) -> list[str]:
    """The conversations to work on, never none: those named, of a category or all, that fit.

    Branches are worked on where they are named.
    """
    from refold.replay import select

    named = bool(streams or category is not None)
    if not named and wanted is None:
        raise UsageError("name the streams, or say which: --category, --last, --tool, …")
    with opened(url) as store:
        those = select(store, streams=streams, category=category) if named else None
    return fitting(url, wanted, those)


def fitting(url: str, wanted: Wanted | None, streams: list[str] | None) -> list[str]:
    """Those of the streams that fit, of all but branches where none are given; never none."""
    if wanted is None:
        return streams or []
    those = found(url, wanted)
    every = sorted(stream for stream in those.streams if "~" not in stream)
    fit = every if streams is None else [one for one in streams if one in those.streams]
    if not fit:
        raise NotFound(nothing_fits(those))
    return fit
