"""The options that choose conversations, and what they choose: for every command that takes many.

What they are found by is a read model in the store, which is brought up to date first.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import wraps
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import click
import msgspec

import refold
from refold.cli import output
from refold.cli.options import (
    INSTANT,
    int_option,
    is_said,
    no_effect,
    opened,
    option,
    time_option,
    together,
    typed,
)
from refold.cli.private import open_store
from refold.cli.suggest import REPLAY_MARK, resolved
from refold.cli.text import clean, counted, suggestion
from refold.errors import NotFound, UsageError
from refold.times import rfc3339

if TYPE_CHECKING:
    from refold.readmodels.finding import FoundStreams, Wanted

SEEDS_MAX = 2**63 - 1
_READ: Final[dict[str, Callable[[str], Any]]] = {
    **dict.fromkeys(("since", "until"), INSTANT),
    **dict.fromkeys(("sample", "seed"), int),
    "with_error": lambda said: _YES[said.lower()],
}
_YES: Final[dict[str, bool]] = {
    **dict.fromkeys(("true", "yes", "1"), True),
    **dict.fromkeys(("false", "no", "0"), False),
}
"""How a condition of a selection is read; others are taken as they are."""
_KINDS: Final = {
    **dict.fromkeys(("since", "until"), "time or age, such as 2026-03-01 or 7d"),
    **dict.fromkeys(("sample", "seed"), "whole number"),
    "with_error": "yes or no",
}


class Choice(NamedTuple):
    """What must hold of conversations, and the dataset that they are of, by its name."""

    wanted: Wanted
    dataset: str | None = None

    def said(self) -> dict[str, Any]:
        """What was asked, as JSON values by the names of the options."""
        asked = {**msgspec.structs.asdict(self.wanted), "dataset": self.dataset}
        for name in ("since", "until"):
            asked[name] = None if asked[name] is None else rfc3339(asked[name])
        if self.wanted.sample is None:
            del asked["seed"]
        return {name: one for name, one in asked.items() if one is not None and one is not False}


def choosing(*, model: str = "--model") -> Callable[..., Any]:
    """Decorator: what must hold of a stream, given as ``wanted``; None where nothing was said.

    ``model`` is what one of the options is called where a command has another of this name.
    """
    options = together(
        time_option("--since", "--last", "of_since", help="Went on since: a time or age, 7d."),
        time_option("--until", "of_until", help="Went on then or before."),
        option("--agent", "of_agent", metavar="NAME", help="This agent was in it."),
        option(
            "--prompt-version",
            "of_prompt_version",
            metavar="HASH|LABEL",
            help="A prompt of this label was in force, or of a hash that begins so.",
        ),
        option(model, "of_model", metavar="NAME", help="This model was asked."),
        option("--tool", "of_tool", metavar="NAME", help="This tool was called."),
        option(
            "--outcome", "of_outcome", metavar="TEXT", help="It came out so: a label, or its end."
        ),
        option("--tag", "of_tag", metavar="NAME", help="It has this tag."),
        option(
            "--with-error",
            "of_with_error",
            is_flag=True,
            help='Something failed: a tool that says so, by {"error": …} too, or a model.',
        ),
        option("--cost-over", "of_cost_over", metavar="X", help="It cost more, in one currency."),
        option("--text", "of_text", metavar="WORDS", help="One of its events says these words."),
        option("--dataset", "of_dataset", metavar="NAME[@N]", help="It is in this dataset."),
        int_option("--sample", 1, SEEDS_MAX, "of_sample", help="So many of them, by chance."),
        int_option("--seed", 0, SEEDS_MAX, "of_seed", default=0, help="Which chance."),
        option("--stratify", "of_stratify", metavar="BY", help="Its share of each task, agent, …"),
    )

    def decorate(function: Callable[..., Any]) -> Any:
        @wraps(function)
        def call(**given: Any) -> Any:
            said = {name: given.pop(name) for name in [*given] if name.startswith("of_")}
            return function(**given, wanted=_choice(said))

        return options(call)

    return decorate


def _choice(said: dict[str, Any]) -> Choice | None:
    seed, dataset = said.pop("of_seed"), said.pop("of_dataset")
    if said["of_sample"] is None:
        no_effect("without --sample", "of_seed", "of_stratify")
    if dataset is None and all(value is None or value is False for value in said.values()):
        return None
    from refold.readmodels import Wanted

    named = {name.removeprefix("of_"): value for name, value in said.items()}
    return Choice(Wanted(**named, seed=seed), dataset)


def found(url: str, choice: Choice, among: Sequence[str] | None = None) -> FoundStreams:
    """The streams that fit, of those that are given or all.

    Whether some could not be looked into is told.
    """
    from refold.privacy.stored import has_keys, stored_backend
    from refold.readmodels import Wanted, find
    from refold.readmodels.finding import FoundStreams

    own = _of_dataset(url, choice, among)
    if own is not None and choice.wanted == Wanted():
        return FoundStreams(choice.wanted, frozenset(own), None, [], [])
    asked_again = [one for one in own or () if REPLAY_MARK in one]
    if asked_again:
        left = counted(len(asked_again), "stream")
        output.note(f"left out {left} of replays: only --dataset alone takes them")
    is_asked = None if own is None else frozenset(own).__contains__
    with output.progress("read the log") as tell, refold.open("memory:") as rows:
        try:
            with open_store(url, mode="read" if url.endswith(".jsonl") else "write") as store:
                those = find(store, choice.wanted, among=is_asked, progress=tell)
                is_closed = has_keys(stored_backend(store))
        except UsageError as error:
            if error.code != "not_writable":
                raise
            with opened(url) as store:
                those = find(store, choice.wanted, among=is_asked, rows=rows, progress=tell)
                is_closed = has_keys(stored_backend(store))
    if choice.wanted.text is not None and is_closed:
        output.note(
            "words under keys of persons were not looked into: only what stands in the clear"
        )
    if those.unread:
        output.note(f"set aside, see `projections status`: {clean(', '.join(those.unread[:9]))}")
    return those


def _of_dataset(url: str, choice: Choice, among: Sequence[str] | None) -> Sequence[str] | None:
    """Those of the streams that are in the dataset, where one is asked for."""
    if choice.dataset is None:
        return among
    held = _versions(url, choice.dataset)
    return [*held] if among is None else [one for one in among if one in held]


def _versions(url: str, dataset: str) -> dict[str, int]:
    from refold.replay.datasets import Dataset

    with opened(url) as store:
        return Dataset.named(store, dataset).versions


def nothing_fits(those: FoundStreams) -> str:
    """What to say where no stream fits: the first name that none has, else all that was asked."""
    for kind, name, known in those.unknown:
        if kind == "cost":
            return f"of no stream is it known what it cost, so none is over {name}"
        if kind == "time":
            return f"no stream went on then: all did from {known[0]} to {known[1]}"
        return clean(f"no stream has the {kind} {name!r}{suggestion(name, known)}")
    context = click.get_current_context()
    asked = [one for one in context.command.params if one.name and one.name.startswith("of_")]
    names = [typed(context, one) for one in asked if is_said(context, one)]
    return f"no stream fits {' and '.join(names)}"


def chosen(
    url: str, streams: Sequence[str], category: str | None, wanted: Choice | None
) -> dict[str, int | None]:
    """The conversations to work on, never none: those named, of a category or all, that fit.

    Each up to its version in the dataset, and whole (None) where none was asked for. Branches are
    worked on where they are named, or in the dataset.
    """
    from refold.replay import select

    named = bool(streams or category is not None)
    if not named and wanted is None:
        which = "--category, --last, --dataset, --tool, …"
        raise UsageError(f"name the streams, or say which: {which} (refold.toml may say it too)")
    with opened(url) as store:
        names = [resolved(store, stream) for stream in streams]
        those = select(store, streams=names, category=category) if named else None
    return fitting(url, wanted, those)


def fitting(url: str, wanted: Choice | None, streams: list[str] | None) -> dict[str, int | None]:
    """Those of the streams that fit, of all but branches where none are given; never none."""
    if wanted is None:
        return dict.fromkeys(streams or [])
    if streams is None and wanted.dataset is None:
        with opened(url) as store:
            streams = [info.stream for info in store.streams() if "~" not in info.stream]
    those = found(url, wanted, streams)
    fit = sorted(those.streams) if streams is None else [s for s in streams if s in those.streams]
    if not fit:
        raise NotFound(nothing_fits(those))
    until = {} if wanted.dataset is None else _versions(url, wanted.dataset)
    return {stream: until.get(stream) for stream in fit}


def selected(url: str, text: str, option: str) -> dict[str, int | None]:
    """The streams of a selection in one word: a category, or ``agent=reception,last=7d``.

    Each up to its version in the dataset, as :func:`chosen` gives them; ``option`` has the text.
    """
    from refold.readmodels import Wanted

    said: dict[str, Any] = {}
    known = (*Wanted.__struct_fields__, "dataset")
    for one in text.split(","):
        name, equals, value = one.strip().partition("=")
        key = name.replace("-", "_")
        if not equals:
            key, value = (key, "yes") if key == "with_error" else ("category", name)
        key = "since" if key == "last" else key
        if key not in known:
            near = suggestion(key, known)
            raise UsageError(f"{clean(one)!r} says nothing that streams are known by{near}")
        if key in said:
            raise UsageError(f"{option} says {key} twice, {clean(one)!r} too: give it once")
        try:
            said[key] = _READ.get(key, str)(value)
        except (ValueError, KeyError, click.BadParameter) as error:
            raise UsageError(f"{option}: {clean(one)!r} is no {_KINDS[key]}") from error
    dataset = said.pop("dataset", None)
    try:
        return fitting(url, Choice(Wanted(**said), dataset), None)
    except NotFound as error:
        raise NotFound(f"{option} {clean(text)}: {error.message}") from error
