"""A gate: from verdicts to an exit code, with its reasons, and as text for other programs.

Nothing is read, written or asked here. Verdicts come from :mod:`~refold.replay.verdict`.
"""

from __future__ import annotations

import html
import math
import operator
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Final, Literal
from xml.etree import ElementTree

import msgspec

from refold.errors import UsageError
from refold.replay import wording
from refold.replay.answer import Verdict, Verdicts
from refold.replay.arms import SAME_CALLS
from refold.replay.metrics import Metric
from refold.replay.wording import amount, apart

PASSED: Final = 0
FINDING: Final = 1
FAILED: Final = 3
INCONCLUSIVE: Final = 4

NO_CHANGE: Final = frozenset({"same_words"})
"""Other words with the same calls are no change that ``changed`` asks about, unless declared."""

_SHUT: Final[dict[int, tuple[str, tuple[str, ...]]]] = {
    FINDING: ("failed", ("Do not ship it:",)),
    INCONCLUSIVE: ("inconclusive", ("Do not ship it yet:", "Do not decide yet:")),
}
"""By exit code: the state that shuts the gate, and how the verdicts' own sentence begins then."""

State = Literal["passed", "failed", "inconclusive", "not gated"]
"""What a gate makes of one verdict; the last: it could not have shut the gate."""

_THRESHOLD: Final = re.compile(r"([^<>=]+?)\s*(>=|<=|>|<)\s*([^<>=]+)")
_COMPARED: Final = {">": operator.gt, ">=": operator.ge, "<": operator.lt, "<=": operator.le}
_NUMBER: Final = re.compile(r"([+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:e[+-]?\d+)?)\s*([a-zA-Z%]*)")
_ELEMENTS: Final = {
    "failed": "failure",
    "inconclusive": "error",
    "not gated": "skipped",
    "passed": "",
}
_COUNTED: Final = {"failure": "failures", "error": "errors", "skipped": "skipped"}
_MARKS: Final = {PASSED: "✅", FINDING: "❌", INCONCLUSIVE: "❔", FAILED: "❗"}
_MARKUP: Final = re.compile(r"([\\`*_{}\[\]()+!|~$-])")
_LINKED: Final = re.compile(r"([@#:]|(?<!\w)www)(?=[\w/.])", re.IGNORECASE)
# What XML 1.0 has no place for, written out or as references.
_NO_CHARACTER: Final = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")


class GatedVerdict(msgspec.Struct, frozen=True):
    """A verdict, what the gate makes of it, and why.

    ``is_told`` says that the sentence on all verdicts gives that reason already.
    """

    verdict: Verdict
    state: State
    reason: str
    is_told: bool = False


class Gate(msgspec.Struct, frozen=True):
    """0 where it is open, 1 for a finding, 4 where nothing can be said; with every verdict.

    Of a run that failed there is none: 3.
    """

    exit_code: int
    ship: str
    gated: list[GatedVerdict]


def failed(why: str) -> Gate:
    """The gate of a run that failed before there was a verdict."""
    return Gate(FAILED, f"No verdict, the run failed: {why}", [])


Threshold = tuple[str, Callable[[float, float], bool], float, str]
"""The metric of this name; how its value may not stand to what limit; the text of it."""


def gate(
    verdicts: Verdicts,
    fail_on: Sequence[str] = ("worse",),
    *,
    inconclusive: Literal["fail", "pass", "not-worse"] = "fail",
) -> Gate:
    """Whether to let a candidate through.

    ``fail_on`` holds ``worse`` (the primary metric or a guardrail got worse), ``changed`` (a
    metric without a direction changed more than noise), and thresholds on the candidate's own
    value of a metric, in its unit or, of a share, in ``pt`` or ``%``: ``cost>0.05``,
    ``broken_answers>2%``. A finding is 1. Else it is 4 where what was asked about cannot be said:
    of ``worse``, the primary metric or a guardrail; of ``changed``, those of them that have no
    direction, or else ``same_calls``, which applies to every answer; the value that has a
    threshold. ``inconclusive="pass"`` lets it through, ``"not-worse"`` only what is surely not
    worse by more than the margin; but never a run that is not complete. Raises
    :class:`~refold.errors.UsageError` for what is neither, or names a metric not measured.
    """
    words = {one for one in fail_on if one in ("worse", "changed")}
    metrics = {one.metric.name: one.metric for one in [*verdicts, *verdicts.unknown]}
    limits = [threshold(one, metrics) for one in fail_on if one not in words]
    asked = {name for name, *_ in limits}
    every = [*verdicts, *(one for one in verdicts.unknown if one.metric.name in asked)]
    declared = [verdicts.primary, *verdicts.guardrails]
    changes = [one for one in every if _tells_of_change(one, is_declared=one in declared)]
    telling = [one for one in changes if one in declared]
    telling = telling or [one for one in changes if one.metric.name == SAME_CALLS] or changes
    needed = declared if "worse" in words or not fail_on else []
    needed = [*needed, *(telling if "changed" in words else ())]
    finds = {"worse": declared, "changed": changes}
    gated = [
        _gated(
            one,
            {word for word in words if one in finds[word]},
            limits,
            is_needed=one in needed,
            is_declared=one in declared,
        )
        for one in every
    ]
    states = {one.state for one in gated}
    unsure = [one.verdict for one in gated if one.state == "inconclusive"]
    may_pass = inconclusive == "pass" or (
        inconclusive == "not-worse" and all(one.is_not_worse for one in unsure)
    )
    may_pass = may_pass and all(one.is_complete for one in every)
    code = INCONCLUSIVE if "inconclusive" in states and not may_pass else PASSED
    code = FINDING if "failed" in states else code
    return Gate(code, _sentence(code, verdicts.ship, gated), gated)


def _sentence(code: int, ship: str, gated: Sequence[GatedVerdict]) -> str:
    """What the gate says first: never other than its exit code, and what shut it."""
    said = ship.removeprefix(wording.EARLY)
    if code == PASSED:
        is_no = said.startswith("Do not")
        return f"Nothing that was asked about stops it. By itself: {ship}" if is_no else ship
    state, starts = _SHUT[code]
    shut = [one for one in gated if one.state == state]
    if not said.startswith(starts):
        return f"{starts[0]} {'; '.join(one.reason for one in shut)}."
    # The verdicts' own sentence tells of the primary and the guardrails, and what to do.
    others = [one.reason for one in shut if not one.is_told]
    return f"{ship} Also: {'; '.join(others)}." if others else ship


def quantity_of(text: str, metric: Metric, *, argument: str = "margin", of: str = "") -> float:
    """An amount of a metric as it is typed: ``2pt``, ``2%`` or ``0.02`` of a share.

    Of other metrics a number in their own unit, with it or without: ``0.01USD``, ``50``. Raises
    :class:`~refold.errors.UsageError` for anything else, such as ``2`` of a share; its message
    names the ``argument`` and what was given, which is ``of`` where the text is a part of it.
    """
    found = _NUMBER.fullmatch(text.strip())
    value, unit = (float(found[1]), found[2].lower()) if found else (math.nan, "")
    is_share = metric.unit == "share"
    own = "" if is_share else metric.unit.lower()
    if is_share and unit in ("pt", "%"):
        value, unit = value / 100, ""
    if math.isnan(value) or unit not in ("", own) or (is_share and abs(value) > 1):
        wanted = "points of it, as 2pt" if is_share else f"a number of {own or 'its own scale'}"
        raise UsageError(
            f"{argument}={(of or text)!r}: an amount of {metric.name} is {wanted}",
            argument=argument,
        )
    return value


def junit(gate: Gate, *, name: str = "refold") -> str:
    """The gate as JUnit XML, in the shape that Jenkins and Maven's Surefire read.

    A test case a verdict: a ``failure`` for a finding, an ``error`` where nothing can be said,
    ``skipped`` where the gate does not ask; of a run that failed one ``error``. The time is 0: the
    same verdicts give the same bytes.
    """
    told: list[tuple[str, State, str, str, str]] = [
        (one.verdict.metric.name, one.state, one.reason, one.verdict.answer, one.verdict.plain)
        for one in gate.gated
    ]
    if not told:
        told = [("run", "inconclusive", gate.ship, "failed", gate.ship)]
    counted = Counter(_ELEMENTS[state] for _, state, *_ in told)
    counts = {key: str(counted[element]) for element, key in _COUNTED.items()}
    suites = ElementTree.Element("testsuites")
    about = {"name": name, "tests": str(len(told)), **counts, "time": "0"}
    suite = ElementTree.SubElement(suites, "testsuite", _characters(about))
    for case_name, state, reason, answer, plain in told:
        about = {"classname": name, "name": case_name, "time": "0"}
        case = ElementTree.SubElement(suite, "testcase", _characters(about))
        if element := _ELEMENTS[state]:
            about = {"message": reason, "type": answer}
            why = ElementTree.SubElement(case, element, _characters(about))
            why.text = _NO_CHARACTER.sub("\ufffd", plain)
    ElementTree.indent(suites)
    return ElementTree.tostring(suites, "unicode", xml_declaration=False) + "\n"


def markdown(gate: Gate, *, title: str = "refold") -> str:
    """The gate as a summary for a pull request: the sentence, a table, and every plain answer."""
    lines = [f"### {_MARKS[gate.exit_code]} {escaped(title)}: {escaped(gate.ship)}", ""]
    if not gate.gated:
        return "\n".join(lines)
    one, other = gate.gated[0].verdict.sides
    lines += [f"| gate | metric | {one} | {other} | difference | answer |"]
    lines += ["|---|---|---:|---:|---:|---|", *map(_row, gate.gated), ""]
    lines += [f"- {escaped(one.verdict.plain)}" for one in gate.gated]
    return "\n".join(lines) + "\n"


def escaped(text: str) -> str:
    """Text for a page of Markdown: no markup in it works, nobody is mentioned, nothing linked."""
    line = _MARKUP.sub(r"\\\1", html.escape(" ".join(text.split()), quote=False))
    return _LINKED.sub(r"\1<!-- -->", _NO_CHARACTER.sub("\ufffd", line))


def _row(one: GatedVerdict) -> str:
    verdict, unit = one.verdict, one.verdict.metric.unit
    ends = f"{apart(verdict.low, unit)} to {apart(verdict.high, unit)}"
    difference = "" if verdict.difference is None else f"{apart(verdict.difference, unit)} ({ends})"
    cells = [
        one.state,
        verdict.metric.name,
        amount(verdict.candidate, unit),
        amount(verdict.control, unit),
        difference,
        verdict.answer,
    ]
    return f"| {' | '.join(map(escaped, cells))} |"


def _tells_of_change(verdict: Verdict, *, is_declared: bool) -> bool:
    return not verdict.metric.direction and (is_declared or verdict.metric.name not in NO_CHANGE)


def _gated(
    verdict: Verdict,
    finds: set[str],
    limits: Sequence[Threshold],
    *,
    is_needed: bool,
    is_declared: bool,
) -> GatedVerdict:
    """What the gate makes of one verdict; the first reason to shut it counts.

    ``finds`` are the words that it may be a finding for; ``is_needed`` where it must be known.
    """
    name, value = verdict.metric.name, verdict.candidate
    own = [
        (text, is_over(value or 0.0, limit)) for of, is_over, limit, text in limits if of == name
    ]
    found = {"worse": "worse", "changed more than noise": "changed"}.get(verdict.answer)
    state: State = "passed" if is_needed or finds or own else "not gated"
    reason = f"{verdict.metric.says}: {verdict.answer}"
    is_told = False
    over = [text for text, is_over in own if is_over and value is not None and verdict.is_complete]
    if over:
        state, reason = "failed", f"{name} is {amount(value, verdict.metric.unit)}: {over[0]}"
    elif found in finds:
        state, is_told = "failed", found == "worse"
    elif is_needed and verdict.answer == "inconclusive":
        state, is_told = "inconclusive", is_declared
    elif own and (value is None or not verdict.is_complete):
        state, reason = "inconclusive", f"{name} is not known of the whole run: {own[0][0]}"
    return GatedVerdict(verdict, state, reason, is_told)


def threshold(text: str, metrics: Mapping[str, Metric]) -> Threshold:
    """What a threshold says of which of the metrics. Raises :class:`UsageError` for what is none.

    So that it can be refused before anything is asked.
    """
    found = _THRESHOLD.fullmatch(text.strip())
    if not found:
        raise UsageError(
            f"fail_on={text!r} is neither worse, nor changed, nor a threshold such as cost>0.05",
            argument="fail_on",
        )
    if found[1] not in metrics:
        raise UsageError(
            f"fail_on={text!r}: {found[1]} was not measured, but {', '.join(metrics)} were",
            argument="fail_on",
        )
    limit = quantity_of(found[3], metrics[found[1]], argument="fail_on", of=text)
    return found[1], _COMPARED[found[2]], limit, text.strip()


def _characters(attributes: dict[str, str]) -> dict[str, str]:
    return {key: _NO_CHARACTER.sub("\ufffd", value) for key, value in attributes.items()}
