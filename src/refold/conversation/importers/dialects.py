"""Requests and answers of models as tracers and frameworks write them, for the readers of the APIs.

OpenTelemetry's GenAI messages (``parts``), LangChain's (``lc``, ``type`` and ``data``), the AI
SDK's (``tool-call``) and flat tool calls are turned into chat messages; a body in the shape of an
API is left as it is. Nothing is read here: what each message says, the API's reader finds out.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from refold import jsontext
from refold.conversation.apis.anthropic_messages import ANTHROPIC_MESSAGES
from refold.conversation.apis.base import Api, Asked, Body, objects_in
from refold.conversation.apis.gemini import GEMINI
from refold.conversation.apis.openai_chat import OPENAI_CHAT
from refold.conversation.apis.openai_responses import OPENAI_RESPONSES
from refold.conversation.chat_shapes import json_text

Shaped = tuple[Api, Body]

_ROLES: Final = {
    "human": "user", "HumanMessage": "user", "ai": "assistant", "AIMessage": "assistant",
    "model": "assistant", "SystemMessage": "system", "ToolMessage": "tool",
    "FunctionMessage": "function",
}  # fmt: skip
_CHAT_ROLES: Final = ("system", "developer", "user", "assistant", "tool", "function")
_SCHEMAS: Final = ("inputSchema", "input_schema")
_BLOCKS: Final = ("tool_use", "tool_result", "thinking", "redacted_thinking", "server_tool_use")
# What an answer of Responses repeats of its request.
_REPEATED: Final = ("instructions", "tools", "temperature", "top_p", "tool_choice", "reasoning")
_ITEMS: Final = ("function_call", "function_call_output", "reasoning", "message")


def decoded(value: Any) -> Any:
    """What JSON text says; anything else as it is.

    Raises :class:`~refold.errors.UsageError` for text in which a key stands twice: its words would
    be taken for something else.
    """
    if isinstance(value, str) and value.lstrip()[:1] in ("{", "["):
        try:
            return jsontext.read(value)
        except (ValueError, RecursionError):
            return value
    return value


def is_printed(value: Any) -> bool:
    """Whether messages are recorded as the text that they print as, which nobody can read."""
    items = value.get("messages") if isinstance(value, dict) else None
    return isinstance(items, list) and bool(items) and all(isinstance(i, str) for i in items)


def request_in(value: Any) -> Shaped | None:
    """The request that a recorded input is, and the API whose shape it has; None for none."""
    match value := decoded(value):
        case {"contents": list()}:
            config = value.get("config")
            value = {**value, **(config if isinstance(config, dict) else {})}
            if isinstance(prompt := value.get("system_instruction"), str):
                value["system_instruction"] = {"parts": [{"text": prompt}]}
            return GEMINI, {key: value[key] for key in value.keys() - {"config", "http_options"}}
        case [{"parts": [dict(first), *_]}, *_] if "type" not in first:
            return GEMINI, {"contents": value}
        case {"messages": [list(items), *_]}:
            return request_in({**value, "messages": items})
        case {"messages": list(items)} | {"input": list(items)} | [*items]:
            return _request_of(items, value if isinstance(value, dict) else {})
        case (
            str(text)
            | {"prompt": str(text)}
            | {"input": str(text)}
            | {"args": [str(text)]}
            | {"prompts": [str(text)]}
        ):
            return OPENAI_CHAT, {"messages": [{"role": "user", "content": text}]}
    return None


def answer_in(value: Any) -> Shaped | None:
    """The answer that a recorded output is, and the API whose shape it has; None for none."""
    match value := decoded(value):
        case {"choices": [{"message": dict()}, *_] as choices}:
            return OPENAI_CHAT, value | _choices(choices)
        case {"object": "response"} | {"output": [{"type": _}, *_]}:
            return OPENAI_RESPONSES, value
        case {"type": "message", "content": list()}:
            return ANTHROPIC_MESSAGES, value
        case {"candidates": _}:
            return GEMINI, value
        case {"content": {"parts": list()}}:
            return GEMINI, {**value, "candidates": [value]}
        case {"generations": [[{"message": message}, *_], *_]}:
            return answer_in(message)
        case {"messages": [*_, message]} | {"output": dict(message)} | [[message]]:
            return answer_in(message)
        case [{"toolName": _}, *_]:
            calls = [{"type": "tool-call", **call} for call in value]
            return OPENAI_CHAT, _choices([{"role": "assistant", "content": calls}])
        case str(text) if text:
            return OPENAI_CHAT, _choices([{"role": "assistant", "content": text}])
        case [{"type": str(kind)}, *_] if kind in _ITEMS:
            return OPENAI_RESPONSES, {"output": value}
        case [dict(), *_]:
            return OPENAI_CHAT, _choices(value)
        case {"role": _} | {"message": dict()} | {"lc": _} | {"type": _, "data": dict()}:
            return OPENAI_CHAT, _choices([value])
        case {"content": str() | list()} | {"tool_calls": list()}:
            return OPENAI_CHAT, _choices([{"role": "assistant", **value}])
    return None


def asked_as_answered(api: Api, body: Body, answer: Any) -> Asked:
    """What a request says: what Responses repeats of it in the answer may stand nowhere else."""
    if not is_repeating(answer):
        return api.read_request(body)
    repeated = {key: answer[key] for key in _REPEATED if answer.get(key) is not None}
    given = {"input": body.get("messages"), **repeated, **body}
    return OPENAI_RESPONSES.read_request({k: v for k, v in given.items() if k != "messages"})


def is_repeating(answer: Any) -> bool:
    """Whether an answer repeats what was asked, as those of Responses do."""
    answered = answer_in(answer) if isinstance(answer, dict) else None
    return answered is not None and answered[0] is OPENAI_RESPONSES


def tools_of(items: Any) -> Any:
    """Tools in the shape of chat completions, each of which may be text of JSON."""
    made = [decoded(item) for item in items] if isinstance(items, list) else items
    if isinstance(made, list):
        for tool in made:
            for key in _SCHEMAS:
                if isinstance(tool, dict) and key in tool:
                    tool["parameters"] = tool.pop(key)
    return made


def chat_of(items: Iterable[Any], names: dict[Any, Any] | None = None) -> list[Any]:
    """Chat messages of messages in any of the dialects.

    A message whose role is the name of a tool that was called before it is that tool's result:
    ``names`` are the calls by the names of their tools, those of messages before these too.
    """
    names = {} if names is None else names
    chat: list[Any] = []
    for item in items:
        for message in _messages(item):
            said = message if isinstance(message, dict) else {}
            role = said.get("role")
            if role in names and role not in _CHAT_ROLES:
                message = {**said, "role": "tool", "name": role, "tool_call_id": names[role]}
            chat.append(message)
            for call in objects_in(said.get("tool_calls")):
                function = call.get("function")
                if isinstance(function, dict):
                    names[function.get("name")] = call.get("id")
    return chat


def is_chat(items: list[Any]) -> bool:
    """Whether nothing in messages is of another API than chat completions."""
    dicts = objects_in(items)
    return not (_has_items(dicts) or _has_blocks(dicts))


def _request_of(items: list[Any], given: Body) -> Shaped:
    dicts = objects_in(items)
    if _has_items(dicts):
        return OPENAI_RESPONSES, {**given, "input": items}
    is_plain = not any("lc" in item or "tool_calls" in item for item in dicts)
    if is_plain and ("system" in given or _has_blocks(dicts)):
        return ANTHROPIC_MESSAGES, {**given, "messages": items}
    return OPENAI_CHAT, {**given, "messages": chat_of(items)}


def _has_items(dicts: list[Body]) -> bool:
    return any(item.get("type") in _ITEMS and not item.get("parts") for item in dicts)


def _has_blocks(dicts: list[Body]) -> bool:
    kinds = {str(part.get("type")) for item in dicts for part in objects_in(item.get("content"))}
    return bool(kinds.intersection(_BLOCKS))


def _choices(items: list[Any]) -> Body:
    """Choices, or messages alone, as a completion has them."""
    choices = []
    for item in items:
        given = item if isinstance(item, dict) else {}
        (message, *_) = chat_of([item]) or [{}]
        reason = given.get("finish_reason", given.get("stop_reason"))
        beside = given if "message" in given else {}
        choices.append({**beside, "message": message, "finish_reason": reason})
    return {"choices": choices}


def _messages(message: Any) -> list[Any]:
    match message:
        case {"lc": _, "id": [*_, str(kind)], "kwargs": dict(inner)}:
            return _plain(inner, kind.removesuffix("Chunk"))
        case {"type": str(kind), "data": dict(inner)}:
            return _plain(inner, kind)
        case {"type": "human" | "ai" | "system" | "tool" as kind, "content": _}:
            return _plain(message, kind)
        case {"message": dict(inner)}:
            return _messages(inner)
        case {"role": _} | {"parts": list()} | {"contents": list()}:
            return _plain(message, message.get("role"))
        case str(text):
            return [{"role": "user", "content": text}]
    return [message]


def _plain(message: Body, role: Any) -> list[Body]:
    """A message with role and calls as chat messages have them; its results behind it."""
    made = {key: value for key, value in message.items() if key not in ("parts", "contents")}
    made["role"] = _ROLES.get(role, role) if isinstance(role, str) else role
    parts = message.get("parts", message.get("content"))
    if isinstance(held := message.get("contents"), list):
        parts = [part.get("message_content", part) for part in held if isinstance(part, dict)]
        made["content"] = parts
    # The calls of a LangChain message stand beside its content, sometimes as the provider has them.
    given = message.get("additional_kwargs")
    calls = given.get("tool_calls") if isinstance(given, dict) else None
    calls = calls or message.get("tool_calls")
    calls = [_called(call) for call in calls] if isinstance(calls, list) else calls
    results: list[Body] = []
    if isinstance(parts, list) and ("parts" in message or any(map(_is_of_sdk, parts))):
        made["content"], of_parts, results = _of_parts(parts)
        calls = of_parts or calls
        if results and not calls and not made["content"]:
            return results
    elif isinstance(parts, list) and calls:
        made["content"] = [one for one in parts if _type(one) not in ("tool_use", "function_call")]
    made.pop("tool_calls", None)
    made |= {"tool_calls": calls} if calls else {}
    if made["role"] == "tool":
        made |= {"name": name} if isinstance(name := message.get("function"), str) else {}
        if "tool_call_id" not in made and "id" in made:
            made["tool_call_id"] = made.pop("id")
    return [made, *results]


def _called(call: Any) -> Any:
    """A call as chat messages have it, out of its flat form."""
    inner = call.get("tool_call", call) if isinstance(call, dict) else call
    if not isinstance(inner, dict) or "custom" in inner or isinstance(inner.get("function"), dict):
        return inner
    name = inner.get("name", inner.get("function"))
    return _call(inner.get("id"), name, inner.get("arguments", inner.get("args")))


def _call(call_id: Any, name: Any, arguments: Any) -> Body:
    text = arguments if isinstance(arguments, str) else json_text(arguments or {})
    return {"id": call_id, "type": "function", "function": {"name": name, "arguments": text}}


def _of_parts(parts: list[Any]) -> tuple[Any, list[Body], list[Body]]:
    """The content that parts are, their calls, and each result as a message of its own."""
    said: list[Any] = []
    calls: list[Body] = []
    results: list[Body] = []
    for part in parts:
        match part:
            case {"type": "text" | "reasoning" as kind, "content": str(text)}:
                said.append({"type": kind, "text": text})
            case {"type": "tool_call"}:
                calls.append(_call(part.get("id"), part.get("name"), part.get("arguments")))
            case {"type": "tool-call"} | {"toolCallId": _, "input": _}:
                given = part.get("input", part.get("args"))
                calls.append(_call(part.get("toolCallId"), part.get("toolName"), given))
            case {"type": "tool_call_response", "id": own_id}:
                results.append(_result(own_id, part.get("response", part.get("result"))))
            case {"type": "tool-result", "toolCallId": own_id}:
                output = part.get("output", part.get("result"))
                is_typed = isinstance(output, dict) and output.keys() == {"type", "value"}
                results.append(_result(own_id, output["value"] if is_typed else output))
            case _:
                said.append(part)
    match said:
        case [{"type": "text", "text": text}]:
            return text, calls, results
    return said or None, calls, results


def _result(call_id: Any, content: Any) -> Body:
    return {"role": "tool", "tool_call_id": call_id, "content": content}


def _type(part: Any) -> Any:
    return part.get("type") if isinstance(part, dict) else None


def _is_of_sdk(part: Any) -> bool:
    return str(_type(part)).startswith("tool-")
