"""What is written in the search box, as what conversations must be."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from refold.errors import UsageError
from refold.readmodels import Wanted
from refold.ui.asked import asked, asking, terms, words

NOW_US = 1_772_000_000_000_000
NAMES = st.text(st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"]), min_size=1).filter(
    lambda name: name.strip() and '"' not in name
)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("", Wanted()),
        ("card declined", Wanted(text="card declined")),
        ('"tool:refund" card', Wanted(text="tool:refund card")),
        ("tool:refund declined", Wanted(tool="refund", text="declined")),
        ('agent:"front desk" with-error:yes', Wanted(agent="front desk", with_error=True)),
        ("with-error:no", Wanted()),
        ("last:1h", Wanted(since=NOW_US - 3_600_000_000)),
        ("until:2026-03-01", Wanted(until=1_772_323_200_000_000)),
        ("sample:20 seed:3 stratify:task", Wanted(sample=20, seed=3, stratify="task")),
        ("dataset:airline@2 card", Wanted(text="card")),
        ("cost-over:0.5 prompt-version:v2", Wanted(cost_over="0.5", prompt_version="v2")),
        ("http://example.com/a", Wanted(text="http://example.com/a")),
    ],
)
def test_words_and_names_ask_for_conversations(text: str, wanted: Wanted) -> None:
    """What stands before a colon is asked of the conversation, the rest of what was said in it."""
    assert asked(text, now_us=NOW_US) == wanted


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("tol:refund", "tol: is none of"),
        ("tool:a tool:b", "tool: is asked twice"),
        ("since:soon", "soon"),
        ("with-error:perhaps", "neither yes nor no"),
        ("cost-over:much", "cost_over"),
        ("sample:some", "no whole number"),
        ("stratify:task", "give sample="),
        ("last:1h until:2020-01-01", "is after"),
    ],
)
def test_what_can_mean_nothing_is_refused(text: str, said: str) -> None:
    """The error names the part that cannot be meant."""
    with pytest.raises(UsageError, match=said):
        asked(text, now_us=NOW_US)


@given(NAMES, NAMES)
def test_a_link_asks_for_just_the_name_it_shows(first: str, second: str) -> None:
    """Any name can be asked for by a link, another in its place, and the rest stays asked."""
    both = asking(asking("declined tool:refund", "agent", first), "agent", second)
    wanted = asked(both)
    assert (wanted.agent, wanted.tool, wanted.text) == (second, "refund", "declined")


@given(NAMES, NAMES)
def test_what_is_asked_by_name_and_by_words_is_all_that_is_asked(first: str, second: str) -> None:
    """So a field for each name and one for the words ask the same again."""
    text = asking(asking("declined 'card' \"tool:x\"", "agent", first), "dataset", second)
    again = words(text)
    for name, value in terms(text).items():
        again = asking(again, name, value)
    assert (asked(again), terms(again)) == (asked(text), terms(text))
