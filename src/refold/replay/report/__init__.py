"""The comparison as one self-contained HTML file."""

from refold.replay.report.page import render_report, summary, write_report

__all__ = ["render_report", "summary", "write_report"]
