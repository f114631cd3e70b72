"""The read models in PostgreSQL: the same rows, and the same streams are found."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import example, given, settings

import refold
from refold import Event
from refold.conversation import UserUtterance
from refold.conversation.importers import import_files
from refold.errors import UsageError
from refold.projections import Projector
from refold.readmodels import Wanted, built_in, find
from refold.readmodels.finding import bring_up
from refold.ui.conversation import shown
from refold.ui.conversations import listing
from refold.ui.current import KEPT
from tests.conversation.importers.inputs import real
from tests.readmodels.tables import caught_up
from tests.readmodels.test_finding import APPENDS, DAY_US, NOON_US, OPTIONS
from tests.support import postgres

Stores = tuple[refold.Store, refold.Store]
LOOKS = 60


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stores]:
    """The 200 recorded conversations of tau-bench, in a file and in PostgreSQL."""
    files = real("tau-bench", "gpt-4o-airline.json"), real("tau-bench", "airline-tools.json")
    path = tmp_path_factory.mktemp("airline") / "log.db"
    url = postgres.schema_of_its_own(postgres.NEWEST)
    with refold.open(path) as file, refold.open(url, synchronous="NORMAL") as server:
        import_files(file, "tau-bench", [files[0]], tools=files[1])
        file.copy_into(server)
        yield file, server


def test_the_rows_are_those_of_a_file(both: Stores) -> None:
    """Of conversations, calls, costs and customers, to the last digit."""
    file, server = map(caught_up, both)
    assert file == server
    assert len(server["conversations"]) == 200


def test_the_same_words_are_found_in_the_same_events(both: Stores) -> None:
    """Words as people and tools said them, signs and all: cut anywhere out of a text."""
    file, server = both
    chance = random.Random(13)
    events = list(file.read_all(types=["user.utterance", "tool.result", "agent.utterance"]))
    for event in chance.sample(events, LOOKS):
        text = str(event.data.get("text", event.data.get("result")))
        begins = chance.randrange(len(text))
        words = " ".join(text[begins : begins + chance.choice((6, 15, 40))].split()) or "a"
        if not any(c.isalnum() for c in words):
            words = "a"
        one, other = (find(store, Wanted(text=words)) for store in both)
        assert (one.streams, one.positions) == (other.streams, other.positions), words
    others = [Wanted(tool="cancel_reservation", with_error=True), Wanted(text="gift card don't")]
    for wanted in (*others, Wanted(outcome="open", sample=9), Wanted(model="gpt-4o")):
        assert find(file, wanted)[1:] == find(server, wanted)[1:]


@given(appends=APPENDS, options=OPTIONS)
@example([("call-1", [(UserUtterance("返金を ß CAFE\u0301"), 0)])], {"text": "金 cafe"})
@settings(max_examples=10)
def test_the_streams_that_are_found_are_those_of_a_store_in_memory(
    appends: Any, options: dict[str, Any]
) -> None:
    """Any options over any history, of a log among others: streams, events, and what is unknown."""
    try:
        wanted = Wanted(**options)
    except UsageError:
        return
    with refold.open("memory:") as memory, refold.open(postgres.log_of_its_own()) as server:
        for store in (memory, server):
            for stream, events in appends:
                store.append(stream, [as_event(one, days) for one, days in events])
        try:
            expected = find(memory, wanted)
        except UsageError as error:  # The beginning of several hashes.
            with pytest.raises(UsageError, match=re.escape(str(error))):
                find(server, wanted)
        else:
            assert find(server, wanted) == expected


def as_event(one: Any, days: int) -> refold.Event:
    """An event that occurred some days from a moment."""
    if isinstance(one, refold.Event):
        return one
    return refold.Event.of(one, occurred_at=NOON_US + days * DAY_US)


def test_they_are_rebuilt(both: Stores) -> None:
    """Beside what is shown, words too: it comes to the same rows."""
    _, server = both
    before = caught_up(server)
    projector = Projector(server, built_in())
    for name in ("search", "customers", "costs"):
        projector.rebuild(name)
        projector.confirm(name)
    assert caught_up(server) == before
    assert find(server, Wanted(text="gift card")).streams


def test_a_page_of_the_list_is_that_of_a_file(both: Stores) -> None:
    """Rows, order and totals, whatever is asked; and the branches of a conversation."""
    (stream, *_) = sorted(find(both[0], Wanted()).streams)
    for store in both:
        said = Event("", UserUtterance(text="No"), occurred_at=NOON_US)
        store.branch(stream, at=2).adding(said).save(f"{stream}~other")
        bring_up(Projector(store, KEPT))
    wanted = (Wanted(), Wanted(category="airline~"), Wanted(cost_over="0", with_error=True))
    for one in (*wanted, Wanted(text="gift card"), Wanted(outcome="open", sample=9)):
        file, server = (listing(store, one, page=2) for store in both)
        assert file == server
        assert file.conversations or one.cost_over
    file_page, server_page = (shown(store, stream) for store in both)
    assert file_page.branches == server_page.branches
    assert file_page.branches is not None
    assert file_page.steps == server_page.steps
