"""Chat messages as the requests of the other APIs: what is asked of one is asked of each."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from typing import Any, Final

from refold.conversation.apis.base import Body
from refold.conversation.chat_shapes import json_text, parsed_arguments

API_NAMES: Final = {
    "chat": "openai.chat",
    "responses": "openai.responses",
    "anthropic": "anthropic.messages",
    "gemini": "gemini.generate_content",
}
"""The names that users give, and those of the readers."""
ANSWER_TOKENS: Final = 4_096
"""What Anthropic is told where nobody says how long an answer may be: it wants a number."""
_LENGTHS: Final = ("max_completion_tokens", "max_tokens", "max_output_tokens")
_OPENAI_ALONE: Final = frozenset(
    {
        *("seed", "frequency_penalty", "presence_penalty", "logit_bias", "logprobs", "store"),
        *("top_logprobs", "user", "parallel_tool_calls", "stream_options", "response_format"),
    }
)
_GEMINI: Final = {
    **{"top_p": "topP", "top_k": "topK", "stop": "stopSequences"},
    **dict.fromkeys(_LENGTHS, "maxOutputTokens"),
}
_CHOICES: Final = {"auto": "auto", "required": "any", "none": "none"}


def written(
    api: str, model: str | None, messages: Sequence[Body], tools: Sequence[Body], params: Body
) -> Body:
    """The body of a request; ``api`` is one of :data:`API_NAMES`.

    ``messages``, ``tools`` and ``params`` are as in chat completions. Parameters that only OpenAI
    has are left out for others; what has another name there has that.
    """
    match api:
        case "responses":
            items = [item for message in messages for item in _items(message)]
            body = {"model": model, "input": items, **_renamed(params, "max_output_tokens")}
            return {**body, **({"tools": [_flat(tool) for tool in tools]} if tools else {})}
        case "anthropic":
            return _anthropic(model, messages, tools, params)
        case "gemini":
            return _gemini(messages, tools, params)
    return {
        **params,
        "model": model,
        "messages": [*messages],
        **({"tools": tools} if tools else {}),
    }


def _renamed(params: Body, length: str) -> Body:
    """The parameters with the length of an answer under this name."""
    return {length if name in _LENGTHS else name: value for name, value in params.items()}


def _parts(content: Any) -> list[Body]:
    if isinstance(content, str):
        return [{"type": "text", "text": content}] if content else []
    return [part for part in content or () if isinstance(part, dict)]


def _text(message: Body) -> str:
    return "\n".join(str(part["text"]) for part in _parts(message["content"]) if "text" in part)


def _image(part: Body) -> str:
    said = part.get("image_url")
    return str(said.get("url", "") if isinstance(said, Mapping) else said or "")


# -- OpenAI's Responses ---------------------------------------------------------------------------


def _items(message: Body) -> Iterable[Body]:
    role, content = message.get("role"), message.get("content")
    if role == "tool":
        call_id = message.get("tool_call_id")
        yield {"type": "function_call_output", "call_id": call_id, "output": content}
        return
    if isinstance(content, list) and role == "user":
        content = [_input(part) for part in content]
    if content:
        yield {"role": role, "content": content}
    for call in message.get("tool_calls") or ():
        own = {"call_id": call["id"], **call.get(call["type"], {})}
        yield {"type": "custom_tool_call" if call["type"] == "custom" else "function_call", **own}


def _input(part: Body) -> Body:
    if part.get("type") == "image_url":
        return {"type": "input_image", "image_url": _image(part)}
    return {"type": "input_text", "text": part["text"]} if part.get("type") == "text" else part


def _flat(tool: Body) -> Body:
    kind = tool.get("type", "function")
    return {"type": kind, **tool[kind]} if isinstance(tool.get(kind), dict) else tool


# -- Anthropic's Messages -------------------------------------------------------------------------


def _anthropic(
    model: str | None, messages: Sequence[Body], tools: Sequence[Body], params: Body
) -> Body:
    said = {name: value for name, value in params.items() if name not in _OPENAI_ALONE}
    said = {"max_tokens": ANSWER_TOKENS, **_renamed(said, "max_tokens")}
    if (stop := said.pop("stop", None)) is not None:
        said["stop_sequences"] = [stop] if isinstance(stop, str) else stop
    choice = said.get("tool_choice")
    if isinstance(choice, str):
        said["tool_choice"] = {"type": _CHOICES.get(choice, choice)}
    elif isinstance(choice, dict) and "function" in choice:
        said["tool_choice"] = {"type": "tool", "name": choice["function"]["name"]}
    prompt, rest = _with_prompt_apart(messages)
    turns = [("assistant" if m["role"] == "assistant" else "user", _blocks(m)) for m in rest]
    body = {"model": model, **({"system": prompt} if prompt else {}), **said}
    body["messages"] = [
        {"role": role, "content": [block for _, blocks in group for block in blocks]}
        for role, group in groupby((turn for turn in turns if turn[1]), key=lambda turn: turn[0])
    ]
    if tools:
        own = [_flat(tool) for tool in tools]
        body["tools"] = [
            {
                "name": tool.get("name"),
                "description": tool.get("description", ""),
                "input_schema": tool.get("parameters") or {"type": "object"},
            }
            for tool in own
        ]
    return body


def _with_prompt_apart(messages: Sequence[Body]) -> tuple[str, list[Body]]:
    """The prompts that come before all else, together, and the other messages."""
    first = next((n for n, m in enumerate(messages) if not _instructs(m)), len(messages))
    return "\n\n".join(_text(message) for message in messages[:first]), [*messages[first:]]


def _instructs(message: Body) -> bool:
    return message.get("role") in ("system", "developer")


def _blocks(message: Body) -> list[Body]:
    if message["role"] == "tool":
        own_id, content = message.get("tool_call_id"), message.get("content")
        return [{"type": "tool_result", "tool_use_id": own_id, "content": content or ""}]
    blocks = [_block(part) for part in _parts(message.get("content"))]
    for call in message.get("tool_calls") or ():
        name, given = _called(call)
        blocks.append({"type": "tool_use", "id": call["id"], "name": name, "input": given})
    return blocks


def _called(call: Body) -> tuple[str, Body]:
    own = call.get(call["type"], {})
    given = parsed_arguments(own.get("arguments") or "{}") if "input" not in own else own["input"]
    return own.get("name", ""), given if isinstance(given, dict) else {"input": given}


def _block(part: Body) -> Body:
    if part.get("type") != "image_url":
        return part
    url = _image(part)
    kind, _, data = url.removeprefix("data:").partition(";base64,")
    if not url.startswith("data:"):
        return {"type": "image", "source": {"type": "url", "url": url}}
    return {"type": "image", "source": {"type": "base64", "media_type": kind, "data": data}}


# -- Gemini's generateContent ---------------------------------------------------------------------


def _gemini(messages: Sequence[Body], tools: Sequence[Body], params: Body) -> Body:
    prompt, rest = _with_prompt_apart(messages)
    names = {call["id"]: _called(call)[0] for m in rest for call in m.get("tool_calls") or ()}
    turns = [("model" if m["role"] == "assistant" else "user", _pieces(m, names)) for m in rest]
    kept = {k: v for k, v in params.items() if k not in _OPENAI_ALONE - {"seed"}}
    kept.pop("tool_choice", None)
    config = {_GEMINI.get(name, name): value for name, value in kept.items()}
    body: Body = {
        "contents": [
            {"role": role, "parts": [piece for _, pieces in group for piece in pieces]}
            for role, group in groupby((t for t in turns if t[1]), key=lambda turn: turn[0])
        ]
    }
    if prompt:
        body["systemInstruction"] = {"parts": [{"text": prompt}]}
    if tools:
        own = ({**_flat(tool), "type": None} for tool in tools)
        names_of = {"parameters": "parametersJsonSchema"}
        declared = [{names_of.get(k, k): v for k, v in t.items() if v is not None} for t in own]
        body["tools"] = [{"functionDeclarations": declared}]
    return {**body, **({"generationConfig": config} if config else {})}


def _pieces(message: Body, names: Mapping[str, str]) -> list[Body]:
    if message["role"] == "tool":
        said = message.get("content")
        read = parsed_arguments(said) if isinstance(said, str) else said
        response = read if isinstance(read, dict) else {"result": said}
        name = message.get("name") or names.get(message.get("tool_call_id") or "", "")
        return [{"functionResponse": {"name": name, "response": response}}]
    pieces: list[Body] = [_piece(part) for part in _parts(message.get("content"))]
    for call in message.get("tool_calls") or ():
        name, given = _called(call)
        pieces.append({"functionCall": {"name": name, "args": given}})
    return pieces


def _piece(part: Body) -> Body:
    if part.get("type") == "text":
        return {"text": part["text"]}
    kind, _, data = _image(part).removeprefix("data:").partition(";base64,")
    if data:
        return {"inlineData": {"mimeType": kind, "data": data}}
    return {"fileData": {"fileUri": kind}} if kind else {"text": json_text(part)}
