"""Instants as text: what ``--at`` takes and what is printed."""

from refold.core.clock import rfc3339, to_us

__all__ = ["rfc3339", "to_us"]
