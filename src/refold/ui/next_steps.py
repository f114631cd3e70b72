"""What to do next, as commands to copy: a page does none of it itself."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from decimal import Decimal
from shlex import quote
from typing import Any, Final, NamedTuple

from refold.replay.arms import measured
from refold.replay.compare import Comparison
from refold.replay.plan import ReplayPlan
from refold.replay.variant import Variant

STREAMS_MAX: Final = 100
"""More conversations are not named on a line."""
PROMPT_CHARS_MAX: Final = 20_000
_APIS: Final[dict[str, list[str]]] = {
    "/chat/completions": [],
    "/responses": ["--api", "responses"],
    "/messages": ["--api", "anthropic"],
}
"""How an endpoint is asked, by the end of its address."""
_FILES: Final = (".txt", ".md", ".prompt")


class NextStep(NamedTuple):
    """Something to do, and the words of the command that does it, each quoted for a shell."""

    why: str
    words: Sequence[str]


def of_marked(streams: Sequence[str], db: str = "") -> list[NextStep]:
    """What can be done with some conversations of the store at ``db``, "" for the usual one."""
    every = [
        ("Keep them as a dataset", ["datasets", "make", "marked"]),
        ("Ask another prompt, which is in prompt.txt", ["replay", "--prompt", "prompt.txt"]),
        ("Print them as chat messages", ["export", "openai-chat"]),
    ]
    return [_step(why, [*words, *_store(db), "--", *streams]) for why, words in every]


def after_replay(
    plan: ReplayPlan | None,
    comparison: Comparison,
    *,
    is_asked: bool,
    others: Sequence[str] = (),
    db: str = "",
) -> list[NextStep]:
    """What to do after a replay, by what came of it.

    ``is_asked``: all decisions have an answer. ``others`` are the categories of which there are
    more conversations than were asked.
    """
    primary, steps = comparison.verdicts.primary, list[NextStep]()
    again = None if plan is None else asking_again(plan, has_control=comparison.control is not None)
    if plan is not None and again is not None and not is_asked:
        why = "Ask what has no answer yet, and nothing twice"
        steps.append(_step(why, [*again, *_store(db), "--", *plan.versions]))
    elif again is not None and primary.answer == "inconclusive":
        why = "Ask the other conversations of {} too: more of them may tell"
        steps += [_step(why.format(of), [*again, *_store(db), f"--category={of}"]) for of in others]
    found = ["compare", *_store(db), *_comparing(plan, comparison)]
    word = "worse" if primary.metric.direction else "changed"
    said = f"Let a pipeline stop where it is {word}, or where that cannot be said"
    return [
        *steps,
        _step("Keep this as one page, to send", [*found, "--report", "replay.html"]),
        _step(said, [*found, "--fail-on", word]),
    ]


def asking_again(plan: ReplayPlan, *, has_control: bool) -> list[str] | None:
    """The command that a replay was begun with, but for what it was asked of.

    None where a line cannot say all of it, such as tools, or what stood in for them.
    """
    variant, terms = plan.variant, plan.terms
    api = next((api for end, api in _APIS.items() if (plan.endpoint or "").endswith(end)), None)
    is_sayable = (
        api is not None
        and plan.endpoint is not None
        and variant.tools is None
        and variant.mode is None
        and terms.sample == 0
        and terms.model == variant.model
        and len(plan.versions) <= STREAMS_MAX
        and (variant.prompt is None or _is_read_as_text(variant.prompt))
    )
    if not is_sayable or api is None or plan.endpoint is None:
        return None
    words = ["replay", "--base-url", plan.endpoint, *api, *_changing(variant)]
    words += ["--samples", str(terms.samples)] if terms.samples != 1 else []
    words += ["--control"] if has_control else []
    words += [] if terms.max_cost is None else ["--max-cost", f"{terms.max_cost:f}"]
    words += [] if terms.max_tokens is None else ["--max-tokens", str(terms.max_tokens)]
    return [*words, *_judged_by(plan)]


def _changing(variant: Variant) -> Iterator[str]:
    said = {
        "--prompt": variant.prompt,
        "--model": None if variant.model is None else f"openai:{variant.model}",
        "--label": variant.label,
        "--for-agent": variant.agent,
    }
    for option, value in said.items():
        yield from [] if value is None else [f"{option}={value}"]
    for name, value in variant.params.items():
        yield f"--param={name}={json.dumps(value)}"


def _comparing(plan: ReplayPlan | None, comparison: Comparison) -> list[str]:
    control = comparison.control
    words = ["--variant", comparison.variant_id]
    words += [] if control is None else ["--control", control.variant_id]
    return words + ([] if plan is None else _judged_by(plan))


def _judged_by(plan: ReplayPlan) -> list[str]:
    """What a replay is judged by, of what the commands take by themselves."""
    terms, words = plan.terms, list[str]()
    metric = measured(mode=plan.variant.made).get(terms.primary or "")
    if metric is not None:
        words += [f"--primary={metric.name}"]
        words += [] if terms.margin is None else [f"--margin={_amount(terms.margin, metric.unit)}"]
    for model, price in terms.prices.items():
        cached = [] if price.cached_input is None else [price.cached_input]
        told = ",".join(f"{one:f}" for one in (price.input, price.output, *cached))
        words.append(f"--price={model}={told}")
    return words


def _amount(value: float, unit: str) -> str:
    return (
        f"{Decimal(str(value)) * 100:f}pt" if unit == "share" else f"{Decimal(str(value)):f}{unit}"
    )


def _is_read_as_text(prompt: str) -> bool:
    """Whether a prompt given on a line is the prompt, and not the name of a file with it."""
    is_line = "\n" not in prompt.strip()
    is_file = not any(char.isspace() for char in prompt.strip()) or (
        is_line and (prompt.strip().lower().endswith(_FILES) or "/" in prompt)
    )
    return not (is_file or prompt.startswith("@")) and len(prompt) <= PROMPT_CHARS_MAX


def _store(db: str) -> list[str]:
    return ["--db", db] if db else []


def _step(why: str, words: Sequence[Any]) -> NextStep:
    return NextStep(why, ["refold", *map(quote, words)])
