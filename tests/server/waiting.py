"""Waiting for what a server does on its own."""

from __future__ import annotations

import time

import refold

LIMIT_S = 60


def conversation(store: refold.Store, stream: str) -> None:
    """Return when a stream is there."""
    until = time.monotonic() + LIMIT_S
    while store.head(stream) < 0:
        assert time.monotonic() < until, f"{stream} never came: {[*store.streams()]}"
        time.sleep(0.02)
