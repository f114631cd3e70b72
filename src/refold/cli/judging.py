"""The options that say what a comparison is to answer and when it stops a change; and its files."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import click
from msgspec.structs import replace

from refold.cli.judge import judge_options
from refold.cli.options import new_file, option, report_option, together
from refold.cli.text import clean
from refold.errors import UsageError

if TYPE_CHECKING:
    from refold.replay.checks.seen import NamedCheck
    from refold.replay.judge import Judge
    from refold.replay.metrics import Metric

CHANGED: Final = "changed"

question_options: Final = together(
    option("--primary", metavar="METRIC", help="The metric that decides: broken_answers, …"),
    option(
        "--guardrail",
        "guardrails",
        multiple=True,
        metavar="METRIC[=AMOUNT]",
        help="Must not get worse, or by no more than cost=0.01USD.",
    ),
    option("--margin", metavar="AMOUNT", help="How much does not matter: 2pt of a share, 0.01USD."),
    option("--cluster", metavar="NAME", help="What is not independent together: task, customer."),
    option(
        "--check",
        "checks",
        multiple=True,
        metavar="CHECK",
        help="Also check both answers: a built-in one, as repeated_calls, or FILE.py:FUNCTION.",
    ),
    option("--ignore", multiple=True, metavar="TOOL/FIELD", help="An argument that says nothing."),
    judge_options,
    option("--peek", is_flag=True, help="Somebody looks before it is over: wider intervals."),
)
"""What is asked, declared before the answers are looked at; :func:`terms_of` takes it."""

gate_options: Final = together(
    option(
        "--fail-on",
        multiple=True,
        metavar="WHAT",
        help="Exit with 1 when worse, changed, or over a threshold such as cost>0.05; else with 4 "
        "when that cannot be said.",
    ),
    option(
        "--inconclusive",
        type=click.Choice(["fail", "pass", "not-worse"]),
        default="fail",
        help="What becomes of a complete run of which nothing can be said, or only that it is not "
        "worse.",
    ),
    option("--junit", type=new_file("JUnit XML", ".xml"), metavar="FILE", help="Write JUnit XML."),
    option(
        "--summary",
        type=new_file("Markdown"),
        metavar="FILE",
        help="Write Markdown, as for a pull request.",
    ),
    report_option(),
)
"""What stops a change, and the files to write; :func:`write_results` takes it."""


def terms_of(
    options: dict[str, Any],
    fail_on: Sequence[str] = (),
    judge: Judge | None = None,
    measuring: Callable[[list[NamedCheck]], Mapping[str, Metric]] | None = None,
    mode: str | None = None,
) -> dict[str, Any]:
    """What a comparison is given by a command's options, which are taken out of them.

    ``measuring`` gives the metrics that it measures with some checks; by default those of answers
    that are made in a ``mode``, None for one that is not known yet, and of a ``judge``.
    """
    from refold.replay.arms import PRIMARY, SAME_CALLS, Question, check_question, measured
    from refold.replay.checks.reading import read_check
    from refold.replay.gate import quantity_of, threshold
    from refold.replay.variant import FREE_RUN

    for word in fail_on:
        if word not in ("worse", CHANGED) and not set(word) & set("<>"):
            raise UsageError(f"--fail-on {clean(word)!r}: say worse, changed, or cost>0.05")
    names = ("primary", "guardrails", "margin", "cluster", "peek", "checks", "ignore")
    said = {name: options.pop(name) for name in names}
    checks = [read_check(text) for text in said["checks"]]
    terms: dict[str, Any] = {"question": None, "checks": checks, "ignore": said["ignore"]}
    terms |= {} if judge is None else {"judge": judge}
    known = measuring(checks) if measuring else measured(checks, judge, mode=mode or FREE_RUN)
    for word in {*fail_on} - {"worse", CHANGED}:
        threshold(word, known)
    only_changed = bool(fail_on) and set(fail_on) <= {CHANGED}
    if not (only_changed or any(said[name] for name in names[:5])):
        return terms
    # The name of a check may have an "=" in it.
    guarded = dict(
        (name, amount) if is_amount and text not in known else (text, "")
        for text in said["guardrails"]
        for name, is_amount, amount in [text.rpartition("=")]
    )
    asked = Question(
        primary=said["primary"] or (SAME_CALLS if only_changed else PRIMARY),
        guardrails=tuple(guarded),
        cluster=said["cluster"],
        looks="any" if said["peek"] else "one",
    )
    check_question(asked, known)
    margins = {
        name: quantity_of(amount, known[name], argument="guardrail")
        for name, amount in guarded.items()
        if amount
    }
    asked = replace(asked, guardrail_margins=margins)
    if said["margin"] is not None:
        asked = replace(asked, margin=quantity_of(said["margin"], known[asked.primary]))
    return terms | {"question": asked}
