"""The offline demo: a clinic's reception, made-up callers, and a rule-based stand-in for a model.

::

    from refold.demo import run_demo

    result = run_demo("demo.db", report_path="report.html")
    print(result.comparison.figures.by_decision)

Nothing here asks a real model anything; the files under ``data`` say what the agent understands.
"""

from refold.demo.agent import MODEL
from refold.demo.result import NOTE, CallFigures, DemoResult, Moment, WhatIf
from refold.demo.run import SEED, Progress, run_demo
from refold.demo.server import DemoServer

__all__ = [
    "MODEL",
    "NOTE",
    "SEED",
    "CallFigures",
    "DemoResult",
    "DemoServer",
    "Moment",
    "Progress",
    "WhatIf",
    "run_demo",
]
