"""The comparison as one self-contained HTML file."""

from refold.replay.report.page import ToldBeside, render_report, summary, write_report

__all__ = ["ToldBeside", "render_report", "summary", "write_report"]
