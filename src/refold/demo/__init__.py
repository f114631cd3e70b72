"""The offline demo: a clinic's reception, made-up callers, and a rule-based stand-in for a model.

::

    from refold.demo import Demo

    with Demo() as demo:
        result = demo.run("demo.db", report_path="report.html")
        print(result.comparison.figures.by_decision)

Nothing here asks a real model anything; the files under ``data`` say what the agent understands.
"""

from refold.demo.run import Demo

__all__ = ["Demo"]
