"""Print docs/reference/events.md, made from the event classes.

Run it after changing one: ``.venv/bin/python tools/events_reference.py >docs/reference/events.md``.
"""

import sys
import types
from collections.abc import Iterator
from inspect import cleandoc, getsourcelines
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import msgspec

from refold.capture import events as wire
from refold.conversation import events, governance, voice
from refold.core import history as branch
from refold.core.registry import default_registry
from refold.feeds import cursor as feeds
from refold.ledger import events as money
from refold.outbox import effects
from refold.projections import cursor as decisions
from refold.replay import events as replays

GROUPS = {
    "Conversations": events,
    "Voice": voice,
    "Decisions, consent and care for data": governance,
    "Effects": effects,
    "Money": money,
    "Feeds": feeds,
    "Branches": branch,
    "Projections": decisions,
    "Replays": replays,
    "Captured calls": wire,
}
# What their modules say of themselves is not about events.
UNSAID = (branch, replays, decisions)
HEAD = """# Events

Made from the classes by `tools/events_reference.py`; do not edit.

The types that `refold.conversation`, `refold.replay`, `refold.ledger` and `refold.capture` define.
Your own stand beside them: [define events](../how-to/define-events.md). A field that has its
default is not stored. A Decimal is stored as text. Every type is at schema 1 unless its heading
says otherwise."""
SHARED = """## Parts

What the fields above are made of."""


def page() -> str:
    """The whole page."""
    sections = [HEAD]
    parts: dict[str, type] = {}
    for title, module in GROUPS.items():
        sections.append(f"## {title}\n\n{said(module)}" if module not in UNSAID else f"## {title}")
        for cls in event_classes(module):
            sections.append(section(default_registry.kind_of_class(cls).tag, cls))
            parts |= {part.__name__: part for part in parts_of(cls)}
    sections.append(SHARED)
    sections += [section(name, parts[name]) for name in sorted(parts)]
    return "\n\n".join(sections) + "\n"


def event_classes(module: types.ModuleType) -> list[type]:
    """The event classes that a module defines, in the order of its source."""
    kinds = default_registry.kinds()
    classes = [default_registry.class_of(kind) for kind in kinds]
    mine = [cls for cls in classes if cls.__module__ == module.__name__]
    return sorted(mine, key=lambda cls: getsourcelines(cls)[1])


def section(title: str, cls: type) -> str:
    """A class as a heading, its docstring and a table of its fields."""
    hints = get_type_hints(cls)
    rows = [
        f"| `{field.name}` | {shown(hints[field.name])} | {default(field)} |"
        for field in msgspec.structs.fields(cls)
    ]
    table = "\n".join(["| field | type | default |", "|---|---|---|", *rows])
    name = "" if title == cls.__name__ else f" `{cls.__name__}`"
    heading = f"### {title}\n\n" + (f"{name.strip()}. " if name else "")
    return heading + said(cls) + (f"\n\n{table}" if rows else "")


def said(documented: Any) -> str:
    """A docstring as Markdown."""
    return cleandoc(documented.__doc__).replace("``", "`")


def default(field: msgspec.structs.FieldInfo) -> str:
    """What a field is where it is not given."""
    if field.required:
        return "required"
    if field.default_factory is not msgspec.NODEFAULT:
        return f"`{field.default_factory()!r}`"
    return "absent" if field.default is None else f"`{_json(field.default)}`"


def shown(hint: Any) -> str:
    """A type as a reader names it."""
    origin, parts = get_origin(hint), get_args(hint)
    if origin is Literal:
        return " or ".join(f"`{_json(value)}`" for value in parts)
    if origin in (Union, types.UnionType):
        return " or ".join(shown(part) for part in parts if part is not type(None))
    if origin is list:
        return f"list of {shown(parts[0])}"
    if origin is dict:
        return "object"
    if origin is tuple:
        return "pair"
    if isinstance(hint, type) and issubclass(hint, msgspec.Struct):
        return f"[{hint.__name__}](#{hint.__name__.lower()})"
    plain = {str: "text", int: "integer", float: "number", bool: "boolean", Any: "any JSON"}
    plain[msgspec.Raw] = "any JSON"
    return plain.get(hint, getattr(hint, "__name__", str(hint)))


def parts_of(cls: type) -> Iterator[type]:
    """The structs that a class's fields are made of."""
    for hint in get_type_hints(cls).values():
        for part in (hint, *get_args(hint)):
            if isinstance(part, type) and issubclass(part, msgspec.Struct):
                yield part


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()


if __name__ == "__main__":
    sys.stdout.write(page())
