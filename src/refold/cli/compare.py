"""`refold compare`."""

from __future__ import annotations

from collections.abc import Iterator
from textwrap import wrap
from typing import TYPE_CHECKING, Any, Final

import click

from refold.cli import endpoint, output
from refold.cli.errors import FINDING, FINE
from refold.cli.options import COUNT, command, new_file, opened, option
from refold.cli.text import clean

if TYPE_CHECKING:
    from refold.replay.compare import Comparison, Control
    from refold.replay.conversations import ConversationComparison
    from refold.replay.figures import Figures

CONVERSATIONS_SHOWN_MAX: Final = 10


@command(
    "compare",
    example="""
refold compare --report report.html
refold compare --variant 3f2a91c07b4d --control 0d9e55a1f3c2
refold compare --json | jq .figures.by_decision
""",
)
@click.argument("streams", nargs=-1, metavar="[STREAM]...")
@option("--category", metavar="NAME", help="Only conversations of this category.")
@option(
    "--variant",
    "variant_name",
    metavar="ID|LABEL",
    help="Which replay; needed where there are several.",
)
@endpoint.variant_options
@option("--sample", type=COUNT, default=0, metavar="N", help="Which of its runs.")
@option("--control", metavar="ID|LABEL", help="A replay with nothing changed (A/A): the noise.")
@option(
    "--control-sample",
    type=COUNT,
    default=0,
    metavar="N",
    help="Which run of the control.",
)
@option(
    "--report",
    metavar="FILE",
    callback=new_file,
    help="Write the comparison as one HTML file.",
)
@option(
    "--fail-on",
    multiple=True,
    type=click.Choice(["different", "failed"]),
    help="Exit with 1 when any action differs, or any decision has no answer.",
)
def compare_command(
    url: str,
    as_json: bool,
    streams: tuple[str, ...],
    category: str | None,
    variant_name: str | None,
    sample: int,
    control: str | None,
    control_sample: int,
    report: str | None,
    fail_on: tuple[str, ...],
    **variant: Any,
) -> int:
    """Compare replayed conversations with the recorded.

    Words, tools, arguments, cost and time, by decision and by conversation. The replay is named by
    its id or label, or by the same options that it was run with; without any it is the only one in
    the store. --control sets a replay that changed nothing beside it.
    """
    import refold.replay as engine
    from refold.replay.report import write_report

    with opened(url) as store:
        found = engine.replays(store)
        chosen = engine.find_replay(found, variant_name or _described(variant))
        noise = None if control is None else engine.find_replay(found, control)
        comparison = engine.compare(
            store,
            streams or chosen.conversations(sample, category=category),
            chosen.variant,
            control=None if noise is None else noise.variant,
            sample=sample,
            control_sample=control_sample,
        )
        if report is not None:
            write_report(comparison, report, read=store.read)
            output.note(f"wrote {report}")
    (output.json_line if as_json else print_comparison)(comparison)
    return FINDING if any(_GATES[gate](comparison.figures) for gate in fail_on) else FINE


_GATES: Final = {
    "different": lambda figures: figures.counts["tools"] + figures.counts["arguments"] > 0,
    "failed": lambda figures: figures.counts["failed"] + figures.counts["missing"] > 0,
}


def print_comparison(comparison: Comparison) -> None:
    """The figures of a comparison, for a person."""
    for text in _summary(comparison):
        output.line(text)


def _described(variant: dict[str, Any]) -> str | None:
    """The id of the variant that the options describe; None where none is given."""
    if not any(variant.values()):
        return None
    return endpoint.variant_of(**variant).id


def _summary(comparison: Comparison) -> Iterator[str]:
    from refold.replay.report.formatting import counted, verdict

    figures = comparison.figures
    label = f" ({comparison.variant.label})" if comparison.variant.label else ""
    yield output.styled(verdict(figures), bold=True)
    yield (
        f"variant {comparison.variant_id}{label}, sample {comparison.sample}: "
        f"{counted(figures.conversations, 'conversation')}, "
        f"{counted(figures.decisions, 'decision')}"
    )
    yield ""
    yield from _levels(figures)
    yield ""
    yield from _rates(figures)
    yield from _taken(figures)
    if figures.counts["missing"]:
        yield f"{figures.counts['missing']:,} decisions were not asked: run the same replay again"
    if comparison.control is not None:
        yield from _noise(comparison.control)
        unasked = comparison.control.figures.counts["missing"]
        if unasked:
            yield f"the control was not asked {unasked:,} decisions: run its replay again"
    yield from _places(comparison.conversations)
    yield ""
    for row in wrap(comparison.not_measured, output.width()):
        yield output.styled(row, dim=True)


def _levels(figures: Figures) -> Iterator[str]:
    from refold.replay.report.formatting import MEANINGS, percent

    for level, count in figures.counts.items():
        share = percent(count / figures.decisions if figures.decisions else None)
        yield f"  {level:<10}{count:>8,}  {share:>7}  {MEANINGS[level]}"


def _rates(figures: Figures) -> Iterator[str]:
    from refold.replay.report.formatting import interval, percent

    for what, rate in (
        ("decisions", figures.by_decision),
        ("conversations", figures.by_conversation),
    ):
        yield (
            f"same action in {percent(rate.rate)} of {rate.trials:,} {what}, "
            f"{interval(rate)} ({rate.method})"
        )


def _taken(figures: Figures) -> Iterator[str]:
    from refold.replay.report.formatting import change, milliseconds, money, signed

    old, new = figures.recorded, figures.candidate
    if old.cost is not None or new.cost is not None:
        grown = change(old.cost, new.cost)
        if min(old.cost_known, new.cost_known) < figures.decisions:
            # Sums over different decisions are no growth.
            grown = f"{signed(money(figures.cost_delta))} where both are known"
        yield f"cost {money(old.cost)} recorded, {money(new.cost)} candidate  {grown}".rstrip()
    if old.latency is not None or new.latency is not None:
        before = None if old.latency is None else old.latency.p50
        after = None if new.latency is None else new.latency.p50
        grown = change(before, after)
        told = f"{milliseconds(before)} recorded, {milliseconds(after)} candidate"
        yield f"median latency {told}  {grown}".rstrip()


def _noise(control: Control) -> Iterator[str]:
    from refold.replay.report.formatting import percent

    paired = control.paired
    rate = control.figures.by_conversation.rate
    yield (
        f"control {control.variant_id}, sample {control.sample}: same action in {percent(rate)} "
        f"of {control.figures.by_conversation.trials:,} conversations"
    )
    if paired.difference is not None:
        yield (
            f"candidate less control: {paired.difference * 100:+.1f} points over "
            f"{paired.pairs:,} pairs, p = {paired.p:.3g} (exact McNemar)"
        )
    if paired.smallest_effect is not None:
        yield f"smallest effect that so many pairs would show: {percent(paired.smallest_effect)}"


def _places(conversations: list[ConversationComparison]) -> Iterator[str]:
    """Where to look first: the conversations that part earliest from their record."""
    parted = [c for c in conversations if c.first_divergence is not None]
    if not parted:
        return
    yield ""
    yield f"{len(parted):,} conversations part from their record; the first decision where they do:"
    for conversation in parted[:CONVERSATIONS_SHOWN_MAX]:
        first = next(d for d in conversation.decisions if d.index == conversation.first_divergence)
        yield clean(f"  {first.at}  {first.level}, answered at {first.answer}")
    if len(parted) > CONVERSATIONS_SHOWN_MAX:
        yield f"  and {len(parted) - CONVERSATIONS_SHOWN_MAX:,} more (--json, --report)"
