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


def results_broken(address: Path | str, conversations: int, variants: int = 1) -> dict[str, int]:
    """How often it is not so that each decision has its one answer, and each branch is whole."""
    branches = variants * conversations
    types: Counter[str] = Counter()
    answers: Counter[tuple[str, str]] = Counter()
    others = 0
    with refold.open(address) as store:
        for event in store.read_all(categories=["call~"]):
            types[event.type] += 1
            if event.type == "agent.utterance":
                number, _, _ = event.stream.removeprefix("call-").partition("~")
                others += not event.data["text"].startswith(f"To {number}: ")
                answers[event.stream, event.data["text"]] += 1
    once = [types[one] for one in ("session.forked", "replay.started", "replay.finished")]
    return {
        "results that are missing": 2 * branches - len(answers),
        "results that are there again": answers.total() - len(answers),
        "results of another decision": others,
        "answers without their words": types["model.response"] - answers.total(),
        "branches begun or ended other than once": sum(abs(n - branches) for n in once),
    }


def assert_every_result_once(address: Path | str, conversations: int, variants: int = 1) -> None:
    """Each decision has one answer, to what it was asked; each branch begins and ends once."""
    broken = results_broken(address, conversations, variants)
    assert not any(broken.values()), broken
