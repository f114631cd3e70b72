"""Conversations in refold's vocabulary: what read models are made from.

Fifty events each: how it starts, eight turns of six events, how it ends. The same ones on every
machine. Standard library only: a rival keeps the same events in an environment of its own.
"""

from __future__ import annotations

import random
from collections.abc import Iterable
from decimal import Decimal
from typing import Any, Final

from bench import words
from bench.workload import Made

EVENTS_EACH: Final = 50
EVENTS_A_TURN: Final = 6
REPEAT: Final = 2_000
"""Streams of 100 events that begin 300 apart in a pool of 6,000 repeat after so many events."""
COSTS: Final = "SELECT model, cost, answers, input_tokens, output_tokens FROM costs"
_TURNS: Final = 8
_MODELS: Final = ("made-up-large-2", "made-up-small-2")


def events(count: int, *, seed: int = 1) -> list[Made]:
    """The first ``count`` events of conversations that follow one another."""
    chance = random.Random(seed)
    made: list[Made] = []
    while len(made) < count:
        made += conversation(chance, len(made) // EVENTS_EACH)
    return made[:count]


def spent(rows: Iterable[tuple[Any, ...]], events: int) -> list[object]:
    """What rows of costs come to in the part of a log that repeats: logs differ in length."""
    repeated = events // REPEAT
    sums: dict[str, list[Any]] = {}
    for model, cost, *counts in rows:
        before = sums.get(model, [Decimal(0), 0, 0, 0])
        added = [Decimal(cost), *counts]
        sums[model] = [one + more for one, more in zip(before, added, strict=True)]
    return [
        [model, str((cost / repeated).normalize()), *(count / repeated for count in counts)]
        for model, (cost, *counts) in sorted(sums.items())
    ]


def conversation(chance: random.Random, number: int, *, turns: int = _TURNS) -> list[Made]:
    """One conversation of so many turns, each of :data:`EVENTS_A_TURN` events."""
    customer = {"role": "customer", "id": f"person-{number % 97}", "name": f"Person {number % 97}"}
    model = chance.choice(_MODELS)
    said: list[tuple[str, dict[str, Any]]] = [
        ("session.started", {"channel": "voice", "parties": [customer, {"role": "agent"}]}),
        ("agent.configured", _agent(model, f"v{number % 5}")),
    ]
    for turn in range(turns):
        said += _turn(chance, f"{number}-{turn}", model)
    # The last word is the end of the session.
    said[-1] = ("session.ended", {"reason": chance.choice(("completed", "transferred"))})
    metadata = {"correlation": f"call-{number}", "origin": "recorded"}
    return [Made(kind, data, metadata) for kind, data in said]


def _agent(model: str, version: str) -> dict[str, Any]:
    tools = [
        {"name": name, "schema_hash": f"{n:064x}", "effect": "read"}
        for n, name in enumerate(words.TOOLS[:6])
    ]
    prompt = {"text": f"You answer the phone. ({version})", "id": version, "hash": f"{0:064x}"}
    return {"prompt": prompt, "model": model, "tools": tools, "agent": "desk"}


def _turn(chance: random.Random, name: str, model: str) -> list[tuple[str, dict[str, Any]]]:
    call_id = f"call_{name}"
    is_error = chance.random() < 0.05
    result = {"call_id": call_id, "result": _text(chance, 40), "latency_ms": chance.randrange(900)}
    return [
        ("user.utterance", {"text": _text(chance, 25), "confidence": 0.93, "language": "en"}),
        ("model.response", _response(chance, f"{name}a", model)),
        (
            "tool.call",
            {
                "call_id": call_id,
                "name": chance.choice(words.TOOLS[:6]),
                "arguments": '{"query": "' + _text(chance, 12) + '"}',
                "effect": "read",
                "message_id": f"{name}a",
            },
        ),
        ("tool.result", {**result, "is_error": True} if is_error else result),
        ("model.response", _response(chance, f"{name}b", model)),
        ("agent.utterance", {"text": _text(chance, 30), "message_id": f"{name}b"}),
    ]


def _response(chance: random.Random, message_id: str, model: str) -> dict[str, Any]:
    usage = {"input_tokens": chance.randrange(9_000), "output_tokens": chance.randrange(400)}
    return {
        "model": model,
        "usage": usage,
        "latency_ms": chance.randrange(200, 4_000),
        "cost": f"{usage['input_tokens'] * 15 + usage['output_tokens'] * 60}E-8",
        "finish_reason": "stop",
        "message_id": message_id,
    }


def _text(chance: random.Random, count: int) -> str:
    return " ".join(chance.choices(words.NOUNS, k=count))
