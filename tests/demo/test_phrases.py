"""What the demo agent says is recognised again, whichever wording was chosen."""

from typing import Any

import pytest

from refold.demo.agent import DEFAULTS
from refold.demo.tables import PHRASES, cues_in, listed, phrase, slot_label

SLOT = {"slot_id": "S-1", "starts_at": "2026-03-03T09:10", "doctor": "Dr Hale"}
PARTS: dict[str, Any] = {
    "missing": "full name and date of birth",
    "slots": slot_label(SLOT),
    "slot": slot_label(SLOT),
    "called": "Ada Alder",
    "wanted": "full name",
    "lost_slot": True,
    "topic": "sore throat",
}
FULL = {"says_recorded": True, "notice_hours": 24, "asks_for_more": True}


@pytest.mark.parametrize("cue", PHRASES)
@pytest.mark.parametrize("rules", [{}, FULL, {"is_brief": True}], ids=["bare", "full", "brief"])
def test_every_wording_is_known_by_its_cue(cue: str, rules: dict[str, Any]) -> None:
    """Agent and callers recognise each wording of each cue under any rules."""
    for variety in range(len(PHRASES[cue].wordings) + 1):
        assert cue in cues_in(phrase(cue, {**DEFAULTS, **rules, **PARTS}, variety=variety))


def test_a_slot_is_said_in_words_and_has_no_leading_zero() -> None:
    """Day, date, time and doctor, as people say them."""
    assert slot_label(SLOT) == "Tuesday 3 March at 9:10 with Dr Hale"


def test_choices_are_listed_with_an_or() -> None:
    """One, two and three choices read as a sentence does."""
    assert [listed(list("abc")[:n]) for n in (1, 2, 3)] == ["a", "a or b", "a, b or c"]
