"""`refold replay`."""

from __future__ import annotations

import sys
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from shlex import join
from typing import TYPE_CHECKING, Any, Final

import click

from refold.cli import endpoint, output
from refold.cli.choosing import choosing, chosen
from refold.cli.compare import show_comparison
from refold.cli.errors import FAILED, FINDING, FINE
from refold.cli.free_run import FREE, free_run_of, free_run_options
from refold.cli.judge import ask, judge_of
from refold.cli.judging import CHANGED, gate_options, question_options, terms_of
from refold.cli.machines import machines_of, machines_option
from refold.cli.options import (
    as_given,
    command,
    int_option,
    named_store,
    no_effect,
    opened,
    option,
    read_by,
    together,
)
from refold.cli.printing import detail
from refold.cli.reading import reading_options
from refold.cli.results import Results, gated
from refold.cli.text import clean, counted
from refold.errors import UsageError

if TYPE_CHECKING:
    from refold import Store
    from refold.freerun import FreeRun
    from refold.replay import ChatEndpoint, Variant
    from refold.replay.runner import ReplaySummary
    from refold.replay.verify import Verification


NAMED_MAX: Final = 100
"""More conversations are not named on a line, which then says what it compares beside them."""
_OF_THE_VERDICT: Final = (
    *("primary", "guardrails", "margin", "cluster", "checks", "ignore", "peek", "inconclusive"),
    *("judge", "judge_prompt", "judge_api", "prices", "price_list"),
)
"""What a comparison must be told again for the same verdict, beside what differs by command."""
replay_options: Final = together(
    click.argument("streams", nargs=-1, metavar="[STREAM]..."),
    option("--category", metavar="NAME", help="All streams of this category too."),
    choosing(model="--recorded-model"),
    option(
        "--mode",
        type=click.Choice(["next-step", FREE, "verify"]),
        default="next-step",
        help="next-step asks at every recorded decision; free-run lets the candidate go on with "
        "its own answers; verify asks no one.",
    ),
    free_run_options,
    endpoint.variant_options,
    endpoint.base_url_option,
    int_option("--samples", 1, 100, default=1, help="Independent runs."),
    int_option("--workers", 1, 256, default=4, help="Requests at a time."),
    option(
        "--rps", "requests_per_second", type=float, metavar="X", help="Requests a second at most."
    ),
    option("--requests-per-minute", type=float, metavar="X", help="Requests a minute at most."),
    option(
        "--tokens-per-minute", type=float, metavar="X", help="Tokens a minute at most, both ways."
    ),
    option("--max-cost", type=read_by(endpoint.amount), metavar="USD", help="Spend no more."),
    int_option("--max-tokens", 0, 10**15, default=None, help="Use no more tokens, both ways."),
    option(
        "--outage",
        "outage_max_s",
        type=float,
        default=600.0,
        metavar="SECONDS",
        help="How long to wait while the service is away.",
    ),
    endpoint.api_option("--api"),
    option("--stream", is_flag=True, help="Have answers in pieces: the time to the first is kept."),
    option(
        "--timeout", type=float, default=120.0, metavar="SECONDS", help="How long one may take."
    ),
    int_option("--attempts", 1, 20, "attempts_max", default=5, help="Tries of one decision."),
    machines_option,
    endpoint.price_options,
    option("--control", "is_control", is_flag=True, help="Ask the recorded agent again too (A/A)."),
    question_options,
    gate_options,
    reading_options,
)


@command("replay")
@replay_options
def replay_command(**options: Any) -> int:
    """Ask another prompt or model the recorded questions.

    At each decision it sees the conversation exactly as it was recorded up to there, and answers
    once; with --mode free-run it goes on with its own answers instead, told what the recorded user
    said until it does something else, and its tool calls are answered from the record. The answers
    are kept on a branch of each conversation, so running again asks only what is missing.
    Conversations are those named, or of a category, and all that --since to --text say must hold of
    them. `refold compare` says how the answers differ. The key is read from REFOLD_API_KEY or
    OPENAI_API_KEY. Exits with 1 when a decision got no answer, the record does
    not verify or there is none to ask again, with 3 when nothing was answered.

    With --fail-on it is a gate, and exits with what came of it: 0 for better, equivalent or no
    change seen; 1 for worse, changed or over a threshold, as asked; 4 where that cannot be said,
    or the run is not complete. --fail-on changed asks the recorded agent again, in the same run.

        refold replay --category call --prompt new-prompt.txt --model openai:gpt-4o-mini
        refold replay call-42 call-43 --model openai:small --base-url http://127.0.0.1:8000/v1
        refold replay --last 7d --tool refund --with-error --prompt new-prompt.txt
        refold replay --last 7d --prompt new.md --fail-on worse --margin 2pt --report out.html
        refold replay --category call --mode free-run --user rules --prompt new.md
        refold replay --category call --mode verify
    """
    return run_replay(**options)


def run_replay(
    url: str, streams: tuple[str, ...], category: str | None, wanted: Any, mode: str, **options: Any
) -> int:
    """Replay as the options say, and judge what came of it where they ask for that."""
    with Results(options) as results:
        return _run(url, streams, category, wanted, mode, results, **options)


def _run(
    url: str,
    streams: tuple[str, ...],
    category: str | None,
    wanted: Any,
    mode: str,
    results: Results,
    **options: Any,
) -> int:
    if mode == "verify":
        no_effect("with --mode verify, which asks no one", *options, *results.paths)
        return _verify(url, chosen(url, streams, category, wanted))
    if wanted is not None and wanted.wanted.sample is not None:
        options["seed"] = wanted.wanted.seed
    free = free_run_of(mode, options, options["base_url"])
    return _asks(url, chosen(url, streams, category, wanted), results, free, **options)


def _verify(url: str, streams: dict[str, int | None]) -> int:
    from refold.replay import verify

    with opened(url) as store, output.progress("verify") as tell:
        found = verify(store, streams, progress=lambda done: tell(done, len(streams)))
    output.show(found, _verification_lines(found))
    return FINE if found.decisions and not found.mismatches else FINDING


def _asks(
    url: str,
    streams: dict[str, int | None],
    results: Results,
    free: FreeRun | None,
    *,
    base_url: str,
    timeout: float,
    api: str,
    stream: bool,
    samples: int,
    is_control: bool,
    fail_on: tuple[str, ...],
    inconclusive: str,
    **options: Any,
) -> int:
    from refold.replay import compare
    from refold.replay.arms import check_cluster

    judge_url = options["judge_url"] or base_url
    judging, changed = judge_of(options, base_url), endpoint.variant_of(options)
    mode = (changed if free is None else free.stamped(changed)).made
    terms = terms_of(options, fail_on, judging and judging[0], mode=mode)
    question = terms["question"]
    is_judged = is_control or fail_on or any(terms.values()) or any(results.paths.values())
    options = _with_budget(endpoint.prices_of(options))
    terms |= {"prices": options["prices"]}
    candidate = endpoint.endpoint(base_url, timeout_s=timeout, api=api, stream=stream)
    options["on"] = machines_of(url, options)
    with opened(url, mode="write", destination=candidate.url) as store:
        check_cluster(store, streams, question and question.cluster)
        endpoint.check_meant(store, streams)
        if base_url == endpoint.OPENAI_URL:
            output.note(f"asks {candidate.url}: --base-url names another")
        has_control = is_control or CHANGED in fail_on
        changed, control = _sides(store, streams, changed, free, candidate, has_control)
        if question is not None:
            options |= {"primary": question.primary, "margin": question.margin}
        options |= {"samples": samples, "control": control, "judge": judging and judging[0].id}
        options |= {} if free is None else {"mode": free}
        those = _among_others(store, changed, streams)
        line = _comparing(changed.id, control, those, fail_on, judge_url if judging else None)
        with _explained(store, streams, changed, line, samples):
            whole = _asked(store, streams, changed, candidate, options)
        outcome = max(map(_outcome, parts := whole.parts or [whole]))
        if outcome == FAILED:
            results.failed(whole.failures[0].error)
        if outcome == FAILED or not is_judged:
            _tell(parts, control, line)
            return outcome
        try:
            if judging is not None:
                sides = [(changed, None), (control, None)]
                ask(store, streams, sides, judging, **_of_judge(options, terms))
            found = compare(store, streams, changed, control=control, **terms)
            found, gate = results.write(store, found, fail_on, inconclusive)
        finally:
            _tell(parts, control, line)
        show_comparison(found)
    return gated(gate, fail_on) if fail_on else outcome


def _sides(
    store: Store,
    streams: Iterable[str],
    changed: Variant,
    free: FreeRun | None,
    candidate: ChatEndpoint,
    has_control: bool,
) -> tuple[Variant, Variant | None]:
    """The candidate and the control, as what their answers are kept as."""
    from refold.replay.control import control_of
    from refold.replay.plan import answered_by

    def kept(variant: Variant) -> Variant:
        return answered_by(store, variant if free is None else free.stamped(variant), candidate.url)

    changed = kept(changed)
    _tell_label(store, changed)
    return changed, kept(control_of(store, [*streams], changed)) if has_control else None


def _among_others(store: Store, variant: Variant, streams: Collection[str]) -> list[str]:
    """The streams by name, where the variant was tried on others before: these are not meant."""
    from refold.replay.plan import plan_of

    plan = plan_of(store, variant.id)
    are_others = plan is not None and not plan.versions.keys() <= {*streams}
    return [*streams] if are_others else []


def _asked(
    store: Store,
    streams: dict[str, int | None],
    changed: Variant,
    candidate: ChatEndpoint,
    options: dict[str, Any],
) -> ReplaySummary:
    from refold.replay import replay

    # What Ray says of lost workers, or code of the user's prints, is no data.
    with output.progress(f"replay {changed.id}") as tell, redirect_stdout(sys.stderr):
        options["progress"] = lambda done, total, *more: tell(done, total, detail(*more))
        whole = replay(store, streams, changed, candidate, waits=output.waits, **options)
    if whole.stopped:
        output.note(f"stopped: {whole.stopped}; the same command asks for the rest")
    return whole


def _tell(parts: Iterable[ReplaySummary], control: Variant | None, line: str) -> None:
    """Print what came of each variant and sample, and how to compare the candidate's."""
    for summary in parts:
        is_control = control is not None and control.id == summary.variant_id
        output.show(summary, _lines(summary, "" if is_control else line))


def _with_budget(options: dict[str, Any]) -> dict[str, Any]:
    """The options, with the one budget that the candidate and its judge have together."""
    from refold.replay.budget import Budget

    bounds = options["max_cost"], options["max_tokens"]
    return options | {"budget": Budget(*bounds, options["prices"])}


def _of_judge(options: dict[str, Any], terms: dict[str, Any]) -> dict[str, Any]:
    """How a judge is asked: as the candidate was, within what that left of the budget."""
    how = {name: options[name] for name in ("workers", "outage_max_s", "budget", "prices")}
    return how | {"ignore": terms["ignore"]}


def _tell_label(store: Store, changed: Variant) -> None:
    """Say where a label is that of another variant too: its prompt was edited since."""
    from refold.replay.plan import same_label

    for other in same_label(store, changed):
        output.note(
            f"the label {clean(changed.label or '')} is that of {other.id} too, which changes "
            f"something else; this is {changed.id}, asked for itself"
        )


@contextmanager
def _explained(
    store: Store, streams: Iterable[str], variant: Variant, line: str, samples: int
) -> Iterator[None]:
    """Say how to go on: where a run is interrupted, and where the record names no model."""
    try:
        yield
    except UsageError as error:
        if "at" not in error.facts:
            raise
        raise UsageError(
            f"the record of {error.at} names no model to ask for: give --model openai:NAME",
            at=error.at,
        ) from error
    except KeyboardInterrupt:
        from refold.replay import compare

        found = [compare(store, streams, variant, sample=n).figures for n in range(samples)]
        decisions = sum(one.decisions for one in found)
        left = sum(one.counts["missing"] + one.counts["failed"] for one in found)
        output.note(
            f"{decisions - left:,} of {counted(decisions, 'decision')} are answered and kept: "
            f"the same command asks for the rest, `{line}` shows them"
        )
        raise


def _outcome(summary: ReplaySummary) -> int:
    """A service that answered nothing failed; a decision left out, or none, is a finding.

    One that only refused what it does not take, or keeps back, has answered.
    """
    from refold.replay.faults import fault_in

    if not summary.failed:
        is_whole = summary.decisions and not summary.stopped and not summary.unreadable
        return FINE if is_whole else FINDING
    is_there = summary.answered or all(fault_in(one.error) for one in summary.failures)
    return FINDING if is_there else FAILED


def _verification_lines(found: Verification) -> Iterator[str]:
    for one in found.mismatches:
        yield clean(f"{one.at or one.stream}: {one.kind}: {one.detail}")
    yield (
        f"{counted(found.conversations, 'conversation')}, "
        f"{counted(found.decisions, 'decision')} verified, "
        f"{len(found.mismatches):,} not as recorded"
    )


def _lines(summary: ReplaySummary, line: str) -> Iterator[str]:
    from refold.replay.report.formatting import at_least
    from refold.replay.wording import money

    failures = [f"{failure.at}: {failure.error}" for failure in summary.failures]
    output.note_some(failures, len(failures), more="more failed", count=summary.failed)
    # Where the answers of another endpoint are the variant's own.
    at = f" at {clean(summary.variant.endpoint)}" if summary.variant.endpoint else ""
    tokens = "; tokens not known" if summary.requests else ""
    if (usage := summary.usage) is not None:
        tokens = f"{usage.input_tokens:,} tokens in, {usage.output_tokens:,} out"
        tokens = "; " + at_least(tokens, summary.usage_known, summary.requests)
    spent = at_least(money(summary.cost), summary.cost_known, summary.requests)
    cost = f", {spent}" if summary.cost is not None else ""
    every = counted(summary.conversations, "conversation")
    every += f", {counted(summary.decisions, 'decision')}"
    yield f"variant {summary.variant_id}{at}, sample {summary.sample}: {every}"
    if summary.excluded:
        every = counted(summary.excluded, "decision")
        output.note(f"{every} excluded: what led there is redacted or erased")
    yield (
        f"  {summary.kept:,} kept, {summary.answered:,} answered, {summary.failed:,} failed, "
        f"{counted(summary.requests, 'request')}{tokens}{cost}"
    )
    if line:
        yield f"  compare: {line}"


def _comparing(
    variant_id: str,
    control: Variant | None,
    streams: Sequence[str],
    fail_on: tuple[str, ...],
    judge_url: str | None,
) -> str:
    """The command that compares the same and comes to the same verdict, or what else it does."""
    words = ["refold", "compare", "--variant", variant_id]
    words += [] if control is None else ["--control", control.id]
    words += as_given(*_OF_THE_VERDICT)
    are_many = len(streams) > NAMED_MAX
    words += [] if are_many else streams
    words += [word for one in fail_on for word in ("--fail-on", one)]
    words += [] if judge_url is None else ["--judge-url", judge_url]
    more = "  # and all others that the variant was tried on" if are_many else ""
    return join(words) + named_store() + more
