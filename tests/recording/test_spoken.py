"""What an agent was going to say, beside what of it was heard."""

from hypothesis import given, settings
from hypothesis import strategies as st

from refold.conversation.events import AgentUtterance
from refold.conversation.voice import PlaybackInterrupted
from refold.recording.spoken import spoken, unheard


@settings(max_examples=60)
@given(st.text(), st.integers(0, 30), st.booleans())
def test_what_was_not_heard_is_what_is_left(text: str, count: int, plain: bool) -> None:
    """However a service writes white space and case; together they are all that was generated."""
    heard = text[:count]
    rest = unheard(text, heard if plain else " ".join(heard.upper().lower().split()))
    if plain:
        assert rest is not None and heard + rest == text
    elif rest is not None:
        assert text.endswith(rest)


def test_words_that_were_never_generated_leave_nothing_unheard() -> None:
    """What was heard is what it is; nothing is made up of the rest."""
    assert unheard("Good day", "Good night") is None
    assert unheard("Good", "Good day") is None
    assert unheard("Good day, sir.", "good  day") == ", sir."
    assert unheard("Good day", "") == "Good day"


def test_a_turn_is_its_words_and_what_was_heard_of_them() -> None:
    """One that was heard to its end is its words alone; unknown words are those that were heard."""
    assert [*spoken("Good day.", "Good day.", is_cut=False, message_id="m1")] == [
        AgentUtterance("Good day.", message_id="m1")
    ]
    assert [*spoken("Good day.", "Good", is_cut=True, message_id="m1", offset_ms=7)] == [
        AgentUtterance("Good day.", message_id="m1"),
        PlaybackInterrupted("Good", " day.", message_id="m1", offset_ms=7),
    ]
    assert [*spoken("", "Good", is_cut=True)] == [
        AgentUtterance("Good"),
        PlaybackInterrupted("Good"),
    ]
    assert [*spoken("Hm", "Good", is_cut=True)][1] == PlaybackInterrupted("Good")
