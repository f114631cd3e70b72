"""Random conversations by each API, whole and streamed, with faults: exact bytes and events."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator
from itertools import count

import httpx
import httpx2
import pytest

import refold
from refold import capture
from tests.capture.random_talks import Caller, Talk, check
from tests.capture.speakers.chat import ChatSpeaker
from tests.capture.speakers.gemini import GeminiSpeaker
from tests.capture.speakers.messages import MessagesSpeaker
from tests.capture.speakers.responses import ResponsesByIdSpeaker, ResponsesSpeaker
from tests.capture.speakers.said import Speaker
from tests.support.soak import bound, counted

KINDS: list[type[Speaker]] = [
    ChatSpeaker,
    ResponsesSpeaker,
    ResponsesByIdSpeaker,
    MessagesSpeaker,
    GeminiSpeaker,
]
SPEAKERS = pytest.mark.parametrize("speaker", KINDS, ids=lambda one: one.__name__)
AT_ONCE = 10
"""How many conversations go on at the same time in one store."""
BATCHES = bound(10, 100)
BROKEN = bound(1, 40)
"""How many answers break off at each of their places."""
SEED = bound(0, random.randrange(1 << 40))
"""``make soak`` tries other conversations each time."""


@pytest.fixture(scope="module")
def runner() -> Iterator[asyncio.Runner]:
    with asyncio.Runner() as made:
        yield made


@SPEAKERS
def test_random_conversations_are_captured_exactly(
    speaker: type[Speaker], runner: asyncio.Runner
) -> None:
    """Bytes out are bytes in, the caller sees no difference, and the events are what was said."""
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


@SPEAKERS
def test_a_stream_that_breaks_off_anywhere_keeps_what_came(
    speaker: type[Speaker], runner: asyncio.Runner
) -> None:
    """At the end of each frame and a byte before it: the words so far, marked as cut."""
    for seed in range(SEED, SEED + BROKEN):
        for place in count():
            store = refold.open("memory:")
            talk = Talk(speaker(), Caller(store, httpx2, runner), seed, packed=0.0)
            if not talk.breaks(place):
                break
            check(store, [talk])
            counted("streams broken off")
