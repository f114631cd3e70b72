"""Commands: fold, decide, append at what was read; decide again where another came first.

A command with an id is done once: its id is the key of its append, and what is kept beside the
key is a digest of the command, so that a repetition gets the first outcome, however the state has
changed since.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from typing import Any, Final, NamedTuple, Protocol, TypeVar
from weakref import WeakValueDictionary

import msgspec

from refold.core.canonical import digest_of_command, is_of_replaced
from refold.core.event import Event, check_name
from refold.core.expected import ANY, NO_EVENTS, NO_STREAM, Expected
from refold.core.fold import Decider, Fold, Folded
from refold.core.query import Condition, Query, checked_tags, condition_of
from refold.core.recorded import Recorded
from refold.engine.append import Append
from refold.errors import Conflict, NotFound, Rejected, UsageError, shown
from refold.ports import Appended, Kept
from refold.process import ProcessLock

S = TypeVar("S")
K = TypeVar("K")

DECISIONS_MAX: Final = 10
"""How often a command is decided before the conflict is the caller's."""
BACKOFF_S: Final = 0.005
REJECTED: Final = "command.rejected"

_encode = msgspec.json.Encoder(order="deterministic").encode


class CommandLog(Protocol):
    """What a command needs of a store."""

    def fold(self, stream: str | Query, fold: Fold[S]) -> Folded[S]:
        """The state of a stream or of a query."""
        ...

    def event(self, event_id: str) -> Recorded:
        """One event."""
        ...

    def _kept_under(self, key: str) -> Kept | None:
        """What an append under a key stored."""
        ...

    def _append_command(
        self, append: Append, *, condition: Condition | None, digest: bytes
    ) -> Appended:
        """Append under a condition; ``digest`` stands for the bytes of a keyed one."""
        ...


class Turns:
    """Threads that decide on the same thing take turns: they would only lose to each other."""

    def __init__(self) -> None:
        self._mutex = ProcessLock()
        # A lock is forgotten when nobody has it.
        self._turns: WeakValueDictionary[object, AbstractContextManager[object]]
        self._turns = WeakValueDictionary()

    def of(self, subject: object) -> AbstractContextManager[object]:
        """The turn of a stream or a query."""
        if not isinstance(subject, Query):
            check_name(subject, what="a stream name")
        with self._mutex():
            return self._turns.setdefault(subject, threading.RLock())


class Execution(NamedTuple):
    """A command, where it is to act, and what it is known by."""

    stream: str
    decider: Decider[Any, Any]
    command: object
    command_id: str | None
    metadata: Mapping[str, Any] | None
    tags: tuple[str, ...]
    over: Query | None

    def digest(self) -> bytes:
        """What a repetition is told by; nothing where the command has no id."""
        if self.command_id is None:
            return b""
        check_name(self.command_id, what="a command's id")
        try:
            said = _encode([type(self.command).__name__, self.command])
        except (TypeError, ValueError, RecursionError) as error:
            raise UsageError(
                f"a command with an id must be JSON, for a repetition to be told: {error}"
            ) from error
        return digest_of_command(self.stream, said)

    def about(self) -> Mapping[str, Any] | None:
        """The metadata of its events."""
        if self.command_id is None:
            return self.metadata
        ids = {"command": self.command_id, "correlation": self.command_id}
        return {**ids, **(self.metadata or {})}


def executed(log: CommandLog, command: Execution) -> Appended | None:
    """Carry a command out; see :meth:`refold.Store.execute`."""
    digest = command.digest()
    for attempt in range(DECISIONS_MAX - 1):
        with suppress(Conflict):
            return _attempted(log, command, digest)
        time.sleep(random.uniform(0, BACKOFF_S * 2**attempt))
    return _attempted(log, command, digest)


def _attempted(log: CommandLog, command: Execution, digest: bytes) -> Appended | None:
    if done := _first_outcome(log, command, digest):
        return done
    folded = _folded(log, command)
    try:
        events, refusal = command.decider.decide(command.command, folded.state), None
    except Rejected as rejected:
        if command.decider.rejections != "recorded":
            # It may be another process's doing of this very command that it was refused for.
            done = _first_outcome(log, command, digest)
            if done is None:
                raise
            return done
        events, refusal = [_rejection(command, rejected)], rejected
    if not events:
        return _first_outcome(log, command, digest)
    condition = condition_of(command.over, folded.position)
    place = command.stream, events, _expected(command, folded)
    append = Append(*place, command.about(), command.command_id, command.tags)
    outcome = log._append_command(append, condition=condition, digest=digest)
    if outcome.duplicate:
        return _not_rejected(log, outcome)
    if refusal is not None:
        raise refusal
    return outcome


def _folded(log: CommandLog, command: Execution) -> Folded[Any]:
    fold: Fold[Any] = command.decider.fold
    try:
        return log.fold(command.stream if command.over is None else command.over, fold)
    except NotFound:
        return Folded(fold.initial(), NO_EVENTS, 0)


def _expected(command: Execution, folded: Folded[Any]) -> Expected:
    if command.over is not None:
        return ANY
    return NO_STREAM if folded.version == NO_EVENTS else folded.version


def _first_outcome(log: CommandLog, command: Execution, digest: bytes) -> Appended | None:
    """What the command came to when it was done before; None where it was not, or has no id."""
    kept = None if command.command_id is None else log._kept_under(command.command_id)
    if kept is None:
        return None
    first = kept.parts[0]
    if kept.digest != digest and not is_of_replaced(kept.digest):
        facts = {"key": command.command_id, "stream": first.stream, "version": first.version}
        why = f"{command.command_id!r} was the id of something else, at {first.ids[0]}: "
        raise UsageError(f"{why}an id names one command for ever", code="key_reused", **facts)
    return _not_rejected(log, first._replace(duplicate=True))


def _not_rejected(log: CommandLog, outcome: Appended) -> Appended:
    """The outcome, where it was not a recorded rejection: that is raised again."""
    first = log.event(outcome.ids[0])
    if first.type == REJECTED:
        said = first.data
        raise Rejected(said["reason"], code=said["code"], **said["facts"])
    return outcome


def _rejection(command: Execution, rejected: Rejected) -> Event:
    facts = {name: value for name, value in rejected.facts.items() if name != "reason"}
    said = {"command": type(command.command).__name__, "reason": rejected.reason}
    return Event(REJECTED, {**said, "code": rejected.code, "facts": facts})


def tags_of(tags: Sequence[str] | None, over: Query | None) -> tuple[str, ...]:
    """The tags of a decision's events: those given, and those of what it rests on.

    Without the latter the next decision over the same query would not see them.
    """
    if over is not None and not isinstance(over, Query):
        raise UsageError(f"over={shown(over)} is not a refold.Query", argument="over")
    items = () if over is None else over.items
    rested_on = [tag for item in items for tag in item.tags]
    return tuple(dict.fromkeys((*checked_tags(() if tags is None else tags), *rested_on)))
