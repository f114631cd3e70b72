"""A stream that calls are captured into: what must be known of it to go on, from its events."""

from __future__ import annotations

from typing import Final, NamedTuple

from refold.capture.elements import RECENT_MAX, Known, digest_of
from refold.capture.events import WireAnswer
from refold.capture.exact import CALL, Requests
from refold.conversation.events import ModelRequest
from refold.core.recorded import Recorded
from refold.engine.store import Store
from refold.recording.notes import Notes, follow

PROCESS: Final = "process"
"""The metadata that names the process which made a call."""


class Sent(NamedTuple):
    """A call that has no end yet.

    The version of its ``wire.request``, its API and attempt, the process that sent it and when, the
    tags of the history that it was about, and the conversation that it is part of.
    """

    version: int
    api: str
    attempt: int
    process: str
    at_us: int
    tags: frozenset[str]
    conversation: str


class Followed:
    """A stream as far as it was read.

    ``tags`` are those of the history up to here, ``open`` the calls that go on, by id; ``asked``
    is the hash of the last request, and when it was made.
    """

    def __init__(self, store: Store, stream: str) -> None:
        self.notes = Notes(stream)
        self.tags: frozenset[str] = frozenset()
        self.open: dict[str, Sent] = {}
        self.asked = ("", 0)
        self._store = store
        self._known = Known()
        self._requests = Requests(store, stream)
        self._unseen: list[int] = []
        self._seen = -1

    @property
    def stream(self) -> str:
        """Its name."""
        return self.notes.stream

    def catch_up(self) -> None:
        """Read what was appended since, by whomever."""
        if self._store.head(self.stream) > self.notes.version:
            for recorded in self._store.read(self.stream, from_version=self.notes.version + 1):
                self._take(recorded)

    def known(self) -> Known:
        """The elements that it holds."""
        for version in self._unseen[-RECENT_MAX:]:
            self._known.take(version, [*map(digest_of, self._requests.elements_at(version))])
        self._unseen.clear()
        return self._known

    def request_kept(self, version: int, digests: list[bytes]) -> None:
        """The request at a version, just appended, has these elements: no need to read them."""
        self._known.take(version, digests)
        self._seen = version

    def _take(self, recorded: Recorded) -> None:
        follow(self.notes, recorded)
        call = recorded.noted(CALL)
        if call is None:
            return
        tags = recorded.noted("tags")
        if tags:
            self.tags = frozenset(tags)
        if recorded.type == "wire.request":
            if recorded.version != self._seen:
                self._known.learn(recorded.version, self._requests.form_of(recorded))
                self._unseen.append(recorded.version)
            about = recorded.metadata
            self.open[call] = Sent(
                recorded.version,
                api="",
                attempt=1,
                process=str(about.get(PROCESS)),
                at_us=recorded.occurred_at_us,
                tags=self.tags,
                conversation=str(about.get("correlation")),
            )
        elif recorded.type == "model.request" and call in self.open:
            request = recorded.to_class(ModelRequest)
            sent = self.open[call]
            self.open[call] = sent._replace(api=request.api, attempt=request.attempt)
            self.asked = (request.hash, recorded.occurred_at_us)
        elif recorded.type == "wire.answer" and recorded.to_class(WireAnswer).hash is not None:
            self.open.pop(call, None)
