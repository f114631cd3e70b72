"""The one reader of the shapes inside OpenAI's chat completions: words, calls, usage, tools.

Importing, recording and replay read these shapes here and nowhere else, so that none of them
takes for the same what another does not. What is odd voids itself alone, told as :class:`Unread`.

The shapes are those of the Chat Completions API (https://platform.openai.com/docs/api-reference/chat),
the older ``function_call`` and ``functions`` among them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal, InvalidOperation
from typing import Any, Final, Literal, NamedTuple, get_args

import msgspec

from refold import jsontext
from refold.conversation import events
from refold.core import jsonvalue
from refold.core.jsonvalue import pointer
from refold.errors import InvalidEvent, UsageError

Message = Mapping[str, Any]
Parts = list[dict[str, Any]]
Path = list[str | int]

DEPTH_MAX: Final = 100
"""How deep a message may nest: under what an event may, since it is wrapped in one."""

_EXACT: Final = msgspec.json.Decoder(float_hook=Decimal)
UNREAD_CALL: Final = {"type": "unread call"}
"""The part that an answer has in place of a call that is not understood."""

_TEXT_KINDS: Final = ("text", "input_text", "output_text", "refusal", "unread call", "unread words")
_THOUGHTS: Final = ("reasoning", "thinking", "redacted_thinking", "thought")
_KNOWN_OF_TOOL: Final = frozenset({"type", "function", "custom", "effect"})
_KNOWN_OF_FUNCTION: Final = frozenset({"name", "description", "parameters", "effect"})


class Unread(NamedTuple):
    """Something in a chat that is not understood, or has no place in an event.

    ``what`` it is part of, where it stands as a JSON Pointer into what was read, and why. A
    ``result`` is one that answers no call before it.
    """

    what: Literal["words", "call", "result", "choice", "usage", "tool", "field"]
    pointer: str
    reason: str

    @property
    def why(self) -> str:
        """The reason; without one it is a field that is not known here."""
        return self.reason or f"a field of a {self.what} that is not known here"


def read_words(message: Message, path: Path, unread: list[Unread]) -> tuple[str, Parts | None]:
    """What a message says: its text ("" for none), and its parts where it is more than text.

    A refusal and what audio says are words too. Text parts are joined; a refusal beside words
    follows them on a line of its own.
    """
    content = message.get("content")
    text = _content_text(content, [*path, "content"], unread)
    refusal = _content_text(message.get("refusal"), [*path, "refusal"], unread)
    if refusal not in ("", text):
        text = f"{text}\n{refusal}" if text else refusal
    if not text:
        text = _content_text(message.get("audio"), [*path, "audio"], unread)
    return text, _parts(content)


def attachments(parts: Sequence[Mapping[str, Any]] | None) -> list[str]:
    """The kinds of the parts that are not words: ``image_url``, ``input_audio`` and the like.

    Thoughts are none of them.
    """
    kinds: list[str] = []
    for part in parts or ():
        unread: list[Unread] = []
        kind = str(part.get("type", "part"))
        is_told = kind not in _THOUGHTS and not _part_text(part, [], unread)
        if is_told and (unread or kind not in _TEXT_KINDS):
            kinds.append(kind)
    return kinds


def with_marks(text: str, attachments: Sequence[str]) -> str:
    """Words, and a mark such as ``[image_url]`` for each of what stands beside them."""
    marks = [f"[{kind}]" for kind in attachments]
    return " ".join([text, *marks] if text else marks)


def more_than_words(parts: Parts | None) -> Parts:
    """The parts without thoughts, in their order; none where they are words alone."""
    told = [part for part in parts or () if part.get("type") not in _THOUGHTS]
    return told if attachments(told) else []


def has_unread(parts: Sequence[Mapping[str, Any]]) -> bool:
    """Whether one of the parts is not understood."""
    unread: list[Unread] = []
    _content_text(list(parts), [], unread)
    return bool(unread)


def read_calls(message: Message, path: Path, unread: list[Unread]) -> list[events.ToolCall]:
    """The tool calls of an assistant message; the older ``function_call`` is one of them."""
    items, legacy = message.get("tool_calls"), message.get("function_call")
    read: list[events.ToolCall | None] = []
    if isinstance(items, list):
        read = [_call(item, [*path, "tool_calls", n], unread) for n, item in enumerate(items)]
    elif items is not None:
        unread.append(Unread("call", pointer([*path, "tool_calls"]), "tool_calls must be a list"))
    calls = [call for call in read if call is not None]
    if legacy is not None:
        called = _call({"function": legacy}, path, unread, key="function_call")
        # Some servers write one call in both forms.
        if called is not None and not any(_is_one_call(called, call) for call in calls):
            calls.append(msgspec.structs.replace(called, call_id=function_id(called.name)))
    return calls


def _is_one_call(one: events.ToolCall, other: events.ToolCall) -> bool:
    said = [exact_arguments(call.arguments) for call in (one, other)]
    return (one.name, one.kind) == (other.name, other.kind) and jsonvalue.equal(*said)


def function_id(name: object) -> str:
    """The call id of the older function calls, which have none: a result is paired by its name."""
    return f"function:{name}"


def read_id(value: object) -> str:
    """The id of a call, "" where there is none."""
    return value if isinstance(value, str) else str(value) if type(value) is int else ""


def read_tools(items: object) -> tuple[list[events.Tool], list[Unread]]:
    """The tools of ``tools`` or the older ``functions``, and what of them is not kept.

    It may be JSON text, as data sets hold it. ``effect`` beside or inside a function says what
    the tool does: read, write, irreversible or unknown. What has no name, as the tools that a
    provider runs itself, is not kept.
    """
    tools: list[events.Tool] = []
    unread: list[Unread] = []
    if isinstance(items, str):
        try:
            items = jsontext.read(items)
        except (ValueError, UsageError, RecursionError) as error:
            return [], [Unread("tool", "", f"tools are not JSON: {error}")]
    if not isinstance(items, list):
        return [], [Unread("tool", "", "tools must be a list")]
    for index, item in enumerate(items):
        try:
            tools.append(_tool(item, [index], unread))
        except InvalidEvent as error:
            unread.append(Unread("tool", error.path, error.reason))
    return tools, unread


def described(call: events.ToolCall, tools: Sequence[events.Tool]) -> events.ToolCall:
    """A call with what the tool of its name says of it, where the call does not say it itself."""
    tool = next((tool for tool in tools if tool.name == call.name), None)
    if tool is None:
        return call
    return msgspec.structs.replace(
        call,
        schema_hash=call.schema_hash or tool.schema_hash,
        effect=tool.effect if call.effect == "unknown" else call.effect,
    )


# -- words ----------------------------------------------------------------------------------------


def _content_text(content: object, path: Path, unread: list[Unread]) -> str:
    match content:
        case None:
            return ""
        case str():
            return content
        case dict():
            return _part_text(content, path, unread)
        case list():
            texts = (_part_text(part, [*path, n], unread) for n, part in enumerate(content))
            return "".join(texts)
    unread.append(Unread("words", pointer(path), f"content is {as_said(content)}"))
    return ""


def _part_text(part: object, path: Path, unread: list[Unread]) -> str:
    match part:
        case {"type": kind} if kind in _THOUGHTS:
            return ""
        case (
            str(text)
            | {"text": str(text) | {"value": str(text)}}
            | {"refusal": str(text)}
            | {"transcript": str(text)}
        ):
            return text
        case {"type": str(kind)} if kind not in _TEXT_KINDS:
            return ""  # An image, a file, a sound: it has no words.
    unread.append(Unread("words", pointer(path), "a content part without words"))
    return ""


def _parts(content: object) -> Parts | None:
    """Content as parts; None where it is text alone."""
    content = [content] if isinstance(content, dict) else content
    if not isinstance(content, list) or not any(isinstance(part, dict) for part in content):
        return None
    if all(isinstance(part, dict) for part in content):
        return content
    texts = [{"type": "text", "text": part} if isinstance(part, str) else part for part in content]
    return [part for part in texts if isinstance(part, dict)]


# -- calls ----------------------------------------------------------------------------------------


def _call(item: object, path: Path, unread: list[Unread], key: str = "") -> events.ToolCall | None:
    """One call, or None with what is wrong with it; ``key`` is where its function stands."""
    try:
        if not isinstance(item, dict):
            raise refused("a tool call must be an object", path)
        kind = _kind(item) or "function"
        inside: Path = [*path, key or kind]
        function = item.get(kind)
        if not isinstance(function, dict):
            raise refused("a tool call must name its function", inside)
        name = _name(function, "a tool call must name its function", inside)
        arguments = _arguments(function, "input" if kind == "custom" else "arguments", inside)
    except InvalidEvent as error:
        unread.append(Unread("call", error.path, error.reason))
        return None
    return events.ToolCall(
        call_id=read_id(item.get("id")),
        name=name,
        arguments=arguments,
        parsed=None if kind == "custom" else parsed_arguments(arguments),
        kind=kind,
    )


def _kind(item: Message) -> events.ToolKind | None:
    """Which of its two forms a call or a tool has; None for neither."""
    return next(
        (kind for kind in get_args(events.ToolKind) if isinstance(item.get(kind), dict)), None
    )


def _name(function: Message, reason: str, path: Path) -> str:
    name = function.get("name")
    if not isinstance(name, str):
        raise refused(reason, [*path, "name"])
    return name


def _arguments(function: Message, key: str, path: Path) -> str:
    """The text of a call's arguments; some servers give the object where the API has its text."""
    arguments = function.get(key)
    if isinstance(arguments, str):
        return arguments
    check_json(arguments, [*path, key])
    return "" if arguments is None else json_text(arguments)


# -- tools ---------------------------------------------------------------------------


def _tool(item: object, path: Path, unread: list[Unread]) -> events.Tool:
    if not isinstance(item, dict):
        raise refused("a tool must be an object", path)
    kind = _kind(item)
    # A flat object is the older form of "functions".
    function = item if kind is None else item[kind]
    inside = path if kind is None else [*path, kind]
    check_json(item, path)
    name = _name(function, "a tool must have a name", inside)
    parameters = function.get("parameters") or {}
    if not isinstance(parameters, dict):
        raise refused("a tool's parameters must be an object", [*inside, "parameters"])
    known = _KNOWN_OF_FUNCTION | _KNOWN_OF_TOOL
    lost: list[Path] = [[*inside, key] for key in function if key not in known]
    description = function.get("description")
    if not isinstance(description, str | None):
        lost.append([*inside, "description"])
    if not isinstance(function.get("parameters"), dict | None):
        lost.append([*inside, "parameters"])
    if kind is not None:
        lost += [[*path, key] for key in item if key not in _KNOWN_OF_TOOL]
    unread += [Unread("tool", pointer(place), "") for place in lost]
    return events.Tool(
        name=name,
        description=description if isinstance(description, str) else "",
        parameters=parameters,
        schema_hash=events.sha256_of(parameters),
        effect=_effect(item.get("effect") or function.get("effect"), path, unread),
        kind=kind or "function",
    )


def _effect(effect: Any, path: Path, unread: list[Unread]) -> events.Effect:
    if effect is None or effect in get_args(events.Effect):
        return effect or "unknown"
    known = ", ".join(get_args(events.Effect))
    unread.append(Unread("tool", pointer(path), f"{effect!r} is not an effect: {known}"))
    return "unknown"


# -- JSON: what can be kept exactly, and what tool arguments say --------------------------------


def parsed_arguments(arguments: str) -> Any:
    """What a string of tool arguments says; None when it is not JSON that can be stored."""
    try:
        parsed = jsontext.read(arguments)
        check_json(parsed, [])
    except (ValueError, UsageError, InvalidEvent, RecursionError):
        return None
    return parsed


def exact_arguments(arguments: str) -> Any:
    """What tool arguments say, to compare: each number by its exact value, none at all as ``{}``.

    The text itself where it is not JSON; of a JSON string the JSON, as its text is another.
    """
    if not arguments.strip():
        return {}
    try:
        value = _EXACT.decode(arguments)
        jsonvalue.check(value)
    except (msgspec.DecodeError, UsageError, InvalidOperation, RecursionError):
        return arguments
    return {} if value is None else json_text(value) if isinstance(value, str) else value


def as_json(answer: Any) -> Any:
    """What an SDK's object says, as the API named it, without what nobody set; else as it is."""
    dump = getattr(answer, "model_dump", None)
    return answer if dump is None else dump(mode="json", by_alias=True, exclude_unset=True)


def json_text(value: Any) -> str:
    """A value as JSON text, numbers to the last digit."""
    return msgspec.json.Encoder(decimal_format="number").encode(value).decode()


def as_said(value: Any) -> str:
    """A value as an error names it: as JSON has it, text in quotes, in at most 50 characters."""
    try:
        text = repr(value) if isinstance(value, str | float) else json_text(value)
    except (TypeError, ValueError, OverflowError, RecursionError):
        text = repr(value)
    return text[:50]


def check_json(value: Any, path: Path) -> None:
    """Refuse what would come back changed, or not at all, from its stored JSON."""
    try:
        raw = msgspec.json.encode(value)
        if raw.count(b"{") + raw.count(b"[") > DEPTH_MAX:  # It may be as deep.
            jsonvalue.check(value, level=jsonvalue.DEPTH_MAX - DEPTH_MAX)
        if msgspec.json.decode(raw) == value:
            return
    except (UsageError, TypeError, ValueError, RecursionError):
        pass
    if len(path) >= DEPTH_MAX:
        raise refused(f"nested more than {DEPTH_MAX} levels deep", path)
    items = value.items() if isinstance(value, dict) else ()
    for key, child in enumerate(value) if isinstance(value, list) else items:
        if isinstance(value, dict) and not isinstance(key, str):
            raise refused(f"the key {key!r} is not text", path)
        check_json(child, [*path, key])
    raise refused(f"{as_said(value)} would not come back from JSON as it is", path)


def refused(reason: str, path: Path) -> InvalidEvent:
    """The error for what cannot be represented, with where it stands."""
    return InvalidEvent(reason, path=pointer(path))
