"""Captured requests that held what goes, themselves or by reference to an earlier one.

A request is kept as runs of elements, each of which is stored once a stream (``refold.capture``).
The digest of its whole body would tell a guess, in whichever event it stands: so it goes with it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

import msgspec

from refold.ports import Backend
from refold.privacy.texts import Text

_DIGEST: Final = re.compile(r"[0-9a-f]{64}")


class RequestForm(msgspec.Struct):
    """What counts here of a ``wire.request`` or ``wire.answer``."""

    hash: str | None = None
    runs: list[list[int]] = []
    new: list[msgspec.Raw] = []


_decode: Final = msgspec.json.Decoder(RequestForm).decode


class HoldingRequests:
    """Follows the requests of streams, each stream in order and after the one it branches from."""

    def __init__(self, log: Backend) -> None:
        self._log = log
        self._changed: dict[tuple[str, int], set[int]] = {}

    def digests(self, text: Text, changed: Mapping[int, bytes]) -> set[str]:
        """The digests that go: of the request or answer that a text is, where any of it goes."""
        last = text.events[-1]
        if last.type == "wire.answer":
            forms = [_decode(one.plain) for one in text.events] if changed else []
        elif last.type == "wire.request":
            form = _decode(text.text)
            forms = [form] if self._holds(text, form, changed) else []
        else:
            forms = []
        return {one.hash for one in forms if one.hash and _DIGEST.fullmatch(one.hash)}

    def _holds(self, text: Text, form: RequestForm, changed: Mapping[int, bytes]) -> bool:
        """Whether anything of a request goes; which of its elements is noted."""
        stream, version = text.events[-1].row.stream, text.events[-1].version
        now = _decode(_joined(text, changed)).new if changed else form.new
        own = {at for at, (one, two) in enumerate(zip(form.new, now, strict=True)) if one != two}
        found, begin = set[int](), 0
        for first, count, *earlier in form.runs:
            gone = self._changed_at(stream, earlier[0]) if earlier else own
            found |= {begin + at for at in range(count) if first + at in gone}
            begin += count
        if found:
            self._changed[stream, version] = found
        return bool(found or changed)

    def _changed_at(self, stream: str, version: int) -> set[int]:
        """The elements that go of the request at a version of a stream's history."""
        while (info := self._log.head(stream)) and info.fork and version <= info.fork.version:
            stream = info.fork.parent
        return self._changed.get((stream, version), set())


def _joined(text: Text, changed: Mapping[int, bytes]) -> bytes:
    """The form as it will be."""
    if len(text.events) == 1:
        return changed[text.events[0].position]
    pieces = (msgspec.json.decode(changed[one.position])["text"] for one in text.events[:-1])
    return "".join(pieces).encode()
