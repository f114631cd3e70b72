"""Random conversations by each API, whole and streamed, with faults: exact bytes and events."""

from __future__ import annotations

import asyncio
import random

import httpx
import httpx2
import pytest

import refold
from refold import capture
from tests.capture.random_talks import Caller, Talk, check
from tests.capture.speakers.chat import ChatSpeaker
from tests.capture.speakers.said import Speaker
from tests.support.soak import bound, counted

SPEAKERS: list[type[Speaker]] = [ChatSpeaker]
AT_ONCE = 10
"""How many conversations go on at the same time in one store."""
BATCHES = bound(4, 100)
SEED = bound(0, random.randrange(1 << 40))
"""``make soak`` tries other conversations each time."""


@pytest.mark.parametrize("speaker", SPEAKERS, ids=lambda one: one.name)
def test_random_conversations_are_captured_exactly(speaker: type[Speaker]) -> None:
    """Bytes out are bytes in, the caller sees no difference, and the events are what was said."""
    with asyncio.Runner() as runner:
        for batch in range(BATCHES):
            store = refold.open("memory:")
            library = (httpx2, httpx)[batch % 4 == 3]
            caller = Caller(store, library, runner, raises=batch % 4 != 2)
            seeds = range(SEED + batch * AT_ONCE, SEED + (batch + 1) * AT_ONCE)
            talks = [Talk(speaker(), caller, seed) for seed in seeds]
            turn = random.Random(batch)
            going = [talk.run() for talk in talks]
            while going:
                one = turn.choice(going)
                if next(one, "over") == "over":
                    going.remove(one)
                counted("random calls captured")
            assert capture.flush()
            check(store, talks)
