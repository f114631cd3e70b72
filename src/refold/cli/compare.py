"""`refold compare`."""

from __future__ import annotations

from collections.abc import Iterator
from textwrap import wrap
from typing import TYPE_CHECKING, Any

import click
from msgspec.structs import replace

from refold.cli import endpoint, output
from refold.cli.choosing import Choice, choosing, fitting
from refold.cli.errors import FINDING, FINE
from refold.cli.options import command, count_option, no_effect, opened, option, report_option
from refold.cli.text import clean

if TYPE_CHECKING:
    from refold import Store
    from refold.replay.compare import Comparison
    from refold.replay.replays import Replay


@command("compare")
@click.argument("streams", nargs=-1, metavar="[STREAM]...")
@option("--category", metavar="NAME", help="Only conversations of this category.")
@choosing(model="--recorded-model", sample="--sample-size")
@option("--variant", "variant_name", metavar="ID|LABEL", help="Which replay, of several.")
@endpoint.variant_options
@count_option("--sample", default=0, help="Which of its runs.")
@option("--control", metavar="ID|LABEL", help="A replay with nothing changed (A/A): the noise.")
@count_option("--control-sample", default=0, help="Which run of the control.")
@option(
    "--check",
    "checks",
    multiple=True,
    metavar="CHECK",
    help="Also check both answers: a built-in one, as repeated_calls, or FILE.py:FUNCTION.",
)
@option(
    "--ignore",
    multiple=True,
    metavar="TOOL/FIELD",
    help="A field of arguments that does not count.",
)
@report_option()
@option(
    "--fail-on",
    multiple=True,
    type=click.Choice(["different", "failed"]),
    help="Exit with 1 when an action differs; with either, when a decision has no answer.",
)
def compare_command(
    url: str,
    streams: tuple[str, ...],
    category: str | None,
    wanted: Choice | None,
    variant_name: str | None,
    sample: int,
    control: str | None,
    control_sample: int,
    report: str | None,
    checks: tuple[str, ...],
    ignore: tuple[str, ...],
    fail_on: tuple[str, ...],
    **options: Any,
) -> int:
    """Compare replayed conversations with the recorded.

    Words, tools, arguments, cost and time, by decision and by conversation. The replay is named by
    its id or label, or by the same options that it was run with; without any it is the only one in
    the store. --control sets a replay that changed nothing beside it.

        refold compare --report report.html
        refold compare --variant 3f2a91c07b4d --control 0d9e55a1f3c2
        refold compare --json | jq .figures.by_decision
    """
    import refold.replay as engine
    from refold.replay.checks.reading import read_check
    from refold.replay.compare import json_pieces
    from refold.replay.report import write_report

    if variant_name is not None:
        no_effect("beside --variant, which names the replay", *options)
    if control is None:
        no_effect("without --control", "control_sample")
    if streams:
        no_effect("beside the names of streams", "category")
    with opened(url) as store:
        found = engine.replays(store)
        chosen = _chosen(found, variant_name, options)
        noise = None
        if control is not None:
            against = engine.find_replay(found, control)
            against.conversations(control_sample)  # Refuses a sample that was not run.
            noise = against.variant
        those = fitting(url, wanted, [*streams] or _conversations(store, chosen, sample, category))
        comparison = engine.compare(
            store,
            those,
            chosen.variant,
            control=noise,
            sample=sample,
            control_sample=control_sample,
            checks=[read_check(text) for text in checks],
            ignore=ignore,
        )
        if report is not None:
            write_report(comparison, report, read=store.read)
            output.note(f"wrote {report}")
        output.show_pieces(json_pieces(comparison), comparison_lines(comparison))
    return FINDING if fail_on and _is_finding(comparison, fail_on) else FINE


def _is_finding(comparison: Comparison, fail_on: tuple[str, ...]) -> bool:
    """Whether a gate is shut; each is over a decision without an answer, of the control too.

    What was not answered was not found alike, nor is what was answered all that there is.
    """
    sides = [side for side in (comparison, comparison.control) if side is not None]
    accounts = [side.figures.accounting for side in sides]
    counts = comparison.figures.counts
    is_different = "different" in fail_on and counts["tools"] + counts["arguments"] > 0
    return is_different or not all(0 < one.answered == one.decisions for one in accounts)


def comparison_lines(comparison: Comparison) -> Iterator[str]:
    """The figures of a comparison, for a person."""
    from refold.replay.report import summary

    outcome, *figures = summary(comparison).splitlines()
    yield output.styled(clean(outcome), bold=True)
    yield from map(clean, [*figures, ""])
    for text in wrap(comparison.not_measured, output.width()):
        yield output.styled(text, dim=True)


def _chosen(found: list[Replay], name: str | None, options: dict[str, Any]) -> Replay:
    """The replay of a name, or of the options that it was run with, whatever endpoint answered."""
    from refold.replay import find_replay

    changed = endpoint.variant_of(options)
    if name or changed == type(changed)():
        return find_replay(found, name)
    same = [one for one in found if replace(one.variant, endpoint=None) == changed]
    return find_replay(same) if same else find_replay(found, changed.id)


def _conversations(store: Store, chosen: Replay, sample: int, category: str | None) -> list[str]:
    """What the replay was to ask; of a category all there is, as that is what it is taken for."""
    planned = chosen.conversations(sample, category=category)
    of = () if category is None else store.streams(category=category)
    return list(dict.fromkeys([*planned, *(i.stream for i in of if "~" not in i.stream)]))
