"""`refold goals`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

import click
import msgspec

from refold.cli import endpoint, jsontext, output
from refold.cli.choosing import Choice, choosing, chosen
from refold.cli.options import command, no_effect, opened, option
from refold.cli.reading import reading_options
from refold.cli.text import clean
from refold.errors import NotFound, UsageError

if TYPE_CHECKING:
    from refold import Store
    from refold.conversation.events import GoalStated

BY_RULES: Final = "rules"


@command("goals")
@click.argument("streams", nargs=-1, metavar="[STREAM]...")
@option("--category", metavar="NAME", help="All streams of this category too.")
@choosing()
@option("--propose", metavar="rules|openai:NAME", default=BY_RULES, help="Who proposes them.")
@endpoint.base_url_option
@option("--state", "is_stated", is_flag=True, help="Put on record what is proposed.")
@option("--from", "edited", metavar="FILE", help="Put these on record instead: what --json gave.")
@option("--by", metavar="NAME", help="Who edited them.")
@reading_options
def goals_command(
    url: str,
    streams: tuple[str, ...],
    category: str | None,
    wanted: Choice | None,
    propose: str,
    base_url: str,
    edited: str | None,
    by: str | None,
    *,
    is_stated: bool,
) -> None:
    """Say what the users of recorded conversations wanted and knew.

    Who stands in for such a user goes by it. A goal is stated on record, or proposed: by rules from
    what the user said, or by a model. Proposals are shown, and recorded with --state; edit what
    --json gives, and put it on record with --from. The last goal of a conversation counts.

        refold goals call-42
        refold goals --category call --json > goals.jsonl
        refold goals --from goals.jsonl --by ann
    """
    if edited is not None:
        no_effect("with --from", "streams", "category", "propose", "is_stated", "base_url")
        _put(url, _read(edited), by or "a person")
        return
    no_effect("without --from", "by")
    those = [*chosen(url, streams, category, wanted)]
    asked: Any = None
    if propose != BY_RULES:
        asked = endpoint.endpoint(base_url)
        asked.model = endpoint.model_name(propose, of="--propose")
    to = "" if asked is None else asked.url
    with opened(url, mode="write" if is_stated else "read", destination=to) as store:
        # Each at once: what a model was paid for is not lost where it fails at a later one.
        for stream, goal in _proposed(store, those, propose, asked):
            if is_stated:
                _state(store, stream, goal)
            else:
                output.show({"stream": stream, **msgspec.to_builtins(goal)}, _lines(stream, goal))


def _proposed(
    store: Store, streams: list[str], propose: str, asked: Any
) -> Iterator[tuple[str, GoalStated]]:
    from refold.freerun.goals import ask_goal, goal_of
    from refold.replay.hidden import Hidden

    if asked is not None:
        endpoint.check_meant(store, dict.fromkeys(streams))
        for stream in streams:
            Hidden(store).read(stream)  # Refused before anybody is asked.
    for stream in streams:
        history = list(store.read(stream))
        is_known = any(one.type == "goal.stated" for one in history)
        if asked is None or is_known:
            yield stream, goal_of(history)
        else:
            yield stream, ask_goal(history, asked, by=propose)


def _put(url: str, goals: dict[str, GoalStated], by: str) -> None:
    """Put goals on record: all of them, or none where a stream is not there."""
    with opened(url, mode="write") as store:
        for stream in goals:
            if store.head(stream) < 0:
                raise NotFound(f"there is no stream {stream!r}", stream=stream)
        for stream, goal in goals.items():
            _state(store, stream, msgspec.structs.replace(goal, by=by))


def _state(store: Store, stream: str, goal: GoalStated) -> None:
    from refold.freerun.goals import state_goal

    is_new = state_goal(store, stream, goal)
    what = "stated" if is_new else "as it was"
    output.show({"stream": stream, "recorded": is_new}, f"{clean(stream)}: {what}")


def _read(name: str) -> dict[str, GoalStated]:
    """The goals of a file, one a line, as --json gives them."""
    from refold.conversation.events import GoalStated

    found: dict[str, GoalStated] = {}
    for number, line in enumerate(jsontext.file_text(name).splitlines(), 1):
        if not line.strip():
            continue
        said = jsontext.parsed(line, source=name, first_line=number)
        if not isinstance(said, dict) or not isinstance(stream := said.pop("stream", None), str):
            raise UsageError(f"{name}:{number} is no goal with its stream", path=name)
        if odd := said.keys() - {*GoalStated.__struct_fields__}:
            raise UsageError(f"{name}:{number}: a goal has no {min(odd)!r}", path=name)
        if stream in found:
            raise UsageError(f"{name}:{number} is a second goal of {stream}: give one", path=name)
        try:
            found[stream] = msgspec.convert(said, GoalStated)
        except msgspec.ValidationError as error:
            raise UsageError(f"{name}:{number} is no goal: {error}", path=name) from error
    if not found:
        raise UsageError(f"{name} holds no goals: what `refold goals --json` gives is needed")
    return found


def _lines(stream: str, goal: GoalStated) -> Iterator[str]:
    yield output.styled(clean(stream), bold=True) + f"  by {clean(goal.by)}"
    yield clean(f"  {goal.text}")
    for name, value in goal.facts.items():
        yield clean(f"  knows  {name}: {value}")
    for want in goal.wants:
        yield clean(f"  wants  {want}")
