"""What gpt-4o did in another trial of the same task, at the most similar point, over HTTP.

A stand-in for a second model on real conversations: its answers are real, differ as models do,
and cost nothing. Built over the tau-bench recordings (sierra-research/tau-bench, MIT)::

    python -m tests.support.nearest_prefix [FILE]

prints its base URL and serves until Ctrl-C. Told to by its prompt, it is a broken agent: one that
says nothing, or is cut off after twenty characters.
"""

from __future__ import annotations

import hashlib
import heapq
import json
import sys
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tests.support.chat_server import Body, ChatServer

DATA = Path(__file__).parents[3] / "shared" / "data" / "tau-bench"
CONVERSATIONS = DATA / "gpt-4o-airline.json"


class Point(NamedTuple):
    """A moment at which the agent answered ``answer``, and what makes moments alike.

    ``last`` is who spoke before (or which tool gave its result), ``calls`` the tool calls so far,
    ``words`` those of the message before, ``length`` the messages before.
    """

    task: int
    trial: int
    length: int
    last: str
    calls: Counter[str]
    words: frozenset[str]
    answer: Body


class NearestPrefix:
    """The index: every point of every trial, by task, and by the messages that lead to it.

    ``rank`` 0 answers with the most similar point, 1 with the one after it: another model.
    """

    def __init__(self, trials: Sequence[dict[str, Any]], *, rank: int = 0) -> None:
        self._rank = rank
        self._by_task: dict[int, list[Point]] = {}
        self._by_messages: dict[bytes, Point] = {}
        self._found: dict[bytes, Body] = {}
        for trial in sorted(trials, key=lambda t: (t["task_id"], t["trial"])):
            for digest, point in _points(trial):
                self._by_task.setdefault(point.task, []).append(point)
                self._by_messages.setdefault(digest, point)

    def answer(self, body: Body) -> Body:
        """The assistant message for a request; it must ask about a recorded prefix.

        Which task and trial it is follows from the messages, the system message left aside.
        """
        *_, digest = _digests(m for m in body["messages"] if m["role"] != "system")
        if digest not in self._found:
            here = self._by_messages[digest]
            others = (p for p in self._by_task[here.task] if p.trial != here.trial)
            best = heapq.nlargest(self._rank + 1, others, key=lambda other: _likeness(here, other))
            self._found[digest] = best[-1].answer
        return self._found[digest]


def _likeness(here: Point, other: Point) -> tuple[float, ...]:
    """Who spoke last weighs most, then the calls made so far, then the words just said."""
    shared = (here.calls & other.calls).total()
    made = here.calls.total() + other.calls.total()
    either = len(here.words | other.words)
    return (
        here.last == other.last,
        2 * shared / made if made else 1.0,
        len(here.words & other.words) / either if either else 1.0,
        -abs(here.length - other.length),
        -other.trial,
        -other.length,
    )


def _points(trial: dict[str, Any]) -> Iterator[tuple[bytes, Point]]:
    messages = [m for m in trial["traj"] if m["role"] != "system"]
    digests = list(_digests(messages))
    calls: Counter[str] = Counter()
    for index, message in enumerate(messages):
        if message["role"] != "assistant" or index == 0:
            continue
        before = messages[index - 1]
        yield (
            digests[index - 1],
            Point(
                task=trial["task_id"],
                trial=trial["trial"],
                length=index,
                last=f"{before['role']} {before.get('name', '')}",
                calls=Counter(calls),
                words=frozenset((before.get("content") or "").lower().split()),
                answer=message,
            ),
        )
        for call in message.get("tool_calls") or ():
            arguments = json.loads(call["function"]["arguments"])
            calls[f"{call['function']['name']} {json.dumps(arguments, sort_keys=True)}"] += 1


def _digests(messages: Any) -> Iterator[bytes]:
    """For each message, what stands for it and all those before it."""
    running = hashlib.sha256()
    for message in messages:
        running.update(json.dumps(message, sort_keys=True).encode() + b"\n")
        yield running.digest()


def nearest_prefix_server(path: Path = CONVERSATIONS, *, rank: int = 0) -> ChatServer:
    """The server, not yet started."""
    return ChatServer(NearestPrefix(json.loads(path.read_text()), rank=rank).answer)


MUTE, CUT = "Say nothing.", "Be cut off."
"""The prompts that break it."""


class PromptedAgent(ChatServer):
    """The nearest answer; nothing, or the beginning of it, where the prompt asks for that."""

    def respond(self, body: Body, headers: dict[str, str]) -> tuple[int, bytes, dict[str, str]]:
        """As its prompt says."""
        status, content, more = super().respond(body, headers)
        prompt, said = body["messages"][0]["content"], json.loads(content)
        choice = said["choices"][0]
        if prompt == MUTE:
            choice["message"] = {"role": "assistant", "content": ""}
        if prompt == CUT:
            choice["finish_reason"] = "length"
            choice["message"]["content"] = (choice["message"].get("content") or "")[:20]
        return status, json.dumps(said).encode(), more


if __name__ == "__main__":
    path = Path(sys.argv[1]) if len(sys.argv) > 1 else CONVERSATIONS
    with PromptedAgent(NearestPrefix(json.loads(path.read_text())).answer) as served:
        print(served.base_url, flush=True)
        try:
            threading.Event().wait()
        except KeyboardInterrupt:
            print(f"{len(served.requests)} requests", file=sys.stderr)
