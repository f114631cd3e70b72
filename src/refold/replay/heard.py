"""What was heard of what an agent said: less of it, where somebody cut in."""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from refold.conversation.events import AgentUtterance
from refold.conversation.voice import PlaybackInterrupted
from refold.engine.branch import Branch
from refold.recording.spoken import unheard


def as_heard(branch: Branch[Any]) -> Branch[Any]:
    """The branch in which the agent said what was heard of it, where it was cut off.

    So the frameworks for voice tell it to their models. Words of which nothing was heard are left
    out. Where what was heard is no beginning of the words, as others stand in their place, they
    stay.
    """
    heard = dict[str, str]()
    said: list[tuple[str, AgentUtterance]] = []
    early: dict[str, str] = {}
    for recorded in branch:
        if recorded.type == "agent.utterance":
            words = recorded.to_class(AgentUtterance)
            said.append((recorded.id, words))
            if words.message_id in early:
                heard[recorded.id] = early.pop(words.message_id)
        elif recorded.type == "playback.interrupted":
            cut = recorded.to_class(PlaybackInterrupted)
            those = [one for one, of in said if cut.message_id in (None, of.message_id)]
            if those:
                heard[those[-1]] = cut.played_text
            elif cut.message_id is not None:
                early[cut.message_id] = cut.played_text
    for event_id, words in said:
        played = heard.get(event_id)
        if played is None or not unheard(words.text, played):
            continue
        told = [replace(words, text=played, parts=None)] if played.strip() else []
        branch = branch.replacing(event_id, *told)
    return branch
