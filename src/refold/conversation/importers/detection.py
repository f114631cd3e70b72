"""What the values in an input say of its format: the one table that all of them are known by."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

REQUESTS: Final = ("request", "body", "params", "kwargs", "request_body")
"""Where a log of a call may hold the request."""
_ITEMS: Final = ("function_call", "function_call_output", "reasoning", "custom_tool_call")
_BLOCKS: Final = ("tool_use", "tool_result", "thinking", "redacted_thinking")
FORMATS: Final = {
    "tau-bench": "tau:read_tau_bench",
    "tau2-bench": "tau:read_tau2",
    "otlp": "otlp:read_otlp",
    "langfuse": "tracers:read_langfuse",
    "langsmith": "tracers:read_langsmith",
    "inspect": "inspect_log:read_inspect",
    "vcon": "vcon:read_vcon",
    "claude-code": "claude_code:read_claude_code",
    "codex": "codex:read_codex",
    "chatgpt": "chatgpt:read_chatgpt",
    "openai-responses": "call_files:read_responses",
    "anthropic-messages": "call_files:read_anthropic",
    "openai-chat": "call_files:read_chat",
}
"""The formats that come with refold, the more general the later, and where each is read."""


def known(values: Sequence[Any]) -> tuple[str, str] | None:
    """The format of an input by its first values, and by what it is known, as "its lines have a
    sessionId"; None where nothing says.

    The values are lines, elements, or the one document; the last may be cut.
    """
    found = [told for told in map(_known, values) if told is not None]
    return min(found, key=lambda told: list(FORMATS).index(told[0]), default=None)


def call_in(value: Any, talk: str) -> dict[str, Any]:
    """The request in a value, with what stands beside it; {} where there is none.

    ``talk`` is where a request has the conversation, which may be all that there is.
    """
    if isinstance(value, list):
        return {talk: value}
    given = value if isinstance(value, dict) else {}
    inside = (given.get(key) for key in REQUESTS)
    request = next((one for one in inside if isinstance(one, dict) and talk in one), {})
    # A log may hold the whole talk beside its last request.
    return {**given, **request} if given.get(talk) is None else {**request, **given}


def _known(value: Any) -> tuple[str, str] | None:
    match value:
        case {"task_id": _, "traj": list()}:
            return "tau-bench", "its elements have a task_id and a traj"
        case {"simulations": list()} | {"info": {"agent_info": _, "environment_info": _}}:
            return "tau2-bench", "it has simulations, and the info of agent, customer, environment"
        case {"resourceSpans": list()} | {"resourceLogs": list()}:
            return "otlp", "it has the resourceSpans of OTLP"
        case {"observations": list()}:
            return "langfuse", "it has the observations of a trace"
        case {"run_type": _} | {"post": [{"run_type": _}, *_]} | {"runs": [{"run_type": _}, *_]}:
            return "langsmith", "its runs have a run_type"
        case {"eval": {"task": _}}:
            return "inspect", "it has the eval of a task"
        case {"epoch": int() | float(), "target": _, "messages": list()}:
            return "inspect", "it is a sample with an epoch and a target"
        case {"vcon": str()} | {"parties": list(), "dialog": list()}:
            return "vcon", "it has the parties and the dialog of a vCon"
        case {"payload": str(), "signatures": list()}:
            return "vcon", "it is signed as a vCon is"
        case {"sessionId": str(), "uuid": _, "message": _}:
            return "claude-code", "its lines have a sessionId, a uuid and a message"
        case {"type": "summary", "leafUuid": _}:
            return "claude-code", "it has a summary with a leafUuid"
        case {"type": "session_meta" | "response_item" | "turn_context", "payload": dict()}:
            return "codex", "its lines are a session_meta, response_items and their like"
        case {"record_type": "state"} | {"id": _, "instructions": _, "git": _}:
            return "codex", "it is an early session of Codex"
        case {"mapping": dict(nodes)} if any(map(is_node, nodes.values())):
            return "chatgpt", "its conversations have a mapping of messages with parents"
    return _known_call(value)


def _known_call(value: Any) -> tuple[str, str] | None:
    """The API that a request, a message or an item is of."""
    match call_in(value, "input"):
        case {"object": "response"}:
            return "openai-responses", "it is a response with output"
        case {"input": list() | str(), "model": str()}:
            return "openai-responses", "it has an input and a model"
        case {"input": [*items]} if any(map(_is_item, items)):
            return "openai-responses", "its input is items of the Responses API"
    if _is_item(value):
        return "openai-responses", "it is items of the Responses API"
    call = call_in(value, "messages")
    messages = call.get("messages") if isinstance(call.get("messages"), list) else [value]
    if any(_is_anthropic(one) for one in messages or ()):
        return "anthropic-messages", "it has messages with blocks of Anthropic's API"
    match call:
        case {"messages": list(), "system": _}:
            return "anthropic-messages", "it has a system prompt beside its messages"
        case {"messages": list(), "tools": [{"input_schema": _}, *_]}:
            return "anthropic-messages", "its tools have an input_schema"
        case {"messages": [{"role": str(), **message}, *_]} if message.keys() & {
            "content",
            "tool_calls",
        }:
            return "openai-chat", "it has messages with a role and content"
        case {"role": "user" | "assistant" | "system", "content": _}:
            return "openai-chat", "it is a list of messages with a role and content"
    return None


def is_node(node: Any) -> bool:
    """Whether a value is one of the nodes of ChatGPT's tree."""
    return isinstance(node, dict) and not {"parent", "children", "message"}.isdisjoint(node)


def _is_item(item: Any) -> bool:
    match item:
        case {"type": str(kind)} if kind in _ITEMS:
            return True
        case {"role": _, "content": [{"type": "input_text" | "output_text"}, *_]}:
            return True
    return False


def _is_anthropic(message: Any) -> bool:
    match message:
        case {"role": _, "content": [*blocks]}:
            return any(isinstance(one, dict) and one.get("type") in _BLOCKS for one in blocks)
        case {"role": "assistant", "type": "message", "stop_reason": _}:
            return True
    return False
