"""The comparison as one self-contained HTML file."""

from refold.replay.report.page import Shown, render_report, summary, write_report

__all__ = ["Shown", "render_report", "summary", "write_report"]
