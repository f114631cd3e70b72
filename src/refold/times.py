"""Instants as text: what ``--at`` takes and what is printed."""

from refold.core.clock import Instant, parse_instant, rfc3339, to_us

__all__ = ["Instant", "parse_instant", "rfc3339", "to_us"]
