"""The comparison as one self-contained HTML file."""

from refold.replay.report.page import render_report, write_report

__all__ = ["render_report", "write_report"]
