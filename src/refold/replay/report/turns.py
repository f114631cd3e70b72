"""A conversation side by side: what both saw, and at each decision what each of them did."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

import msgspec

from refold.core.recorded import Recorded, parts_of
from refold.replay.actions import CallPair, arguments_of
from refold.replay.conversations import ConversationComparison, DecisionComparison
from refold.replay.decision import Action, Call
from refold.replay.report.behaviour import value_text
from refold.replay.report.formatting import change, milliseconds, money, offset
from refold.replay.report.links import Places
from refold.replay.report.markup import Child, Html, clean, cut, el, join, left_off
from refold.replay.report.redacted import REDACTED, redacted_ids
from refold.replay.report.text_diff import compare_words, marked

RESULT_CHARS_SHOWN: Final = 160
RESULT_CHARS_MAX: Final = 1_500
ARGUMENT_CHARS_MAX: Final = 400
ARGUMENTS_SHOWN: Final = 30
SPAN_MIN_US: Final = 1_000_000

Nested = Mapping[str, Any]


def conversation_rows(
    conversation: ConversationComparison, history: Sequence[Recorded], places: Places
) -> Iterator[Html]:
    """The rows of a conversation; without a history only its decisions."""
    stream = conversation.stream
    decisions = {decision.at: decision for decision in conversation.decisions}
    clock_of = _clock(history)
    gone = redacted_ids(history)
    calls = {call.call_id: call.name for d in decisions.values() for call in d.recorded.calls}
    for recorded in parts_of(history):
        clock = clock_of(recorded)
        row = _seen_row(recorded, calls)
        # What was seen is no answer, though both may be parts of one event.
        decision = decisions.pop(recorded.id, None) if row is None else None
        if decision is not None:
            yield _decision_row(decision, places.meta(stream, recorded.id, clock, decision.level))
        elif row is not None:
            kind, content = (
                row if not gone & {recorded.id, recorded.origin_id} else (row[0], [REDACTED])
            )
            meta = places.meta(stream, recorded.id, clock)
            yield el("section", meta, el("div", *content, cls="both"), cls=f"row {kind}")
    for decision in decisions.values():
        yield _decision_row(decision, places.meta(stream, decision.at, "", decision.level))


def _clock(history: Sequence[Recorded]) -> Callable[[Recorded], str]:
    """The time since the start; nothing where all happened at once, as in an import."""
    moments = [recorded.occurred_at_us for recorded in history]
    started_us = min(moments, default=0)
    if max(moments, default=0) - started_us < SPAN_MIN_US:
        return lambda _: ""
    return lambda recorded: offset(recorded.occurred_at_us - started_us)


def _decision_row(decision: DecisionComparison, meta: Html) -> Html:
    """One decision: both answers side by side, or one where they are the same."""
    return el("section", meta, *_answers(decision), cls=f"row decision {decision.level}")


def _answers(decision: DecisionComparison) -> list[Html]:
    recorded, candidate = decision.recorded, decision.candidate
    if candidate is None:
        failed = el("p", decision.error or "It was not asked.", cls="said", dir="auto")
        return [
            _answer("Recorded", recorded, [recorded.text]),
            el("div", _who("Candidate"), failed),
        ]
    if decision.level == "same":
        return [_answer("Both", recorded, [recorded.text], cls="both")]
    olds, news = compare_words(cut(recorded.text)[0], cut(candidate.text)[0])
    pairs = {id(pair.recorded): pair for pair in decision.pairs}
    pairs |= {id(pair.candidate): pair for pair in decision.pairs}
    return [
        _answer("Recorded", recorded, [marked(olds, "del")], pairs, tag="del"),
        _answer("Candidate", candidate, [marked(news, "ins")], pairs, tag="ins", beside=recorded),
    ]


def _answer(
    who: str,
    action: Action,
    said: list[Child],
    pairs: Mapping[int, CallPair] | None = None,
    *,
    tag: str = "span",
    beside: Action | None = None,
    cls: str | None = None,
) -> Html:
    """One side's answer: its words, its calls, and what it took."""
    shown = said if isinstance(said[0], Html) else [cut(action.text)[0]]
    note = left_off(cut(action.text)[1])
    words = el("p", *shown, note, cls="said", dir="auto") if action.text.strip() else None
    found = pairs or {}
    calls = [_call(call, found.get(id(call)), tag) for call in action.calls]
    silent = None if words or calls else el("p", "said nothing and called nothing", cls="quiet")
    return el("div", _who(who, _took(action, beside)), words, *calls, silent, cls=cls)


def _who(name: str, took: Html | None = None) -> Html:
    return el("div", el("b", name), took, cls="who")


def _took(action: Action, beside: Action | None) -> Html | None:
    """Cost and latency of an answer, and by how much they differ from the other one's."""
    parts: list[str] = []
    if action.cost is not None:
        grown = change(beside.cost, action.cost) if beside else ""
        parts.append(money(action.cost) + (f" ({grown})" if grown else ""))
    if action.latency_ms is not None:
        parts.append(milliseconds(action.latency_ms))
    return el("span", " · ".join(parts), cls="took") if parts else None


# -- tool calls -----------------------------------------------------------------------------------


def _call(call: Call, pair: CallPair | None, tag: str) -> Html:
    """A call; ``tag`` marks it whole where the other side has none, else what changed in it."""
    is_own = pair is None and tag != "span"
    name: Child = el(tag, call.name) if is_own else call.name
    changed = _changed_keys(pair)
    title = el("div", el("code", name), cls="tool")
    return el("div", title, _arguments(call, changed, tag), cls="call")


def _changed_keys(pair: CallPair | None) -> dict[str, list[str]]:
    """The paths that differ, by the first key of each; under "" what differs as a whole."""
    found: dict[str, list[str]] = {}
    for operation in pair.changes if pair is not None else ():
        first, _, _ = operation.path.removeprefix("/").partition("/")
        key = first.replace("~1", "/").replace("~0", "~")
        found.setdefault(key, []).append(operation.path)
    return found


def _arguments(call: Call, changed: Mapping[str, list[str]], tag: str) -> Html | None:
    arguments = arguments_of(call)
    if not isinstance(arguments, dict):
        text, rest = cut(value_text(arguments, ARGUMENT_CHARS_MAX), ARGUMENT_CHARS_MAX)
        return el("pre", el(tag, text) if changed else text, left_off(rest))
    rows = [
        _argument(key, value, changed.get(key, []), tag if key in changed else "span")
        for key, value in list(arguments.items())[:ARGUMENTS_SHOWN]
    ]
    rest = len(arguments) - ARGUMENTS_SHOWN
    more = el("div", el("dd", f"… {rest:,} more arguments", cls="cut")) if rest > 0 else None
    return el("dl", *rows, more, cls="arguments") if rows else None


def _argument(key: str, value: Any, paths: list[str], tag: str) -> Html:
    text = value_text(value, ARGUMENT_CHARS_MAX)
    title = " ".join(paths) or None
    name = el("code", paths[0], cls="path") if paths else key
    return el("div", el("dt", name, title=title), el("dd", el(tag, text), dir="auto"))


# -- what both saw --------------------------------------------------------------------------------


def _seen_row(recorded: Recorded, calls: Mapping[str, str]) -> tuple[str, list[Child]] | None:
    """The kind and content of a row for something that happened; None for what is not shown."""
    data = recorded.data if isinstance(recorded.data, dict) else {}
    match recorded.type:
        case "user.utterance":
            return "user", _user(data)
        case "tool.result":
            return "result", _result(data, calls)
        case "model.failed":
            return "note", ["model failed: ", _text(data, "error")]
    note = _note(recorded.type, data)
    return None if note is None else ("note", [note])


def _user(data: Nested) -> list[Child]:
    text, rest = cut(_text(data, "text"))
    confidence = data.get("confidence")
    heard = None
    if isinstance(confidence, int | float):
        heard = el("span", f"recognised with {confidence:.0%} confidence", cls="took")
    said = el("p", text or "(nothing)", left_off(rest), cls="said", dir="auto")
    return [_who(_text(data, "party") or "User", heard), said]


def _result(data: Nested, calls: Mapping[str, str]) -> list[Child]:
    name = _text(data, "name") or calls.get(_text(data, "call_id"), "tool")
    value = data.get("result")
    text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
    title = el("span", el("code", name), " failed" if data.get("is_error") else " returned")
    if len(text) <= RESULT_CHARS_SHOWN:
        return [title, el("pre", text)]
    shown, rest = cut(text, RESULT_CHARS_MAX)
    length = el("span", f"{len(text):,} characters", cls="quiet")
    return [el("details", el("summary", title, " ", length), el("pre", shown, left_off(rest)))]


def _note(type_name: str, data: Nested) -> Child:
    """One line about an event that is neither words nor a tool; None for those not shown."""
    match type_name:
        case "session.started":
            return f"{_text(data, 'channel') or 'chat'} session started"
        case "session.ended":
            reason = _text(data, "reason") or "completed"
            return f"session ended: {reason}" + _after(data, "error")
        case "playback.interrupted":
            heard = el("q", cut(_text(data, "played_text"), 300)[0], dir="auto")
            return join(["cut in: the caller heard only ", heard])
        case "dtmf.received":
            return f"keys pressed: {_text(data, 'digits')}"
        case "call.transferred":
            return f"call transferred to {_text(data, 'to_party')}"
        case "call.held":
            return "call on hold"
        case "tool.decided":
            return f"tool call {_text(data, 'decision')} by {_text(data, 'approver')}"
    return None


def _after(data: Nested, name: str) -> str:
    text = _text(data, name)
    return f" ({cut(text, 300)[0]})" if text else ""


def _text(data: Nested, name: str) -> str:
    value = data.get(name)
    return clean(value) if isinstance(value, str) else ""
