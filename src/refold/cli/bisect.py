"""`refold bisect`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import click

from refold.cli import endpoint, output, printing
from refold.cli.choosing import Choice, choosing, chosen
from refold.cli.errors import FINDING, FINE
from refold.cli.options import command, int_option, no_effect, opened, option, read_by
from refold.cli.reading import reading_options
from refold.cli.suggest import resolved
from refold.cli.text import clean, counted
from refold.errors import UsageError

if TYPE_CHECKING:
    from refold import Recorded, Store
    from refold.replay.bisection import Bisected, Shared
    from refold.replay.checks.seen import NamedCheck
    from refold.replay.hidden import Hidden

_ASKING: Final = (
    *("base_url", "model", "samples", "workers", "max_cost", "api"),
    *("prices", "price_list"),
)


_TAKEN: Final = "and took it that what came stayed"


class Suspect(NamedTuple):
    """A prompt or version: what it is called, and the conversations that it was in force in."""

    name: str
    streams: Sequence[str]
    prompt: str | None = None


@command("bisect")
@click.argument("streams", nargs=-1, metavar="[STREAM]...")
@option("--holds", metavar="CHECK", help="Find where this holds first.")
@option("--fails", metavar="CHECK", help="Find where this fails first.")
@option(
    "--over",
    type=click.Choice(["events", "prompts", "versions"]),
    default="events",
    help="The events of a stream; prompts, or versions of agents, by when they came in force.",
)
@option("--share", type=float, default=0.5, help="Of how many conversations it must be so.")
@option(
    "--prompt",
    "prompts",
    type=read_by(endpoint.prompt_text),
    multiple=True,
    metavar="FILE|TEXT",
    help="Ask with these prompts, in this order: the conversations are replayed.",
)
@option("--model", type=read_by(endpoint.model_name), metavar="openai:NAME", help="Model to ask.")
@endpoint.base_url_option
@endpoint.api_option("--api")
@int_option("--samples", 1, 100, default=1, help="Independent runs with each prompt.")
@int_option("--workers", 1, 256, default=4, help="Requests at a time.")
@option("--max-cost", type=read_by(endpoint.amount), metavar="USD", help="With each: no more.")
@endpoint.price_options
@choosing(model="--recorded-model")
@reading_options
def bisect_command(
    url: str,
    streams: tuple[str, ...],
    holds: str | None,
    fails: str | None,
    over: str,
    share: float,
    prompts: tuple[str, ...],
    wanted: Choice | None,
    **asking: Any,
) -> int:
    """Find the event, prompt or version that first made something so.

    By halves, as `git bisect` does: of 1,000 events ten are looked at. CHECK is one of those that
    `refold compare --check` takes: a built-in one or a function in a file. It is taken for granted
    that what came stayed: that it came and went in between is not looked for.

    Over prompts and versions it must be so of --share of the recorded conversations under each.
    With --prompt the same conversations are asked again with each prompt that is looked at, as
    `refold replay` does, and answers are kept: the same command goes on where it was stopped.
    Exits with 1 where it is not so at the end, with 4 where nothing can be told of any.

        refold bisect call-42 --fails never_says=refund
        refold bisect --over prompts --agent desk --fails kept_promises
        refold bisect call-1 --prompt v1.md --prompt v2.md --prompt v3.md --fails max_words=40
    """
    from refold.replay.bisection import check_share
    from refold.replay.checks.reading import read_check

    if (holds is None) == (fails is None):
        both = "--holds and --fails are two searches: give one of them"
        none = "say what is looked for: --holds CHECK, or --fails CHECK"
        raise UsageError(none if holds is None else both)
    check = read_check(holds or fails or "")
    if check.metric.unit != "share":
        raise UsageError(
            f"{check.metric.name} gives numbers: a check that says yes or no is needed"
        )
    check_share(share)
    sought = Sought(check, fails is None, share)
    if prompts:
        return _over_asked(url, chosen(url, streams, None, wanted), prompts, sought, **asking)
    no_effect("without --prompt: nobody is asked", *_ASKING)
    if over == "events":
        no_effect("over events: they are those of one stream", "share")
        if len(streams) != 1 or wanted is not None:
            raise UsageError("name one stream, or say --over prompts or --over versions")
        return _over_events(url, streams[0], sought)
    among = chosen(url, streams, None, wanted) if streams or wanted is not None else None
    with opened(url) as store:
        return _over_places(store, _in_force(store, over, among), sought)


class Sought(NamedTuple):
    """A check, whether it is to hold or to fail, and of which share of conversations."""

    check: NamedCheck
    holds: bool
    share: float

    def __str__(self) -> str:
        return f"{self.check.metric.name} {'holds' if self.holds else 'fails'}"


def _over_events(url: str, stream: str, sought: Sought) -> int:
    from refold.replay.bisection import first_event
    from refold.replay.hidden import Hidden

    with opened(url) as store:
        stream = resolved(store, stream)
        found = first_event(store, stream, sought.check, holds=sought.holds)
        _note_gone(Hidden(store), store.read(stream))
        events = list(store.read(stream, from_version=found.first or 0, to_version=found.first))
    event = None if found.first is None else events[0]
    said = {
        "sought": str(sought),
        "first": None if event is None else printing.event_json(event),
        "looked_at": sorted(found.asked),
    }

    def lines() -> Iterator[str]:
        if event is None:
            yield f"not so at the end of {clean(stream)}: {clean(str(sought))}"
        else:
            yield f"{clean(str(sought))} first after"
            yield from printing.event_lines([event])
        yield f"looked after {counted(len(found.asked), 'event')}, {_TAKEN}"

    output.show(said, lines())
    return FINDING if event is None else FINE


def _note_gone(hidden: Hidden, history: Iterable[Recorded]) -> None:
    """Say how much of what is looked at nobody can read any more."""
    if count := sum(map(hidden.is_in, history)):
        said = f"{counted(count, 'event')} of it redacted or erased"
        output.note(f"{said}: what a check would have found there is not known")


def _in_force(store: Store, over: str, among: dict[str, int | None] | None) -> list[Suspect]:
    """The prompts, or versions of agents, by when they were in force first."""
    from refold.readmodels.prompts import agent_versions, prompt_versions

    if over == "prompts":
        kept = prompt_versions(store)
        those = [Suspect(" ".join([one.hash[:12], *one.labels]), one.streams) for one in kept]
    else:
        those = [Suspect(name, streams) for name, streams in agent_versions(store).items()]
    fit = [
        one._replace(streams=[s for s in one.streams if among is None or s in among])
        for one in those
    ]
    places = [one for one in fit if one.streams]
    if not places:
        raise UsageError(f"no conversation says which {over.removesuffix('s')} was in force")
    known = {stream for one in places for stream in one.streams}
    if left := [stream for stream in among or () if stream not in known]:
        why = f"nothing says which {over.removesuffix('s')} was in force there"
        output.note(f"{counted(len(left), 'conversation')} left out: {why}")
    return places


def _over_places(store: Store, places: Sequence[Suspect], sought: Sought) -> int:
    from refold.replay.bisection import shared_in

    def looked(place: Suspect) -> Shared:
        return shared_in(store, place.streams, sought.check, holds=sought.holds)

    return _told(places, looked, sought)


def _over_asked(
    url: str,
    streams: dict[str, int | None],
    prompts: Sequence[str],
    sought: Sought,
    *,
    base_url: str,
    api: str,
    model: str | None,
    **how: Any,
) -> int:
    from refold.replay import Variant, replay
    from refold.replay.bisection import shared_asked
    from refold.replay.plan import answered_by

    candidate, how = endpoint.endpoint(base_url, api=api), endpoint.prices_of(how)
    places = [Suspect(f"prompt {n}", [*streams], text) for n, text in enumerate(prompts, 1)]
    with opened(url, mode="write", destination=candidate.url) as store:
        endpoint.check_meant(store, dict.fromkeys(streams))

        def looked(place: Suspect) -> Shared:
            asked = Variant(prompt=place.prompt, model=model)
            asked = answered_by(store, asked, candidate.url)
            with output.progress(f"replay with {place.name}") as tell:
                progress = lambda done, total, *_more: tell(done, total)  # noqa: E731
                ran = replay(store, streams, asked, candidate, progress=progress, **how)
            if ran.stopped:
                raise UsageError(f"stopped: {ran.stopped}; the same command asks for the rest")
            if ran.failed:
                said = f"{counted(ran.failed, 'decision')} without an answer"
                output.note(f"{place.name}: {said}: {clean(ran.failures[0].error)}")
            return shared_asked(store, streams, asked, sought.check, holds=sought.holds)

        return _told(places, looked, sought)


def _told(places: Sequence[Suspect], looked: Callable[[Suspect], Shared], sought: Sought) -> int:
    """Halve the places, and tell which it was."""
    from refold.replay.bisection import bisect
    from refold.replay.gate import INCONCLUSIVE

    seen: dict[int, Shared] = {}

    def holds(place: int) -> bool | None:
        seen[place] = looked(places[place])
        so, told = seen[place]
        output.note(f"{clean(places[place].name)}: {so} of {counted(told, 'conversation')}")
        return seen[place].reaches(sought.share)

    found = bisect(len(places), holds)
    output.show(_said(places, found, seen, sought), _lines(places, found, sought))
    if found.first is None and found.before < 0:
        return INCONCLUSIVE
    return FINDING if found.first is None else FINE


def _said(
    places: Sequence[Suspect], found: Bisected, seen: dict[int, Shared], sought: Sought
) -> dict[str, Any]:
    def named(place: int) -> str | None:
        return places[place].name if 0 <= place < len(places) else None

    return {
        "sought": str(sought),
        "first": None if found.first is None else named(found.first),
        "before": named(found.before),
        "unknown": [named(place) for place in found.unknown],
        "looked_at": {places[place].name: one._asdict() for place, one in sorted(seen.items())},
    }


def _lines(places: Sequence[Suspect], found: Bisected, sought: Sought) -> Iterator[str]:
    if found.first is None and found.before < 0:
        yield f"nothing can be told of any of the {len(places)}: {clean(str(sought))} is not known"
        return
    if found.first is None:
        yield f"{clean(str(sought))} of less than {sought.share:g} with the last that can be told"
        return
    yield f"{clean(str(sought))} first with {clean(places[found.first].name)}"
    if found.unknown:
        names = ", ".join(places[place].name for place in found.unknown)
        yield f"or before it with one of which it cannot be told: {clean(names)}"
    yield f"looked at {len(found.asked)} of {len(places)}, {_TAKEN}"
