"""`refold compare`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from decimal import Decimal
from textwrap import wrap
from typing import TYPE_CHECKING, Any, Final

import click
from msgspec.structs import replace

from refold.cli import endpoint, output
from refold.cli.choosing import Choice, choosing, fitting, selected
from refold.cli.errors import FINDING
from refold.cli.judge import ask, judge_of
from refold.cli.judging import CHANGED, gate_options, question_options, terms_of
from refold.cli.options import command, count_option, no_effect, opened, option, read_by
from refold.cli.reading import reading_options
from refold.cli.results import Results, gated
from refold.cli.text import clean
from refold.errors import UsageError

if TYPE_CHECKING:
    from refold import Store
    from refold.replay import Variant
    from refold.replay.compare import Comparison
    from refold.replay.decision import Price
    from refold.replay.judge import Judge
    from refold.replay.recorded import RecordedComparison
    from refold.replay.replays import Replay

DIFFERENT: Final = "different"
FAILED: Final = "failed"
"""Words of --fail-on that look at the answers themselves, and not at a verdict on them."""
_CHANGES: Final = ("prompt", "model", "tools", "params", "label", "for_agent")
_OF_REPLAYS: Final = (
    *("streams", "category", "variant_name", "sample", "control", "control_sample", "ignore"),
    *("judge", "judge_prompt", "judge_url", "judge_api", "max_cost"),
    *_CHANGES,
)


@command("compare")
@click.argument("streams", nargs=-1, metavar="[STREAM]...")
@option("--category", metavar="NAME", help="Only conversations of this category.")
@choosing(model="--recorded-model")
@option("--variant", "variant_name", metavar="ID|LABEL", help="Which replay, of several.")
@endpoint.variant_options
@count_option("--run", "sample", help="Which of its runs.  [default: all of them, averaged]")
@option("--control", metavar="ID|LABEL", help="A replay with nothing changed (A/A): the noise.")
@count_option("--control-run", "control_sample", help="Which run of the control.  [default: all]")
@option("--a", "first", metavar="SELECTION", help="Recorded conversations; no replay is needed.")
@option("--b", "second", metavar="SELECTION", help="Those to judge against them.")
@option("--pair-by", metavar="NAME", default="task", help="What those of --a and --b both did.")
@endpoint.price_options
@question_options
@option("--max-cost", type=read_by(endpoint.amount), metavar="USD", help="Of a judge: no more.")
@gate_options
@reading_options
def compare_command(
    url: str,
    first: str | None,
    second: str | None,
    pair_by: str,
    fail_on: tuple[str, ...],
    wanted: Choice | None,
    **options: Any,
) -> int:
    """Compare replayed conversations with the recorded, and say whether to ship the change.

    The verdict first, in plain words; then words, tools, arguments, cost and time, by decision and
    by conversation. The replay is named by its id or label, or by the same options that it was run
    with; without any it is the only one in the store. --control sets a replay that changed nothing
    beside it: what differs no more than that is noise. A candidate and its control are taken so by
    themselves where the store holds these two, of one run, and no other replay.

    --a and --b compare two recorded agents, models or weeks that did the same tasks. A SELECTION is
    a category, or what must hold of a conversation: agent=reception,last=7d.

    Exits with 0; with --fail-on it is a gate: 1 for a finding, 4 where nothing can be said.

        refold compare --report report.html
        refold compare --variant 3f2a91c07b4d --control 0d9e55a1f3c2 --fail-on worse --margin 2pt
        refold compare --a model=gpt-4o --b model=gpt-4o-mini --pair-by task
        refold compare --json | jq .figures.by_decision
    """
    options = endpoint.prices_of(options)
    if (first is None) != (second is None):
        raise UsageError("--a and --b go together: give both")
    if first is not None and second is not None:
        no_effect("with --a and --b", *_OF_REPLAYS)
        with Results(options) as results:
            return _recorded(url, first, second, pair_by, fail_on, results, options)
    no_effect("without --a and --b", "pair_by")
    with Results(options) as results:
        return _replayed(url, wanted, fail_on, results, **options)


def _replayed(
    url: str,
    wanted: Choice | None,
    fail_on: tuple[str, ...],
    results: Results,
    *,
    streams: tuple[str, ...],
    category: str | None,
    variant_name: str | None,
    sample: int | None,
    control: str | None,
    control_sample: int | None,
    prices: dict[str, Price],
    max_cost: Decimal | None,
    inconclusive: str,
    **options: Any,
) -> int:
    import refold.replay as engine
    from refold.replay.replays import only_pair

    _check_said(variant_name, control, streams, options["judge"])
    changed = endpoint.variant_of(options)
    if not (variant_name or control) and changed == type(changed)():
        with opened(url) as store:
            variant_name, control = only_pair(store) or (None, None)
    words = {*fail_on} & {DIFFERENT, FAILED}
    asked = [word for word in fail_on if word not in words]
    if DIFFERENT in words and control is not None:
        # Beside a control, only what is more than noise is different.
        words, asked = words - {DIFFERENT}, [*asked, CHANGED]
    judging = judge_of(options)
    with opened(url, mode="read" if judging is None else "write") as store:
        found = engine.replays(store)
        chosen = _chosen(found, variant_name, changed)
        terms = _terms(store, chosen, options, asked, judging and judging[0])
        noise = None if control is None else _noise(found, control, control_sample)
        those = fitting(url, wanted, [*streams] or _conversations(store, chosen, sample, category))
        if judging is not None:
            sides = [(chosen.variant, sample), (noise, control_sample)]
            how = {"ignore": terms["ignore"], "prices": prices, "max_cost": max_cost}
            ask(store, those, sides, judging, **how)
        comparison = engine.compare(
            store,
            those,
            chosen.variant,
            control=noise,
            sample=sample,
            control_sample=control_sample,
            prices=prices,
            **terms,
        )
        comparison, gate = results.write(store, comparison, asked, inconclusive)
        show_comparison(comparison)
    outcome = gated(gate, asked)
    return FINDING if words and _is_finding(comparison, words) else outcome


def _terms(
    store: Store, chosen: Replay, options: dict[str, Any], asked: list[str], judge: Judge | None
) -> dict[str, Any]:
    """What is asked of a comparison: what the plan declared decides, unless something else is said.

    A gate for changes alone asks about calls, whatever was to decide.
    """
    from refold.replay.arms import Question, declared_question
    from refold.replay.checks.reading import read_check
    from refold.replay.plan import plan_of

    declared, is_margin_said = Question(), options["margin"] is not None
    if options["primary"] is None and set(asked) != {CHANGED}:
        checks = [read_check(text) for text in options["checks"]]
        declared, notes = declared_question(plan_of(store, chosen.variant.id), checks, judge)
        options["primary"] = None if declared == Question() else declared.primary
        for note in notes:
            output.note(note)
    terms = terms_of(options, asked, judge)
    if declared.margin is None or is_margin_said:
        return terms
    return terms | {"question": replace(terms["question"], margin=declared.margin)}


def _check_said(
    variant_name: str | None, control: str | None, streams: Sequence[str], judge: str | None
) -> None:
    """Refuse what would be passed over."""
    if variant_name is not None:
        no_effect("beside --variant, which names the replay", *_CHANGES)
    if control is None:
        no_effect("without --control", "control_sample")
    if streams:
        no_effect("beside the names of streams", "category")
    if judge is None:
        no_effect("without --judge", "max_cost")


def _noise(found: list[Replay], control: str, sample: int | None) -> Variant:
    from refold.replay import find_replay

    against = find_replay(found, control)
    if sample is not None:
        against.conversations(sample)  # Refuses a sample that was not run.
    return against.variant


def show_comparison(comparison: Comparison | RecordedComparison) -> None:
    """Print a comparison."""
    from refold.replay.compare import json_pieces

    output.show_pieces(json_pieces(comparison), comparison_lines(comparison))


def _recorded(
    url: str,
    first: str,
    second: str,
    pair_by: str,
    fail_on: tuple[str, ...],
    results: Results,
    options: dict[str, Any],
) -> int:
    from refold.replay.recorded import compare_recorded, of_recorded

    if options["primary"] is None and options["margin"] is not None:
        raise UsageError("--margin is of what decides: say that too, as --primary reward")
    judge_of(options)
    terms = terms_of(options, fail_on, measuring=of_recorded)
    del terms["ignore"]  # No answers are set against each other.
    sides = [selected(url, first, "--a"), selected(url, second, "--b")]
    with opened(url) as store:
        found = compare_recorded(store, *sides, pair_by=pair_by, prices=options["prices"], **terms)
        found, gate = results.write(store, found, fail_on, options["inconclusive"])
        show_comparison(found)
    return gated(gate, fail_on)


def _is_finding(comparison: Comparison, words: set[str]) -> bool:
    """Whether an action differs; or a decision has no answer, of the control too.

    What was not answered was not found alike, nor is what was answered all that there is. What
    follows a candidate's first other action is no such thing: no answer was to be held against it.
    """
    sides = [side for side in (comparison, comparison.control) if side is not None]
    accounts = [side.figures.accounting for side in sides]
    is_different = DIFFERENT in words and comparison.partings > 0
    is_whole = not comparison.unreadable and all(
        0 < one.answered == one.decisions - one.later - one.conditional for one in accounts
    )
    return is_different or not is_whole


def comparison_lines(comparison: Comparison | RecordedComparison) -> Iterator[str]:
    """The figures of a comparison, for a person."""
    from refold.replay.report import summary

    outcome, *figures = summary(comparison).splitlines()
    yield output.styled(clean(outcome), bold=True)
    yield from map(clean, [*figures, ""])
    for text in wrap(comparison.not_measured, output.width()):
        yield output.styled(text, dim=True)


def _chosen(found: list[Replay], name: str | None, changed: Variant) -> Replay:
    """The replay of a name, or of the options that it was run with, whatever endpoint answered."""
    from refold.replay import find_replay

    if name or changed == type(changed)():
        return find_replay(found, name)
    same = [one for one in found if replace(one.variant, endpoint=None) == changed]
    return find_replay(same) if same else find_replay(found, changed.id)


def _conversations(
    store: Store, chosen: Replay, sample: int | None, category: str | None
) -> list[str]:
    """What the replay was to ask; of a category all there is, as that is what it is taken for."""
    samples = sorted(chosen.streams) if sample is None else [sample]
    planned = [one for n in samples for one in chosen.conversations(n, category=category)]
    of = () if category is None else store.streams(category=category)
    return list(dict.fromkeys([*planned, *(i.stream for i in of if "~" not in i.stream)]))
