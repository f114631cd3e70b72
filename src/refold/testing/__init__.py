"""For your tests: deciders and projections as sentences, the suites for stores in ``conformance``.

Nothing in refold imports this package.
"""

from refold.testing.given import Given, When, given
from refold.testing.making import as_recorded
from refold.testing.projected import Projected

__all__ = ["Given", "Projected", "When", "as_recorded", "given"]
