"""For your tests: deciders and projections as sentences.

Nothing in refold imports this package.
"""

from refold.testing.given import as_recorded, given

__all__ = ["as_recorded", "given"]
