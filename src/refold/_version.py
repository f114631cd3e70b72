"""The one place that states the version; the wheel and `refold --version` both read it."""

__version__ = "0.2.0"
"""The version of this package."""
