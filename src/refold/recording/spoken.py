"""What an agent said aloud: what it was going to say, and what of that was heard; pure."""

from __future__ import annotations

from collections.abc import Iterator

from refold.conversation.events import AgentUtterance
from refold.conversation.voice import PlaybackInterrupted


def spoken(
    generated: str,
    heard: str,
    *,
    is_cut: bool,
    message_id: str | None = None,
    offset_ms: int | None = None,
) -> Iterator[object]:
    """The events of one turn of an agent that was heard up to ``heard``.

    ``generated`` is as much as was generated, "" where nobody knows: then it is what was heard.
    ``is_cut`` says that somebody or something ended it before its end.
    """
    text = generated if generated.strip() else heard
    yield AgentUtterance(text, message_id=message_id)
    if is_cut:
        rest = unheard(text, heard) or ""
        yield PlaybackInterrupted(heard, rest, message_id=message_id, offset_ms=offset_ms)


def unheard(generated: str, heard: str) -> str | None:
    """What of a text comes after what was heard of it; None where that is no beginning of it.

    Services write white space, case and punctuation of what they played in ways of their own.
    """
    if generated.startswith(heard):
        return generated[len(heard) :]
    places = [place for place, char in enumerate(generated) if char.isalnum()]
    wanted = [char for char in heard if char.isalnum()]
    if len(wanted) > len(places):
        return None
    pairs = zip(places, wanted, strict=False)
    if any(generated[place].casefold() != char.casefold() for place, char in pairs):
        return None
    return generated[places[len(wanted) - 1] + 1 :] if wanted else generated
