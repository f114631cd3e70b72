"""Who reads protected values: asked, decided and recorded before a data key is used.

No access event, no key: what cannot be recorded is not read. An event names the subject by its
pseudonym, and holds nothing of what was read.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Final, NamedTuple

from refold.conversation.governance import AccessDenied, AccessRecorded
from refold.engine.store import Store
from refold.errors import RefoldError, Unavailable, refuse_unless

ACCESS_STREAM: Final = "refold-access"
"""The stream that reads of protected values are recorded in."""
PROGRAM: Final = "refold"
"""The actor of what is read for rows that are kept beside the log, where none is named."""
WINDOW_S: Final = 60.0
"""So long an event stands for what its actor reads of a subject's stream for its purpose."""
_REMEMBERED_MAX: Final = 100_000
"""Decisions that are remembered; beyond it, the oldest is recorded again when it is made again."""
_NAMELESS: Final = "no actor was named"

Policy = Callable[[str, str, str, str], bool | str]
"""``allow(actor, purpose, subject, stream)``: True, or why not; the subject by its pseudonym."""


class Reading(NamedTuple):
    """Who reads, for which purpose, and where what is read goes, if it leaves the program."""

    actor: str | None = None
    purpose: str = ""
    destination: str | None = None


class AskedAbout(NamedTuple):
    """What is to be opened: the values about a subject (its pseudonym) in a stream."""

    subject: str
    stream: str


_reading: Final[ContextVar[Reading | None]] = ContextVar("refold_reading", default=None)


@contextmanager
def reading_as(actor: str, *, purpose: str = "", destination: str | None = None) -> Iterator[None]:
    """What is read in this block, by this task or thread, is read by another actor.

    So a server that keeps one store open reads for each of its users in turn.
    """
    refuse_unless(isinstance(actor, str) and actor != "", "a name", actor=actor)
    before = _reading.set(Reading(actor, purpose, destination))
    try:
        yield
    finally:
        _reading.reset(before)


class AccessLog:
    """Decides on reads and records them, each before it happens.

    ``log`` is the store that events go to, ``reading`` who reads where no block of
    :func:`reading_as` says otherwise, ``allow`` the policy (None: who is named may read). Within
    ``window_s`` seconds the same decision is recorded once. ``monotonic`` gives seconds.
    """

    def __init__(
        self,
        log: Store,
        reading: Reading,
        *,
        allow: Policy | None = None,
        window_s: float = WINDOW_S,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._log, self._reading, self._allow = log, reading, allow
        self._window_s, self._monotonic = window_s, monotonic
        self._recorded: OrderedDict[tuple[Reading, AskedAbout, str], float] = OrderedDict()

    def allowed(self, wanted: Iterable[AskedAbout]) -> set[AskedAbout]:
        """What of it may be opened now; this was recorded, and so was what may not.

        :class:`~refold.errors.Unavailable` (code ``access_not_recorded``) where it could not be
        recorded: then nothing may. Where no actor is named nothing may in any case, and no error
        tells that this was not recorded.
        """
        reading = _reading.get() or self._reading
        decided = {one: self._refusal(reading, one) for one in dict.fromkeys(wanted)}
        try:
            self._record(reading, decided)
        except RefoldError as error:
            if not reading.actor:
                return set()
            raise _not_recorded(error) from error
        return {one for one, why in decided.items() if not why}

    def note(self, wanted: Iterable[AskedAbout], *, purpose: str) -> None:
        """Record what the program itself is about to read, of which no policy is asked.

        :class:`~refold.errors.Unavailable` as in :meth:`allowed`.
        """
        reading = Reading(self._reading.actor or PROGRAM, purpose)
        try:
            self._record(reading, dict.fromkeys(wanted, ""))
        except RefoldError as error:
            raise _not_recorded(error) from error

    def _record(self, reading: Reading, decided: Mapping[AskedAbout, str]) -> None:
        """Store what was decided, where that was not done within the window."""
        now = self._monotonic()
        fresh = {one: why for one, why in decided.items() if self._is_new(reading, one, why, now)}
        if fresh:
            self._log.append(ACCESS_STREAM, _events(reading, fresh))
        for one, why in fresh.items():
            self._recorded[reading, one, why] = now
        while len(self._recorded) > _REMEMBERED_MAX:
            self._recorded.popitem(last=False)

    def _refusal(self, reading: Reading, wanted: AskedAbout) -> str:
        """Why something may not be read; nothing where it may."""
        if not reading.actor:
            return _NAMELESS
        if self._allow is None:
            return ""
        said = self._allow(reading.actor, reading.purpose, *wanted)
        if said is True:
            return ""
        return said if isinstance(said, str) and said else "the policy does not allow it"

    def _is_new(self, reading: Reading, wanted: AskedAbout, why: str, now: float) -> bool:
        """Whether this decision is to be recorded: it was not, or not within the window."""
        at = self._recorded.get((reading, wanted, why))
        if at is not None and now - at >= self._window_s:
            self._recorded.pop((reading, wanted, why), None)
            return True
        return at is None


def _events(
    reading: Reading, decided: Mapping[AskedAbout, str]
) -> list[AccessRecorded | AccessDenied]:
    """One event for each subject and decision, with its streams."""
    streams: dict[tuple[str, str], list[str]] = {}
    for (subject, stream), why in decided.items():
        streams.setdefault((subject, why), []).append(stream)
    return [
        AccessDenied(
            actor=reading.actor or "",
            purpose=reading.purpose,
            subject=subject,
            streams=names,
            destination=reading.destination,
            reason=why,
        )
        if why
        else AccessRecorded(
            actor=reading.actor or "",
            purpose=reading.purpose,
            subject=subject,
            streams=names,
            destination=reading.destination,
        )
        for (subject, why), names in streams.items()
    ]


def _not_recorded(error: RefoldError) -> Unavailable:
    why = error.message
    return Unavailable(
        f"who reads could not be recorded, so that no protected value was read: {why}; open the "
        "log so that it can be written, or name a log for this that can: Privacy(journal=URL)",
        code="access_not_recorded",
        stream=ACCESS_STREAM,
    )
