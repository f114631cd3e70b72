"""Many small conversations to replay, and what must hold of their answers afterwards."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import refold
from refold.conversation.events import AgentConfigured, AgentUtterance, Prompt, UserUtterance
from refold.engine.append import Append


def recorded(address: Path | str, conversations: int) -> None:
    """Conversations of which no two decisions are alike."""
    opening = AgentConfigured(prompt=Prompt("Be kind. " * 20), model="m")
    with refold.open(address) as store:
        appends = []
        for n in range(conversations):
            said = [
                (UserUtterance(f"{n}: where is it?"), AgentUtterance("At gate 4.")),
                (UserUtterance(f"{n}: and when?"), AgentUtterance("At noon.")),
            ]
            appends.append(
                Append(f"call-{n}", [opening, *(event for pair in said for event in pair)])
            )
        assert not [one for one in store.append_many(appends) if isinstance(one, Exception)]


def assert_every_result_once(address: Path | str, conversations: int) -> None:
    """Each decision has one answer, to what it was asked; each branch begins and ends once."""
    types: Counter[str] = Counter()
    answers: Counter[tuple[str, str]] = Counter()
    with refold.open(address) as store:
        for event in store.read_all(categories=["call~"]):
            types[event.type] += 1
            if event.type == "agent.utterance":
                number, _, _ = event.stream.removeprefix("call-").partition("~")
                assert event.data["text"].startswith(f"To {number}: ")
                answers[event.stream, event.data["text"]] += 1
    assert len(answers) == answers.total() == types["model.response"] == 2 * conversations
    for once in ("session.forked", "replay.started", "replay.finished"):
        assert types[once] == conversations
