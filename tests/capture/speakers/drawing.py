"""What random conversations are made of, drawn from a seed."""

from __future__ import annotations

import json
import random
from typing import Any

_WORDS = (
    "yes", "no", "Friday", "café", "日本語", "…", "\U0001f600", "a\u2028b", '"quoted"', "<end>",
    "back\\slash", "line\nbreak", "\r\n", "tab\t", "data: [DONE]", "event: error", "{}", "\x7f",
    "é" * 40, "x" * 90, "\ufeff", "'", "0", "null",
)  # fmt: skip
_VALUES: tuple[Any, ...] = (0, 1, -7, 2.5, 1.0, 1e-7, 10**15, True, False, None, "", "é", [], {})


class Draw(random.Random):
    """A random generator that draws words, JSON values and JSON text."""

    def chance(self, likely: float) -> bool:
        """Whether something of this likelihood, from 0 to 1, happens."""
        return self.random() < likely

    def words(self, most: int = 6) -> str:
        """Some words; never none."""
        return "so " + " ".join(self.choices(_WORDS, k=self.randint(1, most)))

    def token(self, kind: str) -> str:
        """An id that nothing else has."""
        return f"{kind}_{self.getrandbits(64):016x}"

    def value(self, depth: int = 2) -> Any:
        """A JSON value."""
        match self.randrange(6) if depth else 0:
            case 4:
                return [self.value(depth - 1) for _ in range(self.randint(0, 3))]
            case 5:
                return self.object(depth - 1)
            case 1:
                return self.words()
        return self.choice(_VALUES)

    def object(self, depth: int = 2) -> dict[str, Any]:
        """A JSON object."""
        return {self.choice("abcdeé") * n: self.value(depth) for n in range(1, self.randint(1, 4))}

    def pieces(self, text: str, most: int = 5) -> list[str]:
        """A text in pieces, none of which is empty."""
        inside = range(1, len(text))
        cuts = sorted(self.sample(inside, min(self.randint(0, most - 1), len(inside))))
        return [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True) if a < b]

    def chunks(self, raw: bytes) -> list[bytes]:
        """Bytes as a connection may bring them: at once, in a few pieces, or each by itself."""
        if self.chance(0.05):
            return [raw[at : at + 1] for at in range(len(raw))]
        cuts = sorted(self.randint(0, len(raw)) for _ in range(self.choice((0, 1, 3, 9))))
        return [raw[a:b] for a, b in zip([0, *cuts], [*cuts, len(raw)], strict=True) if a < b]

    def json(self, value: Any) -> bytes:
        """JSON text in one of the ways in which it is written."""
        made = json.dumps(
            value,
            ensure_ascii=self.chance(0.5),
            indent=2 if self.chance(0.1) else None,
            separators=self.choice(((",", ":"), (", ", ": "))),
        )
        return made.encode()

    def shuffled(self, body: dict[str, Any]) -> dict[str, Any]:
        """An object with its keys in another order."""
        return {key: body[key] for key in self.sample([*body], len(body))}

    def without_nulls(self, body: dict[str, Any]) -> dict[str, Any]:
        """An object, sometimes without what is null in it."""
        if self.chance(0.5):
            return body
        return {key: value for key, value in body.items() if value is not None}
