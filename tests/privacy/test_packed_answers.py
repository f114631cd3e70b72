"""What repeats a value inside of a captured answer goes, however the answer was packed."""

from __future__ import annotations

import gzip
import json
import zlib
from base64 import b64decode, b64encode
from collections.abc import Callable
from pathlib import Path

import pytest

import refold
from refold import Event
from refold.privacy.redaction import redact
from refold.privacy.removing import Removal

SAID = "my number is 555-0100, thank you"
BODY = json.dumps({"said": SAID}).encode() * 40
ASKED = Removal("asked for")


def answered(store: refold.Store, data: bytes, headers: dict[str, str]) -> None:
    """A turn, and a captured answer that repeats it."""
    answer = {"rest": b64encode(data).decode(), "headers": headers}
    store.append("call-1", [Event("note", {"text": SAID}), Event("wire.answer", answer)])


def bytes_of(store: refold.Store) -> bytes:
    """The answer as it stands."""
    said = store.event("call-1@1").data
    return b64decode(said.get("rest", "")) + str(said.get("text", "")).encode()


@pytest.mark.parametrize(
    ("packed", "headers"),
    [
        (gzip.compress, {"content-encoding": "gzip"}),
        (gzip.compress, {}),
        (zlib.compress, {"Content-Encoding": "deflate"}),
        (lambda data: gzip.compress(data)[:-9], {"content-encoding": "gzip"}),
        (lambda data: data, {"content-encoding": "identity"}),
        (lambda data: data, {}),
    ],
)
def test_an_answer_is_looked_into(
    packed: Callable[[bytes], bytes], headers: dict[str, str], tmp_path: Path
) -> None:
    """Also one that was cut off; it is stored unpacked then."""
    with refold.open(tmp_path / "a.db", synchronous="NORMAL") as store:
        answered(store, packed(BODY), headers)
        told = redact(store, ["call-1@0"], field="text", wanted=ASKED)
        assert [one.event.id for one in told.changes] == ["call-1@0", "call-1@1"]
        assert b"[redacted]" in bytes_of(store)
        assert b"555-0100" not in bytes_of(store)
        assert told.is_done


def test_one_that_cannot_be_looked_into_is_told(tmp_path: Path) -> None:
    """It is not claimed that all of it is gone."""
    with refold.open(tmp_path / "a.db", synchronous="NORMAL") as store:
        answered(store, b"who knows", {"content-encoding": "x-unknown"})
        told = redact(store, ["call-1@0"], field="text", wanted=ASKED)
        assert bytes_of(store) == b"who knows"
        assert [one.name for one in told.checks if not one.good] == ["answers"]
        assert "call-1@1" in next(one.detail for one in told.checks if not one.good)
