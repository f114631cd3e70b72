"""For your tests: deciders and projections as sentences.

Nothing in refold imports this package.
"""

from refold.testing.given import given
from refold.testing.making import as_recorded

__all__ = ["as_recorded", "given"]
