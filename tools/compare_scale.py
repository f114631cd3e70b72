"""Measure what comparing and reporting many replayed conversations takes.

    python tools/compare_scale.py CONVERSATIONS.json [COUNT]

The conversations of the file (tau-bench's results, such as gpt-4o-airline.json) are recorded again
and again under new names until there are COUNT of them (10,000), with two replays of each: one that
answers something else in a tenth of the decisions, and a control that does in a hundredth. Then
`refold compare` runs as a process of its own, with a report and without, and Chromium opens the
report. Prints seconds, the most memory that was taken, and the size of the report.
"""

from __future__ import annotations

import json
import re
import resource
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from random import Random
from time import perf_counter
from typing import Any, Final

from msgspec.structs import replace

import refold
from refold.conversation.openai_chat import from_messages
from refold.replay import Action, ChatRequest, Variant, decisions, replay
from tools.screenshot import chromium

OTHER: Final = {"candidate": 0.1, "control": 0.01}
"""How often each variant does something else."""
COUNT: Final = 10_000


def record(store: refold.Store, found: list[list[dict[str, object]]], count: int) -> None:
    """The conversations with their replays."""
    streams = [f"airline-{number}" for number in range(count)]
    for number, stream in enumerate(streams):
        store.append(stream, from_messages(found[number % len(found)]))
    for label, share in OTHER.items():
        replay(store, streams, Variant(label=label), answering(store, label, share), workers=64)


def answering(store: refold.Store, label: str, share: float) -> Callable[[ChatRequest], Any]:
    """A candidate that does what was recorded, but for a share of the decisions."""
    last: dict[str, dict[str, Action]] = {}

    async def answer(request: ChatRequest) -> Action:
        stream = request.at.partition("@")[0]
        chance = Random(f"{label} {request.at}")
        if chance.random() < share:
            return Action(text="One moment, please.", latency_ms=chance.random() * 900)
        if stream not in last:
            last.clear()
            last[stream] = {one.at: one.action for one in decisions(store.read(stream))}
        return replace(last[stream][request.at], latency_ms=chance.random() * 900)

    return answer


def run(what: str, *args: str) -> None:
    """Run a command, and say how long it took and how much memory."""
    began = perf_counter()
    refold_ = [sys.executable, "-m", "refold", *args]
    subprocess.run(refold_, check=True, stdout=subprocess.DEVNULL)
    megabytes = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    print(
        f"{what:32} {perf_counter() - began:8.1f} s {megabytes:8.0f} MB (most so far)", flush=True
    )


def opened(report: Path) -> float:
    """How many seconds Chromium takes from the start to a page whose script has run."""
    page = report.read_text(encoding="utf-8")
    told = "<script>onload=()=>document.body.dataset.ms=performance.now()</script></body>"
    timed = report.with_name("timed.html")
    policy = re.sub(r"<meta http-equiv[^>]*>", "", page)
    timed.write_text(policy.replace("</body>", told), encoding="utf-8")
    done = chromium(timed.as_uri(), "--dump-dom")
    found = re.search(r'data-ms="([\d.]+)"', done.stdout)
    return float(found[1]) / 1000 if found else float("nan")


def main(file: Path, count: int) -> None:
    """Record, compare, report, look."""
    found = [one["traj"] for one in json.loads(file.read_text())]
    with tempfile.TemporaryDirectory(prefix="refold-scale-") as folder:
        path, report = Path(folder, "many.db"), Path(folder, "report.html")
        began = perf_counter()
        with refold.open(path, synchronous="NORMAL") as store:
            record(store, found, count)
        print(f"{count:,} conversations recorded in {perf_counter() - began:.0f} s", flush=True)
        named = ("--db", str(path), "--variant", "candidate", "--control", "control")
        run("compare", "compare", *named)
        run("compare --json", "compare", *named, "--json")
        run("compare --report", "compare", *named, "--report", str(report))
        print(f"the report: {report.stat().st_size / 1e6:.1f} MB, opens in {opened(report):.2f} s")


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else COUNT)
