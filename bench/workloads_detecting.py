"""What it takes to look for personal values in what is appended."""

from __future__ import annotations

from bench.plan import Ask, Entry, Scale, Workload

LABELS = {
    "dialogue": "payloads of dialogues, nothing in them",
    "digits": "text full of numbers that are none",
    "values": "text full of cards, accounts, phones",
}


def detecting(scale: Scale) -> Workload:
    """Seconds a kB of JSON, by what is built in."""
    entries = [
        Entry(label, Ask("detecting", "detect", {"text": text, "seconds": scale.seconds}))
        for text, label in LABELS.items()
    ]
    title = "personal values looked for before they are stored, a kB of JSON"
    return Workload("detection", title, "s", entries)
