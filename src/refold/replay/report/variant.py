"""What the variant changed: the prompt line by line, the model, the tools, the parameters."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from difflib import SequenceMatcher
from typing import Final

import msgspec

from refold.conversation.events import AgentConfigured, Prompt
from refold.core.recorded import Recorded, parts_of
from refold.replay.report.behaviour import value_text
from refold.replay.report.formatting import counted
from refold.replay.report.markup import Child, Html, cut, el, join, left_off
from refold.replay.report.redacted import REDACTED, redacted_ids
from refold.replay.report.text_diff import compare_words, marked
from refold.replay.request import configured_by
from refold.replay.variant import Variant

PROMPT_CHARS_MAX: Final = 40_000
CONTEXT_LINES: Final = 3
PAIRS_TRIED_MAX: Final = 2_500
"""Beyond this many pairs, lines are not compared for likeness: each is out, or in."""


class Recording(msgspec.Struct, frozen=True):
    """What the conversations were recorded under: each prompt and model, and how often."""

    prompts: dict[str, int]
    models: dict[str, int]


def recording_of(histories: Mapping[str, Sequence[Recorded]]) -> Recording:
    """The prompts and models of some conversations, the most frequent first."""
    configured = [_configured(history) for history in histories.values()]
    prompts = Counter(c.prompt.text for c in configured if c.prompt is not None)
    models = Counter(_model(c) for c in configured if c.model is not None)
    return Recording(dict(prompts.most_common()), dict(models.most_common()))


def _configured(history: Sequence[Recorded]) -> AgentConfigured:
    """The configuration that a conversation ended with, without a prompt that was redacted."""
    configured = configured_by(history)
    events = [event for event in parts_of(history) if event.type == "agent.configured"]
    if configured.prompt is None or not redacted_ids(history) & {
        events[-1].id,
        events[-1].origin_id,
    }:
        return configured
    return msgspec.structs.replace(configured, prompt=Prompt(REDACTED))


def _model(configured: AgentConfigured) -> str:
    return (
        f"{configured.model} ({configured.provider})"
        if configured.provider
        else f"{configured.model}"
    )


def variant_section(variant: Variant, variant_id: str, recording: Recording) -> Html:
    """The section that says what was changed."""
    facts = el("dl", *_facts(variant, variant_id, recording), cls="facts")
    return el(
        "section",
        el("h2", "What was changed"),
        facts,
        _prompt(variant, recording),
        id="variant",
    )


def _facts(variant: Variant, variant_id: str, recording: Recording) -> Iterator[Html]:
    recorded = ", ".join(recording.models)
    yield _fact("Variant", el("code", variant_id), f" {variant.label}" if variant.label else None)
    if variant.model is not None:
        yield _fact(
            "Model", el("del", recorded) if recorded else None, " ", el("ins", variant.model)
        )
    elif recorded:
        yield _fact("Model", recorded, el("span", " as recorded", cls="quiet"))
    if variant.tools is not None:
        names = (tool.get("function", tool).get("name", "?") for tool in variant.tools)
        yield _fact("Tools", ", ".join(map(str, names)) or "none")
    for name, value in variant.params.items():
        yield _fact(name, el("code", value_text(value)))
    if variant.prompt is None:
        yield _fact("Prompt", "as recorded")


def _fact(name: str, *value: Child) -> Html:
    return el("div", el("dt", name), el("dd", *value))


def _prompt(variant: Variant, recording: Recording) -> Html | None:
    if variant.prompt is None:
        return None
    before = next(iter(recording.prompts), "")
    lines = _lines(cut(before, PROMPT_CHARS_MAX)[0], cut(variant.prompt, PROMPT_CHARS_MAX)[0])
    rest = left_off(max(cut(text, PROMPT_CHARS_MAX)[1] for text in (before, variant.prompt)))
    several = None
    if len(recording.prompts) > 1:
        text = (
            f"The record has {counted(len(recording.prompts), 'prompt')}; this is the one of "
            f"{counted(recording.prompts[before], 'conversation')}."
        )
        several = el("p", text, cls="quiet")
    return join([several, el("div", *lines, rest, cls="prompt", role="group", aria_label="Prompt")])


def _lines(before: str, after: str) -> Iterator[Html]:
    """The two prompts as one text: lines kept, taken out, put in; changed ones word by word."""
    olds, news = before.splitlines(), after.splitlines()
    matcher = SequenceMatcher(None, olds, news, autojunk=False)
    for operation, i1, i2, j1, j2 in matcher.get_opcodes():
        if operation == "equal":
            yield from _kept(olds[i1:i2], is_first=i1 == 0, is_last=i2 == len(olds))
            continue
        for old, new in _pairs(olds[i1:i2], news[j1:j2]):
            own_old, own_new = compare_words(old or "", new or "")
            if old is not None:
                yield el("div", marked(own_old, "del") if new else el("del", old), cls="line out")
            if new is not None:
                yield el("div", marked(own_new, "ins") if old else el("ins", new), cls="line in")


def _pairs(olds: Sequence[str], news: Sequence[str]) -> Iterator[tuple[str | None, str | None]]:
    """Lines that are versions of each other side by side, the others alone; in order."""
    if len(olds) * len(news) > PAIRS_TRIED_MAX:
        yield from ((old, None) for old in olds)
        yield from ((None, new) for new in news)
        return
    start = 0
    for old in olds:
        alike = [_likeness(old, new) for new in news[start:]]
        best = max(alike, default=0.0)
        if best < 0.5:
            yield old, None
            continue
        place = start + alike.index(best)
        yield from ((None, new) for new in news[start:place])
        yield old, news[place]
        start = place + 1
    yield from ((None, new) for new in news[start:])


def _likeness(first: str, second: str) -> float:
    return SequenceMatcher(None, first.split(), second.split(), autojunk=False).ratio()


def _kept(lines: Sequence[str], *, is_first: bool, is_last: bool) -> Iterator[Html]:
    head = 0 if is_first else CONTEXT_LINES
    tail = 0 if is_last else CONTEXT_LINES
    if len(lines) <= head + tail + 1:
        yield from (el("div", line or " ", cls="line") for line in lines)
        return
    yield from (el("div", line or " ", cls="line") for line in lines[:head])
    yield el("div", f"… {counted(len(lines) - head - tail, 'line')} the same", cls="line quiet")
    yield from (el("div", line or " ", cls="line") for line in lines[len(lines) - tail :])
