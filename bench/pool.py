"""The made-up events on disk, so that every process reads the same ones instead of making them."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Final

from bench import dialogues, words, workload
from bench.workload import Made, Text

CACHE: Final = Path(__file__).resolve().parents[1] / ".cache" / "bench"


def pool(count: int, *, text: Text = "short") -> list[Made]:
    """``count`` events, made once and then read from the cache."""
    path = CACHE / f"events-{text}-{count}-{_version()}.json"
    if not path.exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        being_written = path.with_suffix(f".{os.getpid()}")
        being_written.write_text(json.dumps(_made(count, text)))
        being_written.replace(path)
    return [Made(*made) for made in json.loads(path.read_text())]


def _made(count: int, text: Text) -> list[Made]:
    return dialogues.events(count) if text == "dialogues" else workload.events(count, text=text)


def _version() -> str:
    """Changes with whatever the events are made from."""
    digest = hashlib.sha256()
    for module in (words, workload, dialogues):
        digest.update(Path(str(module.__file__)).read_bytes())
    return digest.hexdigest()[:12]
