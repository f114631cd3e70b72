"""Tables for people and JSON for programs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from statistics import median
from typing import Any

from bench.outcome import Outcome, Verdict, ratios
from bench.plan import Unit


def table(outcome: Outcome) -> str:
    """One workload: each entry's median and spread, and its ratio to the first entry."""
    workload = outcome.workload
    processor = "processor an event" if outcome.processor_us else ""
    head = ("", "median", "least", "most", "p99 of a call", processor, _ratio_head(outcome))
    rows = [head, *(_row(outcome, entry.label) for entry in workload.entries)]
    took = f"{outcome.took_s:.0f} s, load {outcome.load:g}"
    lines = [f"\n{workload.name}: {workload.title} ({took})", *_aligned(rows)]
    lines += [f"  {label}: {why}" for label, why in outcome.failures.items()]
    lines += [f"  WRONG: {wrong}" for wrong in outcome.wrong]
    return "\n".join(lines)


def targets(found: Sequence[Verdict]) -> str:
    """Every target, what was measured, and whether it is met."""
    rows: list[Sequence[str]] = [
        ("workload", "entry", "against", "target", "measured", "least", "most", "")
    ]
    for verdict in found:
        sign = "at most" if verdict.at_most else "at least"
        measured = ["missing", "", ""]
        if verdict.ratio is not None:
            measured = [_short(verdict.ratio), *(_short(end) for end in verdict.spread)]
        said = (verdict.workload, verdict.entry, verdict.against, f"{sign} {verdict.figure:g}")
        rows.append((*said, *measured, "met" if verdict.met else "NOT MET"))
    met = sum(verdict.met for verdict in found)
    return "\n".join(["\ntargets", *_aligned(rows), f"  {met} of {len(found)} met"])


def as_json(outcome: Outcome, found: Sequence[Verdict]) -> dict[str, Any]:
    """One workload with every value of every round."""
    return {
        "name": outcome.workload.name,
        "title": outcome.workload.title,
        "unit": outcome.workload.unit,
        "values": outcome.values,
        "processor_us": outcome.processor_us,
        "details": outcome.details,
        "failures": outcome.failures,
        "wrong": outcome.wrong,
        "took_s": outcome.took_s,
        "load": outcome.load,
        "targets": [{**asdict(verdict), "met": verdict.met} for verdict in found],
    }


def _row(outcome: Outcome, label: str) -> tuple[str, ...]:
    values, unit = outcome.values.get(label), outcome.workload.unit
    if not values:
        return (label, "missing", "", "", "", "", "")
    details = outcome.details.get(label, {})
    p99_ms, spent_us = details.get("p99_ms"), outcome.processor_us.get(label)
    first = outcome.values.get(outcome.workload.entries[0].label, [])
    found = ratios(unit, first, values)
    return (
        label,
        *(_shown(unit, figure) for figure in (median(values), min(values), max(values))),
        details.get("also", "" if p99_ms is None else f"{p99_ms:.3g} ms"),
        f"{median(spent_us):.3g} µs" if spent_us else "",
        _short(median(found)) if found else "",
    )


def _ratio_head(outcome: Outcome) -> str:
    first = outcome.workload.entries[0].label
    return f"{first} to it"


def _shown(unit: Unit, figure: float) -> str:
    if unit != "s":
        return f"{figure:,.0f} {unit}" if figure >= 10 else f"{figure:.2f} {unit}"
    for scale, name in ((1, "s"), (1e3, "ms")):
        if figure * scale >= 1:
            return f"{figure * scale:.3g} {name}"
    return f"{figure * 1e6:.0f} µs"


def _short(ratio: float) -> str:
    return f"{ratio:,.0f}" if ratio >= 100 else f"{ratio:.3g}"


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return [
        "  "
        + "  ".join(
            _cell(text, width, n) for n, (text, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


def _cell(text: str, width: int, column: int) -> str:
    return text.ljust(width) if column == 0 else text.rjust(width)
