"""Looking for personal values in payloads, before anything is stored."""

from __future__ import annotations

import json
from typing import Final

from bench import dialogues
from bench.measuring import timed
from bench.subject import serve
from bench.subjects.refold import Refold
from refold.privacy.detecting import Detect, looked_into

PAYLOADS: Final = 200
_NONE: Final = "order 4111-1111-1111-1112 of 2026-11-30 at 1764475762000, 0.4111111111111111 EUR, "
_SOME: Final = (
    "card 4111 1111 1111 1111, to DE89370400440532013000 or a@example.com, 212-555-0187, "
)


class Detecting(Refold):
    """What a store does to each payload when it is told to look."""

    def detect(self, *, text: str, seconds: float) -> dict[str, float]:
        """Seconds a kB."""
        payloads = _payloads(text)
        size = sum(map(len, payloads))
        detect = Detect(do="redact")
        took_s, found = timed(
            lambda: sum(len(looked_into(one, detect).counts) for one in payloads), seconds=seconds
        )
        assert bool(found) == (text == "values")
        return {"value": took_s / size * 1_000}


def _payloads(text: str) -> list[bytes]:
    if text == "dialogue":
        return [json.dumps(made.data).encode() for made in dialogues.events(PAYLOADS)]
    said = {"digits": _NONE, "values": _SOME}[text]
    return [json.dumps({"text": said * 12}).encode()] * PAYLOADS


if __name__ == "__main__":
    serve(Detecting)
