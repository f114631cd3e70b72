"""The exact bytes of recorded calls, from the store; each is checked by its hash.

Where something was redacted its hash went with it, and what is left is :class:`RedactedBytes`.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterator
from functools import lru_cache, partial
from itertools import chain, takewhile
from typing import Any, Final

from refold.capture.elements import RECENT_MAX, answer_bytes, elements_of, joined, read_form
from refold.capture.events import WireAnswer, WirePiece, WireRequest
from refold.core.event import event_id
from refold.core.recorded import Recorded
from refold.engine.store import Store
from refold.errors import Corrupt, NotFound, RefoldError
from refold.ports import Check
from refold.privacy.envelope import ERASED, REDACTED, is_withheld

CALL: Final = "call"
"""The metadata that names the call which an event is of."""
PAGE_EVENTS: Final = 256
FORMS_MAX: Final = 1_024
"""How many forms are held, so that a chain of them is read in pages."""


class RedactedBytes(bytes):
    """What is left of bytes of which something was redacted: not what went over the wire."""


def request_of(store: Store, stream: str, version: int) -> bytes:
    """The exact body of the model request that the event at a version is part of.

    As :class:`RedactedBytes` where something of it was redacted: they say ``[redacted]`` there.
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
    kept = [*answers_in(store, stream, request.version, request.noted(CALL))]
    data = b"".join(map(answer_bytes, kept))
    if kept and is_withheld(kept[-1].hash):
        return RedactedBytes(data)
    if kept and kept[-1].hash is not None:
        _check(hashlib.sha256(data).hexdigest(), kept[-1].hash, f"the answer to {request.id}")
    return data


def answers_in(store: Store, stream: str, version: int, call: str) -> Iterator[WireAnswer]:
    """What a stream holds of the answer to a call, from a version on, up to its end."""
    for recorded in store.read(stream, from_version=version):
        if recorded.type == "wire.answer" and recorded.noted(CALL) == call:
            kept: WireAnswer = recorded.to_class(WireAnswer)
            yield kept
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
        """The bytes of the ``wire.request`` at a version; see :func:`request_of`."""
        form = self.form_at(version)
        body = joined(form, self.elements_at(version))
        # An element may have been redacted where it stands since, before this request named it.
        found = [form, *self._forms.values()] if REDACTED.encode() in body else [form]
        if any(is_withheld(one.hash) for one in found):
            return RedactedBytes(body)
        _check(hashlib.sha256(body).hexdigest(), form.hash, event_id(self._stream, version))
        return body

    def elements_at(self, version: int) -> list[bytes]:
        """The elements of that request."""
        elements = elements_of(version, self.form_at, self._whole)
        self._whole[version] = elements
        while len(self._whole) > RECENT_MAX:
            del self._whole[next(iter(self._whole))]
        return elements

    def form_at(self, version: int) -> WireRequest:
        """The linear form that is kept at a version; those before it are read with it."""
        if version not in self._forms:
            page = self._store.read(
                self._stream, to_version=version, direction="backward", limit=PAGE_EVENTS
            )
            self.note(*(recorded for recorded in page if recorded.type == self._kind))
        try:
            return self._forms[version]
        except KeyError:
            raise Corrupt(
                f"{event_id(self._stream, version)} is no request, which another one leads to; "
                "run `refold doctor`",
                stream=self._stream,
                version=version,
            ) from None

    def note(self, *read: Recorded) -> None:
        """Take the forms of events that were just read, which are then not read again."""
        for recorded in read:
            self.hold(recorded.version, form_of(self._store, recorded))

    def hold(self, version: int, form: WireRequest) -> None:
        """Take a form that was just stored there, which is then not read."""
        if len(self._forms) > FORMS_MAX:
            self._forms.clear()
        self._forms[version] = form


def form_of(store: Store, recorded: Recorded) -> WireRequest:
    """The form that an event holds, itself or in the pieces before it."""
    form = read_form(recorded.raw)
    text = text_before(store, recorded, form.pieces) if form.pieces else ""
    if text and not text.startswith("{"):  # Its pieces were taken out, and say so.
        return WireRequest(hash=ERASED, text=text)
    return read_form(text.encode()) if text else form


def text_before(store: Store, recorded: Recorded, count: int) -> str:
    """The text of so many pieces that stand right before an event."""
    first, last = recorded.version - count, recorded.version - 1
    pieces = store.read(recorded.stream, from_version=first, to_version=last)
    return "".join(piece.to_class(WirePiece).text for piece in pieces)


def check_exact(store: Store) -> Iterator[Check]:
    """Read every captured request and answer back and compare it with its hash."""
    reader = lru_cache(RECENT_MAX)(partial(Requests, store))
    coming: dict[tuple[str, Any], Any] = defaultdict(hashlib.sha256)
    counts, bad, redacted = {"wire.request": 0, "wire.answer": 0}, "", 0
    for recorded in store.read_all(types=[*counts]):
        try:
            if recorded.type == "wire.request":
                reader(recorded.stream).note(recorded)
                body = reader(recorded.stream).body_at(recorded.version)
                if isinstance(body, RedactedBytes):
                    redacted += 1
                    continue
            else:
                kept, call = recorded.to_class(WireAnswer), (recorded.stream, recorded.noted(CALL))
                coming[call].update(answer_bytes(kept))
                if kept.hash is None:
                    continue
                if is_withheld(kept.hash):
                    redacted += 1
                    continue
                _check(coming.pop(call).hexdigest(), kept.hash, recorded.id)
            counts[recorded.type] += 1
        except RefoldError as error:
            # It is doctor who asks.
            bad = bad or f"{recorded.id}: {error.message.partition('; run ')[0]}"
    if bad or redacted or any(counts.values()):
        requests, answers = counts.values()
        told = f"{requests} requests and {answers} answers are what their hashes say"
        told += f"; {redacted} more were redacted" if redacted else ""
        yield Check("exact bytes", not bad, bad or told)


def _request_at(store: Store, stream: str, version: int) -> Recorded:
    """The ``wire.request`` of the call that an event is of."""
    event = store.event(event_id(stream, version))
    call = event.noted(CALL)
    if call is not None:
        ahead = store.read(stream, from_version=version)
        behind = store.read(stream, to_version=version, direction="backward")
        for one in chain(takewhile(lambda one: one.noted(CALL) == call, ahead), behind):
            if one.type == "wire.request" and one.noted(CALL) == call:
                return one
    raise NotFound(
        f"{event.id} is of no captured call: look for `wire.request` in `refold log {stream}`",
        id=event.id,
    )


def _check(found: str, recorded: str, what: str) -> None:
    if found != recorded:
        raise Corrupt(
            f"the bytes of {what} have the SHA-256 {found}, where {recorded} was recorded; "
            "run `refold doctor`",
            id=what,
        )
