"""What the events come to: states, conversations that fit, two histories side by side."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any, Final

import msgspec
from msgspec import UNSET

from refold.conversation import Conversation
from refold.core.diff import diff, diff_states
from refold.core.event import category_of, parse_event_id
from refold.core.fold import Fold
from refold.engine.branch import Branch
from refold.engine.store import Store
from refold.errors import Overloaded, UsageError
from refold.jsontext import exact
from refold.ledger import Portfolio
from refold.ports import StreamInfo
from refold.readmodels import Wanted, find
from refold.server import wire
from refold.server.access import Grant
from refold.server.desk import ServedCall
from refold.server.effort import HeedingFold, heed, heeded, in_turn, worked
from refold.times import not_reached, rfc3339, to_us

FOLDS: Final[dict[str, Fold[Any]]] = {
    "conversation": HeedingFold(Conversation),
    "portfolio": HeedingFold(Portfolio),
}
HASH_DIGITS: Final = 64
_MOMENTS: Final = ("recorded_until", "occurred_until", "since", "until")


async def state(call: ServedCall) -> wire.StateAnswer:
    """Fold a stream to its state, now or then.

    `recorded_until` asks what was known by then, `occurred_until` what had happened by then.
    """
    moment = _given(call.query)
    fold = FOLDS[name := moment.pop("fold")]

    def folded(store: Store) -> wire.StateAnswer:
        call.grant.check_readable(store, call.stream)
        found = store.fold(call.stream, fold, **moment)
        value = msgspec.to_builtins(found.state, str_keys=True)
        return wire.StateAnswer(call.stream, name, found.version, found.position, value)

    return await worked(call, folded)


async def compare(call: ServedCall) -> wire.ComparisonAnswer:
    """Show how one stream differs from another, event by event and in the state they fold to."""
    asked: wire.OfComparison = call.query
    fold = FOLDS[asked.fold]

    def compared(store: Store) -> wire.ComparisonAnswer:
        first, second = (_point(store, call.grant, text) for text in (asked.a, asked.b))
        found = diff(first, second, heed=heed)
        operations = diff_states(first.fold(fold).state, second.fold(fold).state)
        changes = [
            wire.ChangeAnswer(
                one.kind,
                None if one.before is None else wire.EventAnswer.of(one.before),
                None if one.after is None else wire.EventAnswer.of(one.after),
                exact(one.patch),
            )
            for one in found.changes
        ]
        return wire.ComparisonAnswer(
            asked.a, asked.b, found.shared, changes, asked.fold, exact(operations)
        )

    return await worked(call, compared)


async def conversations(call: ServedCall) -> wire.ConversationsAnswer:
    """Find conversations by when they went on, who took part, what was done and what was said."""
    said = _given(call.query)
    skipped, limit = said.pop("from_"), said.pop("limit")
    wanted = Wanted(**said)
    if wanted.category is not None:
        call.grant.check_category(wanted.category)
    _check_prompt(call.grant, wanted)

    def found(store: Store) -> wire.ConversationsAnswer:
        how: Any = {"rows": call.desk.rows, "progress": lambda *_: heed()}
        fit = find(store, wanted, among=call.grant.has, **how)
        streams = heeded(_streams(store, call.grant))
        listed = [info for info in streams if info.stream in fit.streams]
        listed.sort(key=lambda info: (-info.recorded_at_us, info.stream))
        shown = listed[skipped : skipped + limit]
        return wire.ConversationsAnswer(
            [_conversation(info) for info in shown if call.grant.sees(store, info.stream)],
            skipped + len(shown),
            skipped + limit >= len(listed),
            [name for name in fit.unread if call.grant.has(name)],
        )

    async with in_turn(call.desk.finding):
        return await worked(call, found, late=_unfinished)


def _unfinished() -> Overloaded:
    # Of what was done in time nothing is lost: who comes again finds it done.
    return Overloaded("what conversations are found by is not up to date yet: try later")


def _given(query: Any) -> dict[str, Any]:
    """What was asked, moments in microseconds."""
    said = {name: one for name, one in msgspec.structs.asdict(query).items() if one is not UNSET}
    now_us = time.time_ns() // 1_000
    return {
        name: to_us(one, now_us=now_us) if name in _MOMENTS else one for name, one in said.items()
    }


def _point(store: Store, grant: Grant, text: str) -> Branch[Any]:
    """A stream, or a stream up to a version where no stream has that very name."""
    name, _, version = text.rpartition("@")
    is_whole = not name or not version.isdigit() or (grant.has(text) and store.head(text) >= 0)
    if is_whole:
        grant.check_readable(store, text)
        return store.branch(text)
    stream, at = parse_event_id(text)
    grant.check_readable(store, stream)
    if said := not_reached(store, stream, version=at):
        raise UsageError(f"{text}: {said}")
    return store.branch(stream, at=at)


def _check_prompt(grant: Grant, wanted: Wanted) -> None:
    """Refuse the beginning of a hash to who sees not all: others' prompts may begin so too."""
    given = wanted.prompt_version or ""
    is_part = len(given) < HASH_DIGITS and not set(given) - set("0123456789abcdef")
    if grant.categories and given and is_part:
        raise UsageError(
            "prompt_version: give the whole hash, or a label", argument="prompt_version"
        )


def _streams(store: Store, grant: Grant) -> Iterator[StreamInfo]:
    names: list[str | None] = [*sorted(grant.categories)] or [None]
    return (info for name in names for info in store.streams(category=name))


def _conversation(info: StreamInfo) -> wire.ConversationAnswer:
    fork = None if info.fork is None else wire.ForkAnswer(info.fork.parent, info.fork.version)
    when = rfc3339(info.recorded_at_us)
    return wire.ConversationAnswer(info.stream, category_of(info.stream), info.version, when, fork)
