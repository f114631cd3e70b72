"""The files under ``data``: prompts, phrases and tools of the demo."""

from __future__ import annotations

from importlib import resources
from typing import Final


def text(name: str) -> str:
    """What a file under ``data`` holds."""
    return resources.files(__package__).joinpath("data", name).read_text(encoding="utf-8")


RECORDED: Final = text("recorded.txt")
"""The prompt that the calls are recorded under."""
CHANGED: Final = text("changed.txt")
"""Shorter, quicker to an appointment, more choice: and what else it changes, the report shows."""
