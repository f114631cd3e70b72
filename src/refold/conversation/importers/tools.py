"""The tools that an agent was offered, from their OpenAI shape."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, get_args

import msgspec

from refold.conversation.chat_shapes import check_json, refused
from refold.conversation.events import Effect, Tool, ToolCall
from refold.core.event import Event
from refold.core.jsonvalue import pointer
from refold.errors import InvalidEvent, UsageError

_KNOWN = {"type", "function", "custom", "effect"}
_KNOWN_OF_FUNCTION = {"name", "description", "parameters", "effect"}


class Offered(NamedTuple):
    """Tools, and the JSON Pointers of what of them is not kept."""

    tools: list[Tool]
    loss: list[str]


def schema_hash(parameters: Mapping[str, Any]) -> str:
    """SHA-256 of a tool's JSON schema, its keys sorted, in hex."""
    return hashlib.sha256(msgspec.json.encode(parameters, order="sorted")).hexdigest()


def tools_of(items: Any) -> Offered:
    """Tools from a list of ``{"type": "function", "function": {...}}``.

    ``effect`` beside or inside the function says what the tool does: read, write, irreversible
    or unknown. Raises :class:`~refold.errors.InvalidEvent` with the path of what is no tool.
    """
    if not isinstance(items, list):
        raise refused("tools must be a list", [])
    offered = Offered([], [])
    for index, item in enumerate(items):
        _add(offered, item, [index])
    return offered


def read_tools(path: Path) -> list[Tool]:
    """The tools of a JSON file; :class:`~refold.errors.UsageError` says what is wrong with it."""
    try:
        return tools_of(msgspec.json.decode(path.read_bytes())).tools
    except OSError as error:
        why = error.strerror or str(error)
        raise UsageError(f"tools file {path}: {why}", path=str(path)) from error
    except InvalidEvent as error:
        raise UsageError(f"tools file {path}: {error.message}", path=str(path)) from error
    except (ValueError, RecursionError) as error:
        raise UsageError(f"tools file {path} is not JSON: {error}", path=str(path)) from error


def with_effects(events: Iterable[Any], tools: Sequence[Tool]) -> list[Any]:
    """The events, each tool call with the effect and schema hash of the tool that it names."""
    by_name = {tool.name: tool for tool in tools}
    return [_with_effect(event, by_name) for event in events]


def _add(offered: Offered, item: Any, path: list[str | int]) -> None:
    if not isinstance(item, dict):
        raise refused("a tool must be an object", path)
    kind = next((key for key in ("function", "custom") if isinstance(item.get(key), dict)), None)
    # A flat object is the older form of "functions".
    function = item if kind is None else item[kind]
    inside = path if kind is None else [*path, kind]
    check_json(item, path)
    name, parameters = function.get("name"), function.get("parameters") or {}
    if not isinstance(name, str):
        raise refused("a tool must have a name", [*inside, "name"])
    if not isinstance(parameters, dict):
        raise refused("a tool's parameters must be an object", [*inside, "parameters"])
    offered.tools.append(
        Tool(
            name=name,
            description=str(function.get("description") or ""),
            parameters=parameters,
            schema_hash=schema_hash(parameters),
            effect=_effect(item, path) or _effect(function, inside) or "unknown",
        )
    )
    lost = [pointer([*inside, key]) for key in function if key not in _KNOWN_OF_FUNCTION | _KNOWN]
    if kind is not None:
        lost += [pointer([*path, key]) for key in item if key not in _KNOWN]
    offered.loss.extend(lost)


def _effect(item: Mapping[str, Any], path: list[str | int]) -> Effect | None:
    effect = item.get("effect")
    if effect is not None and effect not in get_args(Effect):
        raise refused(f"{effect!r} is not an effect: {', '.join(get_args(Effect))}", path)
    return effect


def _with_effect(event: Any, by_name: Mapping[str, Tool]) -> Any:
    call = event.data if isinstance(event, Event) else event
    if not isinstance(call, ToolCall) or call.name not in by_name:
        return event
    tool = by_name[call.name]
    marked = msgspec.structs.replace(call, effect=tool.effect, schema_hash=tool.schema_hash)
    return Event.of(marked, metadata=event.metadata, occurred_at=event.occurred_at)
