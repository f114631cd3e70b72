"""What is broken about an answer by itself, whatever was recorded."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import lru_cache
from typing import Any, Final, Literal, get_args
from unicodedata import category, name

import msgspec

from refold.conversation.chat_shapes import read_tools
from refold.conversation.events import AgentConfigured, Tool
from refold.core.recorded import Recorded
from refold.replay.decision import Action, Call
from refold.replay.json_schema import exact, misfit
from refold.replay.normalising import exactly

FaultKind = Literal[
    "own_limit", "filtered", "refused", "truncated", "not_offered", "broken_arguments", "empty"
]
"""How an answer can be broken; of several, the first here is its level, the cause of the others.

``own_limit``: there is none, as the request is more than the candidate takes (its context is too
short, it does not know a parameter). ``filtered``: the provider kept it back. ``refused``: the
model refused, and said so as the API does. ``truncated``: it was cut off. ``not_offered``: it calls
a tool that it was not offered. ``broken_arguments``: arguments of a call are no JSON, or not what
the schema of the tool asks for. ``empty``: it holds nothing, neither words nor calls nor anything
beside them.
"""
FAULTS: Final[tuple[FaultKind, ...]] = get_args(FaultKind)
Faults = dict[FaultKind, str]
"""What is broken about an answer, each with what is known of it; "" where the kind says it."""

_REASONS: Final[dict[str, FaultKind]] = {
    **dict.fromkeys(("length", "max_tokens", "max_output_tokens", "incomplete"), "truncated"),
    "model_context_window_exceeded": "truncated",
    **dict.fromkeys(("content_filter", "content_filtered", "guardrail_intervened"), "filtered"),
    **dict.fromkeys(("safety", "recitation", "blocklist", "prohibited_content"), "filtered"),
    **dict.fromkeys(("spii", "image_safety"), "filtered"),
    "refusal": "refused",
    "malformed_function_call": "broken_arguments",
}
"""Why an answer ended, in the words of the APIs that there are, lower case."""
CUT_OFF_MIN: Final = 16
"""Fewer characters than this are not taken for the beginning of something longer."""
_UNPARTED: Final = re.compile(
    "CJK|HIRAGANA|KATAKANA|HALFWIDTH|BOPOMOFO|THAI|LAO|KHMER|MYANMAR|TIBETAN|JAVANESE|BALINESE|TAI "
)
"""The names of letters of scripts that write words without blanks between them."""
_OWN_LIMIT: Final = re.compile(
    r"context.{0,12}(length|window|limit|size)|too (long|large|many tokens)|maximum.{0,30}tokens"
    r"|token.{0,20}(exceed|limit)|exceed.{0,40}token|unsupported|not support|unrecogni[sz]ed"
    r"|unknown (parameter|name|field|argument)|extra inputs|status 41[34]",
    re.IGNORECASE,
)
_FILTERED: Final = re.compile(
    r"content[ _-]?(filter|management|polic|moderation)|usage polic|safety (system|polic|setting)"
    r"|prompt was blocked|flagged|guardrail|requires moderation",
    re.IGNORECASE,
)
_URL: Final = re.compile(r"\bhttps?://\S+")
_REFUSALS: Final = ("refused: ", "garbage: the service's error: ")
_PASSES: Final = re.compile(r"status (401|402|403|404|408|409|429|5\d\d)\b")


class Offered(Mapping[str, Any]):
    """The tools that an answer could call: their schemas by name, with exact numbers.

    ``is_known`` is False where the record does not say what was offered.
    """

    def __init__(self, tools: Iterable[Tool], *, is_known: bool = True) -> None:
        self._schemas = {tool.name: exact(tool.parameters) for tool in tools}
        self.is_known = is_known

    def __getitem__(self, name: str) -> Any:
        return self._schemas[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._schemas)

    def __len__(self) -> int:
        return len(self._schemas)


UNKNOWN: Final = Offered((), is_known=False)


def offered_by(configured: Recorded | None) -> Offered:
    """The tools of a configuration in force.

    One without tools does not say that there were none: few sources name them.
    """
    if configured is None:
        return UNKNOWN
    if configured.kind == configured.stored_kind:
        with suppress(ValueError):
            return _read(configured.raw)
    return _among(configured.to_class(AgentConfigured))


def tools_by(configured: Recorded | None) -> dict[str, Tool]:
    """The tools of a configuration by name, with what each does to the world."""
    tools = [] if configured is None else configured.to_class(AgentConfigured).tools
    return {tool.name: tool for tool in tools}


def offered_in(tools: Sequence[Mapping[str, Any]] | None) -> Offered | None:
    """The tools of a variant; None where it leaves them as they were."""
    return None if tools is None else Offered(read_tools(list(tools))[0])


def faults_of(action: Action, offered: Offered = UNKNOWN) -> Faults:
    """What is broken about an answer, given the tools that it was offered."""
    found: Faults = {}
    reason = (action.finish_reason or "").lower()
    if (kind := _REASONS.get(reason)) is not None:
        found[kind] = f"ended with {action.finish_reason}"
    for call in action.calls:
        if offered.is_known and call.name not in offered:
            found.setdefault("not_offered", call.name)
        if (why := _odd_arguments(call, offered.get(call.name))) is not None:
            found.setdefault("broken_arguments", f"{call.name}: {why}")
    if not (action.calls or action.parts or is_visible(action.text)):
        found["empty"] = ""
    return {kind: found[kind] for kind in FAULTS if kind in found}


def is_cut_off(text: str, recorded: str) -> bool:
    """Whether words are the beginning of the recorded ones and end in the midst of a word.

    Only of more than a few words (a "No" begins "Nothing" too), and where blanks part words.
    """
    said, whole = text.strip(), recorded.strip()
    if len(said) < CUT_OFF_MIN or len(said) >= len(whole) or not whole.startswith(said):
        return False
    ends = said[-1] + whole[len(said)]
    return ends.isalnum() and not any(map(_UNPARTED.match, (name(one, "") for one in ends)))


def fault_in(error: str) -> FaultKind | None:
    """What is broken about a candidate that gave no answer, by ``kind: message``; None for nothing.

    Only a refusal of this very request says so: its provider keeps back what is asked or answered
    (``filtered``), or it is more than the candidate takes (``own_limit``). One of the key or of the
    rate does not, and neither does a fault of the service.
    """
    said = _URL.sub("", error)
    if not said.startswith(_REFUSALS):
        return None
    if _FILTERED.search(said):
        return "filtered"
    return "own_limit" if _OWN_LIMIT.search(said) and not _PASSES.search(said) else None


def is_visible(text: str) -> bool:
    """Whether a text has a character that is neither white space nor a mark of control."""
    return any(category(character)[0] not in "ZC" for character in text)


def _odd_arguments(call: Call, schema: Any) -> str | None:
    if call.kind == "custom":
        return None
    arguments = exactly(call)
    return misfit(arguments, schema) if isinstance(arguments, dict) else "no JSON object"


@lru_cache(maxsize=256)
def _read(raw: bytes) -> Offered:
    """Of a payload: most conversations of an agent have the same, to the byte."""
    return _among(msgspec.json.decode(raw, type=AgentConfigured))


def _among(configured: AgentConfigured) -> Offered:
    return Offered(configured.tools, is_known=bool(configured.tools))
