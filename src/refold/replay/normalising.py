"""What two calls must have in common to be the same, and what of them does not matter.

Arguments are compared in their normal form: each number by its exact value, texts in Unicode NFC,
a key whose value is null as one that is absent, what the schema of the tool gives as default where
nothing is said, and without the fields that the user declared to be ignored. The text that a custom
tool takes is compared to the character.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any
from unicodedata import normalize

from refold.conversation.chat_shapes import exact_arguments
from refold.core.jsonvalue import pointer
from refold.errors import refuse_unless
from refold.replay.decision import Call
from refold.replay.json_schema import exact, resolved

Ignored = frozenset[str]
"""Fields that do not count, each a tool and a JSON Pointer: ``book/request_id``.

``*`` is every tool, or every index of a list: ``*/trace_id``, ``book/passengers/*/seat``.
"""
NOTHING_IGNORED: Ignored = frozenset()


def ignored(fields: Iterable[str]) -> Ignored:
    """Fields to ignore; refuses one that names no tool, or no field of it."""
    found = frozenset(fields)
    for field in found:
        tool, _, path = field.partition("/")
        refuse_unless(bool(tool and path), "TOOL/FIELD such as book/request_id", ignore=field)
    return found


def exactly(call: Call) -> Any:
    """What a call's arguments say, numbers by their exact value; text where they are not JSON."""
    return call.arguments if call.kind == "custom" else exact_arguments(call.arguments)


def normal_arguments(call: Call, schema: Any, ignored: Ignored) -> Any:
    """A call's arguments in their normal form; ``schema`` is that of its tool, {} for none."""
    if call.kind == "custom":
        return call.arguments
    return _Form(call.name, schema, ignored).of(exactly(call), schema, "")


def normal_words(text: str) -> str:
    """Words to compare: in Unicode NFC, each stretch of white space as one blank."""
    return " ".join(normalize("NFC", text).split())


class _Form:
    """The normal form of one call's arguments."""

    def __init__(self, tool: str, root: Any, ignored: Ignored) -> None:
        self._root = root
        self._gone = {f[len(t) :] for f in ignored for t in ("*", tool) if f.startswith(f"{t}/")}

    def of(self, value: Any, schema: Any, place: str) -> Any:
        schema = resolved(schema, self._root)
        schema = schema if isinstance(schema, Mapping) else {}
        match value:
            case str():
                return normalize("NFC", value)
            case list():
                return [self.of(item, schema.get("items"), f"{place}/*") for item in value]
            case dict():
                return self._object(value, schema, place)
        return value

    def _object(self, value: dict[str, Any], schema: Mapping[str, Any], place: str) -> Any:
        said = schema.get("properties")
        known: Mapping[str, Any] = said if isinstance(said, Mapping) else {}
        defaults = {
            key: exact(of["default"])
            for key, of in known.items()
            if isinstance(of, Mapping) and "default" in of and key not in value
        }
        return {
            normalize("NFC", key): self.of(item, known.get(key), f"{place}{pointer((key,))}")
            for key, item in (defaults | value).items()
            if item is not None and f"{place}{pointer((key,))}" not in self._gone
        }
