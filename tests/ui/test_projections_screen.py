"""How projections stand, on a page."""

from __future__ import annotations

import pytest

import refold
from refold import Event
from refold.conversation.events import UserUtterance
from refold.projections import Projector
from refold.readmodels import built_in
from refold.ui.projections import PARKED_SHOWN, standing
from tests.replay.test_report import HOSTILE
from tests.ui.reading import page
from tests.ui.screens import refusing
from tests.ui.serving import served

MORE = 3


@pytest.fixture
def store() -> refold.Store:
    made = refold.open("memory:")
    made.append("call-1", [UserUtterance(text="Hello")])
    return made


def test_a_store_without_projections_says_how_to_make_them(store: refold.Store) -> None:
    """None is listed as if it stood somewhere."""
    said = standing(store)
    assert not said.kept
    assert said.unstarted == [one.name for one in built_in()]
    with served(store) as client:
        found = page(client, "/projections")
    assert "refold projections run" in found.text
    assert not found.all("table")


def test_place_lag_and_what_is_not_kept_are_told(store: refold.Store) -> None:
    """Of each that has rows, those whose code is not known here too."""
    Projector(store, [refusing("no")]).catch_up()
    store.append("call-1", [UserUtterance(text="Again")])
    (one,) = standing(store).kept
    assert (one.name, one.state, one.position, one.lag_events) == ("said_last", "unknown", 1, 1)
    with served(store) as client:
        found = page(client, "/projections")
    assert "said_last" in found.text
    assert "its code is not known here" in found.text
    assert "Never started: conversations" in found.text


@pytest.mark.parametrize("why", HOSTILE[:2])
def test_what_was_set_aside_leads_to_the_event_that_failed(store: refold.Store, why: str) -> None:
    """With its error as text; what is too many is counted."""
    for number in range(PARKED_SHOWN + MORE):
        store.append(f"bad-{number:02}", [Event("note", {}), UserUtterance(text="Hello")])
    Projector(store, [refusing(why)]).catch_up()
    with served(store) as client:
        found = page(client, "/projections")
        (aside,) = found.all("ul", "aside")
        links = found.inside(aside, "a")
        assert len(links) == PARKED_SHOWN
        assert links[0].attributes["href"] == "/events/bad-00%401"
        assert client.get(links[0].attributes["href"]).status_code == 200
    assert why in aside.text
    assert f"and {MORE} more streams" in found.text
    assert not {"img", "b"} & {e.tag for e in found.elements}
