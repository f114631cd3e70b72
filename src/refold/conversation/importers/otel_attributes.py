"""What the attributes and events of an OpenTelemetry span say of a call of a model or a tool.

The semantic conventions for GenAI (https://opentelemetry.io/docs/specs/semconv/gen-ai/): of today,
messages as attributes; of the year before, an event a message or ``gen_ai.prompt`` as JSON. And
what instrumentations wrote that came before: OpenInference's ``llm.*``, numbered
``gen_ai.prompt.0.*``, the AI SDK's ``ai.*``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from refold.conversation.apis.base import objects_in
from refold.conversation.chat_shapes import Unread
from refold.conversation.importers.dialects import decoded
from refold.conversation.importers.fields import TOKENS
from refold.conversation.importers.spans import Kind
from refold.conversation.tokens import read_usage

Attributes = Mapping[str, Any]

_TEXTS: Final = {
    "model": "gen_ai.request.model llm.model_name ai.model.id",
    "provider": "gen_ai.provider.name gen_ai.system llm.provider llm.system",
    "agent": "gen_ai.agent.name agent.name agent_name ai.telemetry.functionId",
    "tool": "gen_ai.tool.name tool.name ai.toolCall.name",
    "call_id": "gen_ai.tool.call.id tool_call.id ai.toolCall.id",
    "response_id": "gen_ai.response.id ai.response.id",
    "conversation": "gen_ai.conversation.id session.id",
}
_TOOL: Final = {
    "asked": (
        "gen_ai.tool.call.arguments tool_arguments ai.toolCall.args input.value"
        " gcp.vertex.agent.tool_call_args"
    ),
    "answered": (
        "gen_ai.tool.call.result tool_response ai.toolCall.result output.value"
        " gcp.vertex.agent.tool_response"
    ),
}
_KINDS: Final[Mapping[str, Kind]] = {
    **dict.fromkeys(("execute_tool", "ai.toolCall", "tool"), "tool"),
    **dict.fromkeys(("invoke_agent", "create_agent", "invoke_workflow", "agent"), "agent"),
    **dict.fromkeys(("chat", "text_completion", "generate_content", "completion", "llm"), "model"),
}
"""What an operation is, or a kind of span of OpenInference's."""
_NOT_KEPT: Final = ("model", "encoding_formats", "embedding")
_IN_EVENTS: Final = (
    "gen_ai.client.inference.operation.details", "gen_ai.content.prompt",
    "gen_ai.content.completion",
)  # fmt: skip
_ASKED: Final = "gcp.vertex.agent.llm_request gen_ai.prompt ai.prompt.messages"
_ANSWERED: Final = "gen_ai.output.messages gcp.vertex.agent.llm_response gen_ai.completion"
_SAID: Final = {
    "gen_ai.system.message": "system",
    "gen_ai.user.message": "user",
    "gen_ai.assistant.message": "assistant",
    "gen_ai.tool.message": "tool",
}


def read(
    attributes: Attributes, happened: Sequence[tuple[str, Attributes]], unread: list[Unread]
) -> dict[str, Any]:
    """What a span says by its attributes and by the events that happened in it, by name.

    The fields of a :class:`~refold.conversation.importers.spans.Span`, and the ``tool`` and the
    ``conversation`` that it names; None for what it does not say. The kind is "other" where
    nothing says. Counts of tokens that are none are told as ``unread``.
    """
    logged = [(str(one.get("event.name")), one) for one in _objects(attributes.get("events"))]
    happened = [*happened, *logged]
    given: dict[str, Any] = dict(attributes)
    for name, one in happened:
        if name in _IN_EVENTS:
            given |= one
    kind = _kind(given)
    texts = {key: value for key, value in given.items() if isinstance(value, str) and value}
    starts = ("gen_ai.usage.", "llm.token_count.")
    counts = {key.removeprefix(s): given[key] for key in given for s in starts if key.startswith(s)}
    return {
        **{field: _first(texts, keys) for field, keys in _TEXTS.items()},
        "kind": kind,
        "asked": _first(given, _TOOL["asked"]) if kind == "tool" else _asked(given, happened),
        "answered": _first(given, _TOOL["answered"])
        if kind == "tool"
        else _answered(given, happened),
        "params": _params(given),
        "tools": _tools(given),
        "usage": read_usage(counts, [], unread, TOKENS),
    }


def conversation_of(attributes: Attributes) -> str | None:
    """The conversation that attributes name; None for none."""
    texts = {key: value for key, value in attributes.items() if isinstance(value, str) and value}
    found: str | None = _first(texts, _TEXTS["conversation"])
    return found


def _first(given: Attributes, keys: str) -> Any:
    return next((given[key] for key in keys.split() if key in given), None)


def _kind(given: Attributes) -> Kind:
    operation = str(given.get("gen_ai.operation.name") or given.get("ai.operationId") or "")
    kind = str(given.get("openinference.span.kind") or given.get("llm.request.type") or "").lower()
    is_call = operation.endswith((".doGenerate", ".doStream"))
    if is_call or (not (operation or kind) and given.get("gen_ai.request.model")):
        return "model"
    found: set[Kind] = {_KINDS.get(operation, "other"), _KINDS.get(kind, "other")}
    order: Sequence[Kind] = ("tool", "agent", "model")
    return next((one for one in order if one in found), "other")


def _asked(given: Attributes, happened: Sequence[tuple[str, Attributes]]) -> Any:
    messages = decoded(given.get("gen_ai.input.messages"))
    if messages is not None:
        prompt = decoded(given.get("gen_ai.system_instructions"))
        key = "parts" if isinstance(prompt, list) else "content"
        is_beside = prompt and isinstance(messages, list)
        return [{"role": "system", key: prompt}, *messages] if is_beside else messages
    if (found := _first(given, _ASKED)) is not None:
        return found
    if items := _numbered(given, "gen_ai.prompt") or _numbered(given, "llm.input_messages"):
        return items
    items = [{"role": _SAID[name], **_body(one)} for name, one in happened if name in _SAID]
    return items or given.get("input.value")


def _answered(given: Attributes, happened: Sequence[tuple[str, Attributes]]) -> Any:
    if (found := _first(given, _ANSWERED)) is not None:
        return found
    if items := _numbered(given, "gen_ai.completion") or _numbered(given, "llm.output_messages"):
        return items
    choices = [_body(one) for name, one in happened if name == "gen_ai.choice"]
    if choices:
        made = [c if "message" in c else {"message": {"role": "assistant", **c}} for c in choices]
        return {"choices": [{**c, "message": _message(decoded(c["message"]))} for c in made]}
    text, calls = given.get("ai.response.text"), _objects(given.get("ai.response.toolCalls"))
    said = [{"type": "text", "text": text}] if text else []
    said += [{"type": "tool-call", **one} for one in calls]
    return [{"role": "assistant", "content": said}] if said else given.get("output.value")


def _message(message: Any) -> Any:
    return message if isinstance(message, dict) else {"role": "assistant", "content": message}


def _body(one: Attributes) -> dict[str, Any]:
    """What an event of a message says: its fields, each of them JSON or text of JSON."""
    body = decoded(one.get("gen_ai.event.content", one.get("body")))
    given = body if isinstance(body, dict) else one
    made = {key: value for key, value in given.items() if not key.startswith(("gen_ai.", "event."))}
    if isinstance(calls := decoded(made.get("tool_calls")), list):
        made["tool_calls"] = calls
    return made


def _params(given: Attributes) -> dict[str, Any]:
    start = "gen_ai.request."
    named = {key.removeprefix(start): one for key, one in given.items() if key.startswith(start)}
    return {key: value for key, value in named.items() if not key.startswith(_NOT_KEPT)}


def _tools(given: Attributes) -> Any:
    tools = decoded(given.get("gen_ai.tool.definitions", given.get("ai.prompt.tools")))
    if isinstance(tools, list):
        return tools
    numbered = [one.get("tool", {}) for one in _objects(_numbered(given, "llm.tools"))]
    return [one.get("json_schema") for one in numbered] or None


def _numbered(given: Attributes, start: str) -> list[Any]:
    """The list that attributes such as ``START.0.message.role`` make."""
    root: dict[str, Any] = {}
    for key, value in given.items():
        if key.startswith(f"{start}."):
            holder, *path = root, *key.removeprefix(f"{start}.").split(".")
            for name in path[:-1]:
                inner = holder.setdefault(name, {})
                holder = inner if isinstance(inner, dict) else {}
            holder[path[-1]] = value
    listed = _listed(root)
    return listed if isinstance(listed, list) else []


def _listed(made: Any) -> Any:
    """Objects whose keys are all numbers, as lists."""
    if not isinstance(made, dict):
        return made
    inner = {key: _listed(value) for key, value in made.items()}
    if inner and all(key.isdecimal() for key in inner):
        return [inner[key] for key in sorted(inner, key=int)]
    return inner


def _objects(items: Any) -> list[dict[str, Any]]:
    return objects_in(decoded(items))
