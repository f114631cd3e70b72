"""The events that every subject stores: made-up conversations, the same ones on every machine.

Sentences are drawn from a small grammar with words of falling frequency, so that a compressor finds
about as much in them as in what people and models write; ``tests/bench`` holds that.
Nothing here is imported but the standard library: the rivals run it in environments of their own.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from itertools import accumulate
from typing import Any, Final, Literal, NamedTuple

from bench import words

Text = Literal["short", "long", "dialogues"]
"""``short``: payloads of about 300 bytes as JSON; ``long``: of about 1,500; ``dialogues``:
conversations in refold's vocabulary, see :mod:`bench.dialogues`."""

TYPES: Final = (
    "user.utterance",
    "model.request",
    "model.response",
    "tool.call",
    "tool.result",
    "turn.ended",
)
_CHARS: Final[dict[Text, int]] = {"short": 195, "long": 1_380}


class Made(NamedTuple):
    """An event before anybody stores it; ``metadata`` is what its append says of all its events."""

    type: str
    data: dict[str, Any]
    metadata: dict[str, str]


class State(NamedTuple):
    """What every subject folds the events to; equal states mean that equal events were read."""

    turns: int = 0
    tokens: int = 0
    cost: float = 0.0
    tools: int = 0
    errors: int = 0
    last: str = ""


def events(count: int, *, seed: int = 1, text: Text = "short") -> list[Made]:
    """The first ``count`` events of an endless conversation."""
    chance = random.Random(seed)
    writer = _Writer(chance)
    made: list[Made] = []
    correlation = ""
    for index in range(count):
        kind = index % len(TYPES)
        if kind == 0:
            correlation = _hex(chance, 32)
        data = _payload(kind, index // len(TYPES), writer, _CHARS[text])
        metadata = {
            "correlation_id": correlation,
            "causation_id": _hex(chance, 32),
            "actor": f"agent:desk-{chance.randrange(1, 9)}",
        }
        made.append(Made(TYPES[kind], data, metadata))
    return made


def folded(history: Iterable[tuple[str, dict[str, Any]]]) -> State:
    """The state after events given as type and payload: what each subject must come to."""
    turns = tokens = tools = errors = 0
    cost, last = 0.0, ""
    for kind, data in history:
        if kind == "user.utterance":
            last = data["text"]
        elif kind == "model.response":
            tokens += data["usage"]["output_tokens"]
            cost += data["usage"]["cost"]
        elif kind == "tool.call":
            tools += 1
        elif kind == "tool.result":
            errors += not data["ok"]
        elif kind == "turn.ended":
            turns += 1
    return State(turns, tokens, cost, tools, errors, last)


def _payload(kind: int, turn: int, writer: _Writer, chars: int) -> dict[str, Any]:
    chance = writer.chance
    match TYPES[kind]:
        case "user.utterance":
            said = writer.text(chars + 60)
            return {"role": "user", "text": said, "language": "en-GB", "attachments": []}
        case "model.request":
            return {
                "request_id": f"req_{_hex(chance, 16)}",
                "model": "made-up-large-2",
                "temperature": 0.2,
                "output_tokens_max": 4096,
                "prompt_tokens": chance.randrange(200, 90_000),
                "tools": chance.sample(words.TOOLS, 3),
                "system": writer.text(chars - 90),
            }
        case "model.response":
            usage = {
                "input_tokens": chance.randrange(200, 90_000),
                "output_tokens": chance.randrange(5, 4_000),
                "cost": chance.randrange(100_000) / 1_000_000,
            }
            return {
                "request_id": f"req_{_hex(chance, 16)}",
                "text": writer.text(chars - 40),
                "finish_reason": chance.choice(("stop", "tool_calls")),
                "usage": usage,
                "latency_ms": chance.randrange(300, 20_000),
            }
        case "tool.call":
            arguments = {
                "query": writer.text(chars - 10),
                "limit": chance.randrange(1, 50),
                "exact": chance.random() < 0.5,
            }
            call_id = f"call_{_hex(chance, 16)}"
            return {"call_id": call_id, "name": chance.choice(words.TOOLS), "arguments": arguments}
        case "tool.result":
            return {
                "call_id": f"call_{_hex(chance, 16)}",
                "ok": chance.random() < 0.9,
                "output": writer.text(chars + 10),
                "size_bytes": chance.randrange(10, 100_000),
                "duration_ms": chance.randrange(1, 9_000),
            }
        case _:
            return {
                "turn": turn,
                "outcome": "continue",
                "tokens_used": chance.randrange(100, 90_000),
                "budget_left": chance.randrange(100_000) / 10_000,
                "summary": writer.text(chars + 20),
            }


class _Writer:
    """Writes sentences; the words of each kind are drawn by rank, the common ones more often."""

    def __init__(self, chance: random.Random) -> None:
        self.chance = chance
        self._weights: dict[int, list[float]] = {}

    def text(self, chars: int) -> str:
        """Sentences of about so many characters."""
        said: list[str] = []
        length = 0
        while length < chars:
            said.append(self._sentence())
            length += len(said[-1]) + 1
        return " ".join(said)[: chars + self.chance.randrange(30)].rstrip()

    def _sentence(self) -> str:
        chance = self.chance
        parts = [chance.choice(words.OPENERS)] if chance.random() < 0.3 else []
        parts += self._clause()
        if chance.random() < 0.45:
            parts += [self._drawn(words.JOINERS), *self._clause()]
        sentence = " ".join(parts)
        return sentence[0].upper() + sentence[1:] + ("?" if chance.random() < 0.15 else ".")

    def _clause(self) -> list[str]:
        chance = self.chance
        subject = (
            [self._drawn(words.PRONOUNS)] if chance.random() < 0.6 else self._thing(words.NOUNS)
        )
        clause = [*subject, self._drawn(words.VERBS), *self._thing(words.NOUNS)]
        if chance.random() < 0.35:
            clause.insert(len(subject), self._drawn(words.ADVERBS))
        if chance.random() < 0.5:
            clause += [self._drawn(words.PREPOSITIONS), *self._place()]
        return clause

    def _thing(self, nouns: Sequence[str]) -> list[str]:
        thing = [self._drawn(words.DETERMINERS)]
        if self.chance.random() < 0.4:
            thing.append(self._drawn(words.ADJECTIVES))
        return [*thing, self._drawn(nouns)]

    def _place(self) -> list[str]:
        draw = self.chance.random()
        if draw < 0.1:
            return [self._drawn(words.NAMES)]
        if draw < 0.2:
            return [self._drawn(words.PLACES)]
        if draw < 0.4:
            return [str(self.chance.randrange(1, 10_000))]
        return self._thing(words.NOUNS)

    def _drawn(self, choices: Sequence[str]) -> str:
        """One of them, the n-th in proportion to 1 / (n + 5)."""
        weights = self._weights.get(id(choices))
        if weights is None:
            ranks = range(len(choices))
            weights = self._weights[id(choices)] = list(accumulate(1 / (n + 5) for n in ranks))
        return self.chance.choices(choices, cum_weights=weights)[0]


def _hex(chance: random.Random, digits: int) -> str:
    return f"{chance.getrandbits(4 * digits):0{digits}x}"
