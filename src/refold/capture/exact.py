"""The exact bytes of recorded calls, from the store; each is checked by its hash."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any, Final

from refold.capture.elements import RECENT_MAX, answer_bytes, elements_of, joined, read_form
from refold.capture.events import WireAnswer, WirePiece, WireRequest
from refold.core.event import event_id
from refold.core.recorded import Recorded
from refold.engine.store import Store
from refold.errors import Corrupt, NotFound, RefoldError
from refold.ports import Check

CALL: Final = "call"
"""The metadata that names the call which an event is of."""
PAGE_EVENTS: Final = 256
FORMS_MAX: Final = 1_024
"""How many forms are held, so that a chain of them is read in pages."""


def request_of(store: Store, stream: str, version: int) -> bytes:
    """The exact body of the model request that the event at a version is part of.

    Any event of the call will do: the words that were sent, ``model.request``, what came of it.
    Raises :class:`~refold.errors.NotFound` for one of no captured call,
    :class:`~refold.errors.Corrupt` where the bytes are not those that were sent.
    """
    return Requests(store, stream).body_at(_request_at(store, stream, version).version)


def answer_of(store: Store, stream: str, version: int) -> bytes:
    """The exact bytes of the answer to that request, compressed where they came compressed.

    Of a call that is still going on, or was never ended, what has come; errors as for
    :func:`request_of`.
    """
    request = _request_at(store, stream, version)
    parts: list[bytes] = []
    for recorded, kept in answers_in(store, stream, request.version, request.noted(CALL)):
        parts.append(answer_bytes(kept))
        if kept.hash is not None:
            _check(hashlib.sha256(b"".join(parts)).hexdigest(), kept.hash, recorded.id)
    return b"".join(parts)


def answers_in(
    store: Store, stream: str, version: int, call: str
) -> Iterator[tuple[Recorded, WireAnswer]]:
    """What a stream holds of the answer to a call, from a version on, up to its end."""
    for recorded in store.read(stream, from_version=version):
        if recorded.type == "wire.answer" and recorded.noted(CALL) == call:
            kept: WireAnswer = recorded.to_class(WireAnswer)
            yield recorded, kept
            if kept.hash is not None:
                return


class Requests:
    """The requests of a stream; a few are held, so that reading them in order is quick.

    ``kind`` is the type of events that are kept as they are, fields of a ``wire.request`` among
    their own.
    """

    def __init__(self, store: Store, stream: str, kind: str = "wire.request") -> None:
        self._store, self._stream, self._kind = store, stream, kind
        self._forms: dict[int, WireRequest] = {}
        self._whole: dict[int, list[bytes]] = {}

    def body_at(self, version: int) -> bytes:
        """The exact bytes of the ``wire.request`` at a version."""
        form = self.form_at(version)
        body = joined(form, self.elements_at(version))
        _check(hashlib.sha256(body).hexdigest(), form.hash, event_id(self._stream, version))
        return body

    def body_of(self, recorded: Recorded) -> bytes:
        """The same of one that was read, which is quicker for those of a stream in order."""
        self.note(recorded)
        return self.body_at(recorded.version)

    def elements_at(self, version: int) -> list[bytes]:
        """The elements of that request."""
        elements = elements_of(version, self.form_at, self._whole)
        self._whole[version] = elements
        while len(self._whole) > RECENT_MAX:
            del self._whole[next(iter(self._whole))]
        return elements

    def form_at(self, version: int) -> WireRequest:
        """The linear form that is kept at a version."""
        if version not in self._forms:
            self._read_back_from(version)
        try:
            return self._forms[version]
        except KeyError:
            raise Corrupt(
                f"{event_id(self._stream, version)} is no request, which another one leads to; "
                "run `refold doctor`",
                stream=self._stream,
                version=version,
            ) from None

    def note(self, recorded: Recorded) -> None:
        """Take the form of an event that was just read, which is then not read again."""
        if len(self._forms) > FORMS_MAX:
            self._forms.clear()
        self._forms[recorded.version] = self.form_of(recorded)

    def _read_back_from(self, version: int) -> None:
        if len(self._forms) > FORMS_MAX:
            self._forms.clear()
        page = self._store.read(
            self._stream, to_version=version, direction="backward", limit=PAGE_EVENTS
        )
        for recorded in page:
            if recorded.type == self._kind:
                self._forms[recorded.version] = self.form_of(recorded)

    def form_of(self, recorded: Recorded) -> WireRequest:
        """The form that an event holds, itself or in the pieces before it."""
        form = read_form(recorded.raw)
        if not form.pieces:
            return form
        first, last = recorded.version - form.pieces, recorded.version - 1
        pieces = self._store.read(self._stream, from_version=first, to_version=last)
        return read_form("".join(one.to_class(WirePiece).text for one in pieces).encode())


def check_exact(store: Store) -> Iterator[Check]:
    """Read every captured request and answer back and compare it with its hash."""
    readers: dict[str, Requests] = {}
    coming: dict[tuple[str, Any], Any] = {}
    counts, bad = {"wire.request": 0, "wire.answer": 0}, ""
    for recorded in store.read_all(types=[*counts]):
        stream = recorded.stream
        try:
            if recorded.type == "wire.request":
                reader = readers.pop(stream, None) or Requests(store, stream)
                readers = dict([*readers.items(), (stream, reader)][-RECENT_MAX:])
                reader.body_of(recorded)
            else:
                kept, call = recorded.to_class(WireAnswer), (stream, recorded.noted(CALL))
                coming.setdefault(call, hashlib.sha256()).update(answer_bytes(kept))
                if kept.hash is None:
                    continue
                _check(coming.pop(call).hexdigest(), kept.hash, recorded.id)
            counts[recorded.type] += 1
        except RefoldError as error:
            # It is doctor who asks.
            bad = bad or f"{recorded.id}: {error.message.partition('; run ')[0]}"
    if bad or any(counts.values()):
        requests, answers = counts.values()
        told = f"{requests} requests and {answers} answers are what their hashes say"
        yield Check("exact bytes", not bad, bad or told)


def _request_at(store: Store, stream: str, version: int) -> Recorded:
    """The ``wire.request`` of the call that an event is of."""
    event = store.event(event_id(stream, version))
    call = event.noted(CALL)
    if call is not None:
        for recorded in store.read(stream, from_version=version):
            if recorded.noted(CALL) != call:
                break
            if recorded.type == "wire.request":
                return recorded
        for recorded in store.read(stream, to_version=version, direction="backward"):
            if recorded.type == "wire.request" and recorded.noted(CALL) == call:
                return recorded
    raise NotFound(
        f"{event.id} is of no captured call: look for `wire.request` in `refold log {stream}`",
        id=event.id,
    )


def _check(found: str, recorded: str, event: str) -> None:
    if found != recorded:
        raise Corrupt(
            f"the bytes of {event} have the SHA-256 {found}, where {recorded} was recorded; "
            "run `refold doctor`",
            id=event,
        )
