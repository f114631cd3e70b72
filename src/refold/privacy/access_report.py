"""Who read what, when, why, and how it was decided: the events of the access log as rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from refold.conversation.governance import AccessDenied, AccessRecorded
from refold.engine.store import Store
from refold.privacy.access import ACCESS_STREAM
from refold.privacy.pseudonyms import keys_of, pseudonyms
from refold.privacy.stored import has_keys, stored_backend


class Access(NamedTuple):
    """A read of protected values, allowed or not.

    ``at_us`` is when it was recorded, in microseconds UTC; ``id`` that of its event; ``subject`` a
    pseudonym; ``reason`` why it was refused; ``destination`` where what was read went to.
    """

    at_us: int
    id: str
    actor: str
    purpose: str
    subject: str
    streams: Sequence[str]
    decision: str
    reason: str
    destination: str | None


def accesses(
    log: Store, *, actor: str | None = None, subject: str | None = None, since_us: int = 0
) -> Iterator[Access]:
    """The reads that a log records, the oldest first; none where it records none.

    ``subject`` is a subject (known by its name where the log is opened with the keyring), its
    pseudonym, or the name of a stream that was read; ``since_us`` microseconds UTC, included.
    """
    if log.head(ACCESS_STREAM) < 0:
        return
    wanted = set[str]() if subject is None else {subject, *_pseudonyms(log, subject)}
    for recorded in log.read(ACCESS_STREAM):
        event = recorded.event
        if not isinstance(event, AccessRecorded | AccessDenied):
            continue
        if recorded.recorded_at_us < since_us or actor not in (None, event.actor):
            continue
        if wanted and wanted.isdisjoint((event.subject, *event.streams)):
            continue
        denied = isinstance(event, AccessDenied)
        yield Access(
            recorded.recorded_at_us,
            recorded.id,
            event.actor,
            event.purpose,
            event.subject,
            event.streams,
            "denied" if denied else "allowed",
            event.reason if isinstance(event, AccessDenied) else "",
            event.destination,
        )


def _pseudonyms(log: Store, subject: str) -> list[str]:
    """What a subject is called where reads are recorded, as far as a keyring tells."""
    keys = keys_of(log)
    is_told = keys is not None and keys.keyring is not None and has_keys(stored_backend(log))
    return pseudonyms(log, subject) if is_told else []
