"""The top of the report: what came out, in plain words, each figure with a link to its turns."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from refold.replay.actions import LEVELS, NOT_COMPARED
from refold.replay.compare import Comparison, Control
from refold.replay.figures import Figures, Paired
from refold.replay.report.formatting import (
    MEANINGS,
    change,
    counted,
    interval,
    money,
    percent,
    signed,
)
from refold.replay.report.formatting import milliseconds as _ms
from refold.replay.report.markup import Child, Html, el, join, link, scrolling

DIFFERENT: Final = ("arguments", "tools")


def verdict(figures: Figures) -> str:
    """The outcome in one sentence."""
    rate = figures.by_decision
    if not rate.trials:
        return "No decision was compared"
    differing = rate.trials - rate.successes
    if not differing:
        return f"The candidate took the same action in all {counted(rate.trials, 'decision')}"
    return f"The candidate acted differently in {differing:,} of {rate.trials:,} decisions"


def cards(comparison: Comparison) -> Html:
    """The headline figures."""
    made = (card for card in _cards(comparison) if card is not None)
    return el("div", *made, cls="cards")


def levels(figures: Figures) -> Html:
    """How many decisions stand at each level, as a bar and as a table that says what they mean."""
    total = figures.decisions or 1
    counts = [(level, figures.counts[level]) for level in LEVELS]
    bar = el("div", *_segments(counts, total), cls="bar", aria_hidden="true")
    rows = [
        el(
            "tr",
            el("td", el("span", level, cls=f"badge {level}")),
            el("td", MEANINGS[level]),
            el("td", link(f"level:{level}", f"{count:,}") if count else "0", cls="number"),
            el("td", percent(count / total), cls="number"),
        )
        for level, count in counts
    ]
    names = ("Level", "The answers had", "Decisions", "Share")
    head = el("tr", *(el("th", name, scope="col") for name in names))
    table = el("table", el("thead", head), el("tbody", *rows), cls="levels")
    return join([bar, scrolling(table, "Levels")])


def small_bar(counts: Mapping[str, int]) -> Html:
    """The levels of one conversation as a bar; its text is for those who cannot see it."""
    total = sum(counts.values()) or 1
    said = ", ".join(f"{count} {level}" for level, count in counts.items() if count)
    segments = _segments(counts.items(), total)
    return el("div", *segments, cls="bar small", role="img", aria_label=said, title=said)


def noise_section(comparison: Comparison) -> Html | None:
    """What changes when nothing is changed, and how the candidate stands against that."""
    control = comparison.control
    if control is None:
        return None
    return el(
        "section",
        el("h2", "The noise floor"),
        el("p", *_noise(control)),
        el("p", *_paired(control.paired)),
        _pairs_table(control.paired),
        id="noise",
    )


def _cards(comparison: Comparison) -> Iterator[Html | None]:
    figures, control = comparison.figures, comparison.control
    rate, whole = figures.by_decision, figures.by_conversation
    other = rate.trials - rate.successes
    yield _card(
        "Same action, by decision",
        percent(rate.rate),
        f"{rate.successes:,} of {rate.trials:,}; {interval(rate)} (95 %, {_method(rate.method)})",
        link("different", f"the {counted(other, 'one that differs', 'that differ')}"),
    )
    yield _card(
        "Same action, whole conversation",
        percent(whole.rate),
        f"{whole.successes:,} of {whole.trials:,}; {interval(whole)} (95 %, Wilson)",
        link("same-throughout", "which ones"),
    )
    if control is not None:
        floor = control.figures.by_decision
        yield _card(
            "Noise floor, nothing changed",
            percent(floor.rate),
            f"{floor.successes:,} of {floor.trials:,} decisions were the same action again",
            link("noise", "how that was found"),
        )
    yield _cost(figures)
    yield _latency(figures)
    yield _left_out(figures)


def _card(name: str, value: Child, detail: Child, *more: Child) -> Html:
    return el(
        "div",
        el("h3", name),
        el("p", value, cls="value"),
        el("p", detail, cls="detail"),
        el("p", *more, cls="more") if any(more) else None,
        cls="card",
    )


def _method(method: str) -> str:
    return method.partition(",")[0]


def _cost(figures: Figures) -> Html | None:
    before, after = figures.recorded.cost, figures.candidate.cost
    if after is None:
        return None
    known = min(figures.recorded.cost_known, figures.candidate.cost_known)
    grown = change(before, after) if known == figures.decisions else ""
    said = f"recorded {money(before)}" if before is not None else "not known of the record"
    said += f", so {grown}" if grown else ""
    if figures.cost_delta is not None and known < figures.decisions:
        said += f"; {signed(money(figures.cost_delta))} where both are known"
    used = figures.candidate.usage
    tokens = f"; {used.input_tokens:,} tokens in, {used.output_tokens:,} out" if used else ""
    more = None if figures.cost_delta is None else link("dearer", "the largest differences")
    return _card("Cost", money(after), said + tokens, more)


def _latency(figures: Figures) -> Html | None:
    before, after = figures.recorded.latency, figures.candidate.latency
    if after is None:
        return None
    recorded = "not known of the record" if before is None else f"recorded {_ms(before.p50)}"
    ends = _ms(after.p95) if before is None else f"{_ms(before.p95)} → {_ms(after.p95)}"
    more = None if figures.latency_delta is None else link("slower", "the largest differences")
    return _card("Latency, median", _ms(after.p50), f"{recorded}; 95th percentile {ends}", more)


def _left_out(figures: Figures) -> Html | None:
    left_out = {level: figures.counts[level] for level in LEVELS if level in NOT_COMPARED}
    if not any(left_out.values()):
        return None
    said = " and ".join(f"{count:,} {level}" for level, count in left_out.items() if count)
    why = f"{said}; never counted as a difference"
    return _card(
        "Not compared", f"{sum(left_out.values()):,}", why, link("left-out", "which and why")
    )


def _segments(counts: Iterable[tuple[str, int]], total: int) -> Iterator[Html]:
    for level, count in counts:
        if count:
            width = f"width:{count / total * 100:.4g}%"
            yield el("span", cls=level, style=width)


def _noise(control: Control) -> Iterator[Child]:
    rate = control.figures.by_decision
    yield "The same conversations were replayed once more with nothing changed"
    for name in control.variant.params:
        yield join([" but ", el("code", name)])
    yield (
        f". {rate.successes:,} of {rate.trials:,} decisions were the same action again "
        f"({percent(rate.rate)}, {interval(rate)}). Only what the candidate changes beyond that "
        "can be the variant's doing. The answers are on the branches "
    )
    yield el("code", f"…~replay-{control.variant_id}-{control.sample}")
    yield "."


def _paired(paired: Paired) -> Iterator[Child]:
    if not paired.pairs:
        yield "No conversation was answered throughout by both: the two cannot be set side by side."
        return
    yield (
        f"Of {counted(paired.pairs, 'conversation')} answered throughout by both, "
        f"{paired.only_control:,} kept every action only when nothing was changed and "
        f"{paired.only_candidate:,} only with the variant. "
    )
    yield (
        f"Were the two alike, a split at least this uneven would come up with probability "
        f"{_probability(paired.p)} (exact McNemar test). "
    )
    if paired.smallest_effect is not None:
        yield (
            "With this many conversations, a difference of "
            f"{paired.smallest_effect * 100:.1f} percentage points would have been seen four times "
            "out of five"
        )
        yield f"; the one seen needs {paired.pairs_needed:,}." if paired.pairs_needed else "."


def _probability(p: float) -> str:
    if p >= 0.001:
        return f"{p:.3f}"
    return "under 0.001"


def _pairs_table(paired: Paired) -> Html | None:
    if not paired.pairs:
        return None
    head = el(
        "tr",
        el("td"),
        el("th", "candidate: same", scope="col"),
        el("th", "candidate: different", scope="col"),
    )
    rows = (
        ("nothing changed: same", paired.both, paired.only_control),
        ("nothing changed: different", paired.only_candidate, paired.neither),
    )
    body = [
        el("tr", el("th", name, scope="row"), *(el("td", f"{n:,}", cls="number") for n in counts))
        for name, *counts in rows
    ]
    caption = el("caption", "Conversations in which every action was the same as recorded")
    table = el("table", caption, el("thead", head), el("tbody", *body), cls="pairs")
    return scrolling(table, "Candidate against control")
