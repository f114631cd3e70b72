"""What the attributes and events of an OpenTelemetry span say of a call of a model or a tool.

The semantic conventions for GenAI (https://opentelemetry.io/docs/specs/semconv/gen-ai/): of today,
messages as attributes; of the year before, an event a message or ``gen_ai.prompt`` as JSON. And
what instrumentations wrote that came before: OpenInference's ``llm.*``, numbered
``gen_ai.prompt.0.*``, the AI SDK's ``ai.*``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal, NamedTuple

from refold.conversation import events
from refold.conversation.importers.dialects import decoded
from refold.conversation.importers.usage import usage_in

Attributes = Mapping[str, Any]

_MODEL_CALLS: Final = ("chat", "text_completion", "generate_content", "completion")
_NOT_KEPT: Final = ("model", "encoding_formats", "embedding")
_DETAILS: Final = "gen_ai.client.inference.operation.details"
_TOOL_INPUT: Final = (
    "gen_ai.tool.call.arguments", "tool_arguments", "ai.toolCall.args", "input.value",
    "gcp.vertex.agent.tool_call_args",
)  # fmt: skip
_TOOL_OUTPUT: Final = (
    "gen_ai.tool.call.result", "tool_response", "ai.toolCall.result", "output.value",
    "gcp.vertex.agent.tool_response",
)  # fmt: skip
_SAID: Final = {
    "gen_ai.system.message": "system",
    "gen_ai.user.message": "user",
    "gen_ai.assistant.message": "assistant",
    "gen_ai.tool.message": "tool",
}


class Traced(NamedTuple):
    """A step, as far as it is one of an agent; ``kind`` is "other" where nothing says so."""

    kind: Literal["model", "tool", "agent", "other"]
    asked: Any
    answered: Any
    model: str | None
    provider: str | None
    agent: str | None
    tool: str | None
    call_id: str
    params: dict[str, Any]
    tools: Any
    usage: events.Usage | None
    response_id: str | None
    conversation: str | None


def read(attributes: Attributes, happened: Sequence[tuple[str, Attributes]]) -> Traced:
    """What a span says by its attributes and by the events that happened in it, by name."""
    logged = [(str(one.get("event.name")), one) for one in _objects(attributes.get("events"))]
    happened = [*happened, *logged]
    given: dict[str, Any] = dict(attributes)
    for name, one in happened:
        if name in (_DETAILS, "gen_ai.content.prompt", "gen_ai.content.completion"):
            given |= one
    kind = _kind(given)
    is_tool = kind == "tool"
    text = {key: value for key, value in given.items() if isinstance(value, str)}

    def first(*keys: str) -> str | None:
        return next((text[key] for key in keys if text.get(key)), None)

    return Traced(
        kind=kind,
        asked=_tool_input(given) if is_tool else _asked(given, happened),
        answered=_tool_output(given) if is_tool else _answered(given, happened),
        model=first("gen_ai.request.model", "llm.model_name", "ai.model.id"),
        provider=first("gen_ai.provider.name", "gen_ai.system", "llm.provider", "llm.system"),
        agent=first("gen_ai.agent.name", "agent.name", "agent_name", "ai.telemetry.functionId"),
        tool=first("gen_ai.tool.name", "tool.name", "ai.toolCall.name"),
        call_id=first("gen_ai.tool.call.id", "tool_call.id", "ai.toolCall.id") or "",
        params=_params(given),
        tools=_tools(given),
        usage=usage_in(_counts(given), "", []),
        response_id=first("gen_ai.response.id", "ai.response.id"),
        conversation=first("gen_ai.conversation.id", "session.id"),
    )


def _kind(given: Attributes) -> Literal["model", "tool", "agent", "other"]:
    operation = str(given.get("gen_ai.operation.name") or given.get("ai.operationId") or "")
    kind = str(given.get("openinference.span.kind") or given.get("llm.request.type") or "").lower()
    if operation in ("execute_tool", "ai.toolCall") or kind == "tool":
        return "tool"
    if operation in ("invoke_agent", "create_agent", "invoke_workflow") or kind == "agent":
        return "agent"
    is_call = operation in _MODEL_CALLS or kind in ("llm", "chat", "completion")
    if is_call or operation.endswith((".doGenerate", ".doStream")):
        return "model"
    if not operation and not kind and given.get("gen_ai.request.model"):
        return "model"
    return "other"


def _asked(given: Attributes, happened: Sequence[tuple[str, Attributes]]) -> Any:
    messages = decoded(given.get("gen_ai.input.messages"))
    if messages is not None:
        system = decoded(given.get("gen_ai.system_instructions"))
        prompt = {"role": "system", "parts": system} if isinstance(system, list) else system
        if isinstance(prompt, str):
            prompt = {"role": "system", "content": prompt}
        return [prompt, *messages] if prompt and isinstance(messages, list) else messages
    for key in ("gcp.vertex.agent.llm_request", "gen_ai.prompt", "ai.prompt.messages"):
        if key in given:
            return given[key]
    if items := _numbered(given, "gen_ai.prompt") or _numbered(given, "llm.input_messages"):
        return items
    said = [(_SAID[name], _body(one)) for name, one in happened if name in _SAID]
    items = [{"role": role, **one} for role, one in said]
    return items or given.get("input.value")


def _answered(given: Attributes, happened: Sequence[tuple[str, Attributes]]) -> Any:
    for key in ("gen_ai.output.messages", "gcp.vertex.agent.llm_response", "gen_ai.completion"):
        if key in given:
            return given[key]
    items = _numbered(given, "gen_ai.completion") or _numbered(given, "llm.output_messages")
    if items:
        return items
    choices = [_body(one) for name, one in happened if name == "gen_ai.choice"]
    if choices:
        made = [c if "message" in c else {"message": {"role": "assistant", **c}} for c in choices]
        return {"choices": [{**c, "message": _message(decoded(c["message"]))} for c in made]}
    if "ai.response.text" in given or "ai.response.toolCalls" in given:
        calls = [
            {"type": "tool-call", **one} for one in _objects(given.get("ai.response.toolCalls"))
        ]
        text = given.get("ai.response.text")
        said = [{"type": "text", "text": text}] if text else []
        return [{"role": "assistant", "content": [*said, *calls]}]
    return given.get("output.value")


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


def _tool_input(given: Attributes) -> Any:
    return next((given[key] for key in _TOOL_INPUT if key in given), None)


def _tool_output(given: Attributes) -> Any:
    return next((given[key] for key in _TOOL_OUTPUT if key in given), None)


def _params(given: Attributes) -> dict[str, Any]:
    start = "gen_ai.request."
    named = {
        key.removeprefix(start): value for key, value in given.items() if key.startswith(start)
    }
    return {key: value for key, value in named.items() if not key.startswith(_NOT_KEPT)}


def _tools(given: Attributes) -> Any:
    tools = decoded(given.get("gen_ai.tool.definitions", given.get("ai.prompt.tools")))
    if isinstance(tools, list):
        return tools
    numbered = [one.get("tool", {}) for one in _objects(_numbered(given, "llm.tools"))]
    return [one.get("json_schema") for one in numbered] or None


def _counts(given: Attributes) -> Attributes:
    starts = ("gen_ai.usage.", "llm.token_count.")
    counts = [(key, start) for key in given for start in starts if key.startswith(start)]
    return {key.removeprefix(start): given[key] for key, start in counts}


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
    return _listed(root) if all(key.isdigit() for key in root) and root else []


def _listed(made: Any) -> Any:
    """Objects whose keys are all numbers, as lists."""
    if not isinstance(made, dict):
        return made
    inner = {key: _listed(value) for key, value in made.items()}
    if inner and all(key.isdigit() for key in inner):
        return [inner[key] for key in sorted(inner, key=int)]
    return inner


def _objects(items: Any) -> list[dict[str, Any]]:
    items = decoded(items)
    return [item for item in items if isinstance(item, dict)] if isinstance(items, list) else []
