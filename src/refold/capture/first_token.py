"""When the first token of a streamed answer came, told while it streams."""

from __future__ import annotations

import re
import zlib
from typing import Any, Final

from refold.capture.call import ModelCall
from refold.conversation.apis.sse import Frame, SseParser

_BEGINNINGS: Final = ("ping", "message_start", "response.created", "response.in_progress")
_NOTHING_YET: Final = re.compile(r'"delta":\s*\{("role":\s*"\w+"|"content":\s*(""|null)|[\s,])*\}')


class FirstToken:
    """Looks through an answer until the first frame that has something of it.

    It gives the call its ``first_token_ms``. A frame that only begins an answer, or names its
    role, has nothing of it. The time stays unknown where an answer is not streamed, and where it
    is packed otherwise than by gzip or deflate. ``began`` is when the call did, by
    ``time.perf_counter``.
    """

    def __init__(self, call: ModelCall, began: float) -> None:
        self._call, self._began = call, began
        self._frames = SseParser()
        self._unpack: Any = None
        self.waits = True

    def take(self, chunk: bytes, at: float) -> None:
        """One more piece of the answer; ``at`` is when it came, by ``time.perf_counter``."""
        packing = self._call.answer_headers.get("content-encoding", "identity")
        is_streamed = "event-stream" in self._call.answer_headers.get("content-type", "")
        if not is_streamed or packing not in ("identity", "gzip", "deflate"):
            self.waits = False
            return
        if packing != "identity":
            self._unpack = self._unpack or zlib.decompressobj(zlib.MAX_WBITS | 32)
            try:
                chunk = self._unpack.decompress(chunk)
            except zlib.error:
                self.waits = False
                return
        if any(map(_has_token, self._frames.feed(chunk))):
            self.waits = False
            self._call.first_token_ms = round((at - self._began) * 1000, 3)


def _has_token(frame: Frame) -> bool:
    return frame.event not in _BEGINNINGS and not _NOTHING_YET.search(frame.data)
