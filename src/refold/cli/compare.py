"""`refold compare`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from textwrap import wrap
from typing import TYPE_CHECKING, Any, Final

import click

from refold.cli import endpoint, output
from refold.cli.errors import FINDING, FINE
from refold.cli.options import NEW_FILE, command, count_option, opened, option
from refold.cli.text import clean

if TYPE_CHECKING:
    from refold.replay.compare import Comparison


@command("compare")
@click.argument("streams", nargs=-1, metavar="[STREAM]...")
@option("--category", metavar="NAME", help="Only conversations of this category.")
@option(
    "--variant",
    "variant_name",
    metavar="ID|LABEL",
    help="Which replay; needed where there are several.",
)
@endpoint.variant_options
@count_option("--sample", default=0, help="Which of its runs.")
@option("--control", metavar="ID|LABEL", help="A replay with nothing changed (A/A): the noise.")
@count_option("--control-sample", default=0, help="Which run of the control.")
@option("--report", metavar="FILE", type=NEW_FILE, help="Write the comparison as one HTML file.")
@option(
    "--fail-on",
    multiple=True,
    type=click.Choice(["different", "failed"]),
    help="Exit with 1 when an action differs or none was compared, or a decision has no answer.",
)
def compare_command(
    url: str,
    streams: tuple[str, ...],
    category: str | None,
    variant_name: str | None,
    sample: int,
    control: str | None,
    control_sample: int,
    report: str | None,
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
    from refold.replay.report import write_report

    with opened(url) as store:
        found = engine.replays(store)
        chosen = engine.find_replay(found, variant_name or _described(options))
        noise = None
        if control is not None:
            against = engine.find_replay(found, control)
            against.conversations(control_sample)  # Refuses a sample that was not run.
            noise = against.variant
        comparison = engine.compare(
            store,
            streams or chosen.conversations(sample, category=category),
            chosen.variant,
            control=noise,
            sample=sample,
            control_sample=control_sample,
        )
        if report is not None:
            write_report(comparison, report, read=store.read)
            output.note(f"wrote {report}")
    output.show(comparison, comparison_lines(comparison))
    return FINDING if any(_GATES[gate](comparison.figures.counts) for gate in fail_on) else FINE


_GATES: Final[dict[str, Callable[[Mapping[str, int]], bool]]] = {
    # Where nothing was compared, nothing was found alike.
    "different": lambda n: n["tools"] + n["arguments"] > 0 or n["same"] + n["words"] == 0,
    "failed": lambda n: n["failed"] + n["missing"] > 0,
}


def comparison_lines(comparison: Comparison) -> Iterator[str]:
    """The figures of a comparison, for a person."""
    from refold.replay.report import summary

    outcome, *figures = summary(comparison).splitlines()
    yield output.styled(clean(outcome), bold=True)
    yield from map(clean, [*figures, ""])
    for text in wrap(comparison.not_measured, output.width()):
        yield output.styled(text, dim=True)


def _described(options: dict[str, Any]) -> str | None:
    """The id of the variant that the options describe; None where they describe none."""
    changed = endpoint.variant_of(options)
    return None if changed == type(changed)() else changed.id
