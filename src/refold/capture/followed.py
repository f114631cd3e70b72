"""A stream that calls are captured into: what must be known of it to go on, from its events."""

from __future__ import annotations

import os
import secrets
import socket
from typing import Final

from refold.capture.conversations import told
from refold.capture.elements import RECENT_MAX, KnownElements, digest_of
from refold.capture.events import WireAnswer
from refold.capture.exact import CALL, Requests
from refold.core.recorded import Recorded
from refold.engine.store import Store
from refold.recording.notes import Notes, follow
from refold.recording.tool_run import RAN, SOURCE

PROCESS: Final = "process"
"""The metadata that names the process which made a call."""
GOING_ON_US_MAX: Final = 3_600 * 1_000_000
"""How long a call may go on of which it cannot be seen whether its process still runs."""
GOING_ON: Final[set[str]] = set()
"""The calls of this process that go on."""

_TOKEN: Final = secrets.token_hex(4)


class Followed:
    """A stream as far as it was read.

    ``tags`` are those of the history up to here; ``open`` has the ``wire.request`` of each call
    that has no end yet; ``asked`` is the last request: its hash, when it was made, its history;
    ``ran`` has what the results say that the tools themselves told, by call id.
    """

    def __init__(self, store: Store, stream: str) -> None:
        self.notes = Notes(stream)
        self.tags: frozenset[str] = frozenset()
        self.open: dict[str, Recorded] = {}
        self.asked = ("", 0, self.tags)
        self.ran: dict[str, str] = {}
        self._store = store
        self._known = KnownElements()
        self._unseen: list[int] = []
        self._seen = -1

    def __len__(self) -> int:
        """How many digests of elements it takes up; an empty one takes room too."""
        return 100 + len(self._known)

    def catch_up(self) -> None:
        """Read what was appended since, by whomever."""
        stream, version = self.notes.stream, self.notes.version
        if self._store.head(stream) > version:
            for recorded in self._store.read(stream, from_version=version + 1):
                self._take(recorded)

    def known(self) -> KnownElements:
        """The elements that it holds."""
        requests = Requests(self._store, self.notes.stream)
        for version in self._unseen[-RECENT_MAX:]:
            self._known.take(version, [*map(digest_of, requests.elements_at(version))])
        self._unseen.clear()
        return self._known

    def request_kept(self, version: int, digests: list[bytes]) -> None:
        """The request at a version, just appended, has these elements: no need to read them."""
        self._known.take(version, digests)
        self._seen = version

    def _take(self, recorded: Recorded) -> None:
        follow(self.notes, recorded)
        call = recorded.noted(CALL)
        if call is not None and (tags := recorded.noted("tags")):
            self.tags = frozenset(tags)
        if recorded.type == "wire.request":
            form = Requests(self._store, recorded.stream).form_of(recorded)
            if recorded.stream == self.notes.stream:  # Else it ends in the parent of this branch.
                self.open[call] = recorded
            self.asked = (form.hash, recorded.occurred_at_us, self.tags)
            if recorded.version != self._seen:
                self._known.learn(recorded.version, form)
                self._unseen.append(recorded.version)
        elif recorded.type == "tool.call":
            self.ran.pop(recorded.data["call_id"], None)
        elif recorded.type == "tool.result" and recorded.noted(SOURCE) == RAN:
            self.ran[recorded.data["call_id"]] = told(recorded.data.get("result"))
        elif recorded.type == "wire.answer" and recorded.to_class(WireAnswer).hash is not None:
            self.open.pop(call, None)


def this_process() -> str:
    """What this process is known by to others."""
    return f"{socket.gethostname()}:{os.getpid()}:{_TOKEN}"


def goes_on(call: str, request: Recorded, *, now_us: int) -> bool:
    """Whether a call without an end still goes on, as far as can be seen from here.

    One of this machine does while its process runs, one of another for an hour.
    """
    process = str(request.noted(PROCESS))
    if process == this_process():
        return call in GOING_ON
    host, _, number = process.rpartition(":")[0].rpartition(":")
    is_here = host == socket.gethostname() and os.name == "posix"
    if is_here and number.isdecimal():
        if int(number) == os.getpid():
            return False
        try:
            os.kill(int(number), 0)
        except ProcessLookupError:
            return False
        except OSError:
            pass  # It runs, and is somebody else's.
    return now_us - request.occurred_at_us < GOING_ON_US_MAX
