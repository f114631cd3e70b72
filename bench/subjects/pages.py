"""The pages of `refold ui` over a large store: what each takes of the processor, and its size."""

from __future__ import annotations

import random
from collections.abc import Iterator
from statistics import median
from time import process_time
from typing import Final

import refold
from bench import dialogues
from bench.subject import serve
from bench.subjects.refold import Refold
from refold import Event
from refold.engine.append import Append
from refold.projections import Projector
from refold.replay import Action, ChatRequest, Variant, replay
from refold.ui import app
from refold.ui.current import KEPT
from tests.support.browser import browser
from tools.screenshot import served

AT_US: Final = 1_772_000_000_000_000
STEP_US: Final = 700_000
EVENTS_AN_APPEND: Final = 1_000
TIMES_MIN: Final = 3


class Pages(Refold):
    """A store of short conversations and two long ones, asked for pages as a browser asks."""

    def build_pages(self, *, conversations: int, turns: int, turns_long: int) -> dict[str, float]:
        """Processor seconds until all of it can be found."""
        store = refold.open(self.folder / "pages.db", synchronous="NORMAL")
        for outcome in store.append_many(_appends(conversations, turns, turns_long)):
            if isinstance(outcome, Exception):
                raise outcome
        self.kept["pages"] = store
        started = process_time()
        Projector(store, KEPT).catch_up()
        return {"value": process_time() - started}

    def replay_pages(self, *, conversations: int) -> dict[str, float]:
        """Processor seconds until another prompt was tried on the first of the conversations."""
        started, store = process_time(), self.kept["pages"]
        streams = [f"call-{number:05}" for number in range(conversations)]
        replay(store, streams, Variant(prompt="Be brief.", label="brief"), _briefly)
        return {"value": process_time() - started}

    def page(self, *, address: str, seconds: float) -> dict[str, object]:
        """Processor seconds of a page that was looked at before, the median."""
        from starlette.testclient import TestClient

        served, took_s = app(self.kept["pages"], hosts=["testserver"]), list[float]()
        client, served.state.patience_s = TestClient(served), None
        answer = client.get(address)
        assert answer.status_code == 200, answer.text
        while len(took_s) < TIMES_MIN or sum(took_s) < seconds:
            started = process_time()
            client.get(address)
            took_s.append(process_time() - started)
        return {"value": median(took_s), "also": f"{len(answer.content) / 1_000:.0f} kB"}

    def made(self, *, address: str) -> dict[str, float]:
        """Processor seconds of a page that was never looked at, with all that it rests on."""
        from starlette.testclient import TestClient

        served = app(self.kept["pages"], hosts=["testserver"])
        client, served.state.patience_s = TestClient(served), None
        started = process_time()
        assert client.get(address).status_code == 200
        return {"value": process_time() - started}

    def opened(self, *, address: str) -> dict[str, float]:
        """Seconds until Chromium, which has seen another page before, has loaded one."""
        with served(self.kept["pages"]) as at, browser() as tab:
            tab.go(f"{at}/live")
            tab.go(f"{at}{address}")
            took_ms = tab.value("performance.getEntriesByType('navigation')[0].loadEventEnd")
        return {"value": took_ms / 1_000}


def _briefly(request: ChatRequest) -> Action:
    """An answer that is another at every third decision."""
    return Action(text="As recorded." if len(request.messages) % 3 else "Briefly.")


def _appends(conversations: int, turns: int, turns_long: int) -> Iterator[Append]:
    chance = random.Random(1)
    sizes = [(f"call-{number:05}", turns) for number in range(conversations)]
    for number, (stream, size) in enumerate(
        [*sizes, ("long-1", turns_long), ("long-2", turns_long)]
    ):
        made = dialogues.conversation(chance, number, turns=size)
        begun_us = AT_US + number * 60_000_000
        events = [
            Event(one.type, one.data, occurred_at=begun_us + place * STEP_US)
            for place, one in enumerate(made)
        ]
        for first in range(0, len(events), EVENTS_AN_APPEND):
            part = events[first : first + EVENTS_AN_APPEND]
            yield Append(stream, part, metadata=made[0].metadata)


if __name__ == "__main__":
    serve(Pages)
