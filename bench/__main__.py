"""`python -m bench`: measure, print tables, write JSON."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from time import perf_counter

from bench import machine, report
from bench.environments import ROOT
from bench.outcome import Outcome, Verdict, verdicts
from bench.plan import FULL, QUICK, Ask, Scale, Workload
from bench.pool import CACHE
from bench.running import Failed, Processes
from bench.workloads import workloads

LONG = ("growth",)
"""Run only when asked for by name or with --long."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure what was asked for; 1 when two subjects read different things."""
    options = _parser().parse_args(arguments)
    scale = QUICK if options.quick else FULL
    CACHE.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="data-", dir=CACHE))
    try:
        chosen = _chosen(options, scale, folder)
        if options.list:
            print("\n".join(f"{workload.name:16} {workload.title}" for workload in chosen))
            return 0
        return _run(chosen, scale, options, folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument(
        "names",
        nargs="*",
        metavar="NAME",
        help="workloads, or how their names begin (default: all)",
    )
    parser.add_argument("--quick", action="store_true", help="little of everything, in 2 minutes")
    parser.add_argument("--long", action="store_true", help="growth too: 10,000,000 events")
    parser.add_argument("--rounds", type=int, help="how often each is measured")
    parser.add_argument("--list", action="store_true", help="name the workloads")
    parser.add_argument(
        "--conversations",
        type=Path,
        default=ROOT.parent / "shared" / "data" / "tau-bench",
        metavar="FOLDER",
        help="where the recorded conversations are",
    )
    return parser


def _chosen(options: argparse.Namespace, scale: Scale, folder: Path) -> list[Workload]:
    known = workloads(scale, conversations=options.conversations, folder=folder)
    if not options.names:
        return [w for w in known if w.name not in LONG or options.long or options.list]
    chosen = {
        one: [w for w in known if w.name == one or w.name.startswith(f"{one}-")]
        for one in options.names
    }
    unknown = [one for one, found in chosen.items() if not found]
    if unknown:
        names = ", ".join(workload.name for workload in known)
        sys.exit(f"no workload {', '.join(unknown)}; there are {names}")
    return [workload for workload in known if any(workload in found for found in chosen.values())]


def _run(
    chosen: Sequence[Workload], scale: Scale, options: argparse.Namespace, folder: Path
) -> int:
    about = machine.described(folder)
    print("\n".join(f"{name}: {value}" for name, value in about.items()), flush=True)
    started = perf_counter()
    done: list[tuple[Outcome, list[Verdict]]] = []
    with Processes(folder) as processes:
        for workload in chosen:
            rounds = options.rounds or workload.rounds or scale.rounds
            before = perf_counter()
            outcome = _measured(workload, processes, rounds)
            outcome.took_s = round(perf_counter() - before, 1)
            outcome.load = round(os.getloadavg()[0], 1)
            done.append((outcome, verdicts(outcome)))
            print(report.table(outcome), flush=True)
    print(report.targets([verdict for _, found in done for verdict in found]))
    about["took_s"] = round(perf_counter() - started, 1)
    about["command"] = " ".join(["python -m bench", *sys.argv[1:]])
    path = _written(about, done)
    print(f"\n{about['took_s']:.0f} s; every value is in {path.relative_to(ROOT)}")
    return 1 if any(outcome.wrong for outcome, _ in done) else 0


def _measured(workload: Workload, processes: Processes, rounds: int) -> Outcome:
    outcome = Outcome(workload)
    if workload.note:
        outcome.failures["all"] = workload.note
        return outcome
    unprepared = {ask.subject: why for ask in workload.prepare if (why := _tried(processes, ask))}
    for _ in range(rounds):
        for entry in workload.entries:
            if entry.label in outcome.failures:
                continue
            if entry.ask.subject in unprepared:
                outcome.failures[entry.label] = unprepared[entry.ask.subject]
                continue
            _measure(outcome, processes, entry.label, entry.ask)
    _compare(outcome, processes)
    for ask in workload.clear:
        _tried(processes, ask)
    return outcome


def _measure(outcome: Outcome, processes: Processes, label: str, ask: Ask) -> None:
    try:
        answer = processes.ask(ask.subject, ask.do, **ask.arguments)
    except Failed as failure:
        outcome.failures[label] = str(failure)
        return
    outcome.values.setdefault(label, []).append(answer.pop("value"))
    if "processor_us" in answer:
        outcome.processor_us.setdefault(label, []).append(answer.pop("processor_us"))
    outcome.details[label] = answer


def _compare(outcome: Outcome, processes: Processes) -> None:
    """Subjects that read the same events must have come to the same state."""
    groups = [
        {
            label: outcome.details[label].get("state")
            for label in outcome.workload.compared
            if label in outcome.details
        }
    ]
    for asks in outcome.workload.checks:
        try:
            answers = {a.subject: processes.ask(a.subject, a.do, **a.arguments) for a in asks}
        except Failed as failure:
            outcome.wrong.append(str(failure))
            continue
        groups.append({subject: answer["state"] for subject, answer in answers.items()})
    for states in groups:
        if len({json.dumps(state) for state in states.values()}) > 1:
            outcome.wrong.append(f"different states: {states}")


def _tried(processes: Processes, ask: Ask) -> str:
    """Why a request failed; empty when it did not."""
    try:
        processes.ask(ask.subject, ask.do, **ask.arguments)
    except Failed as failure:
        return str(failure)
    return ""


def _written(about: dict[str, object], done: Sequence[tuple[Outcome, list[Verdict]]]) -> Path:
    folder = Path(__file__).resolve().parent / "results"
    folder.mkdir(exist_ok=True)
    path = folder / machine.result_name(about)
    measured = [report.as_json(outcome, found) for outcome, found in done]
    path.write_text(json.dumps({**about, "workloads": measured}, indent=1) + "\n")
    return path


if __name__ == "__main__":
    sys.exit(main())
