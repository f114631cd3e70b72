"""For your tests: deciders as sentences here, the suites for stores in ``conformance``.

Nothing in refold imports this package.
"""

from refold.testing.given import Given, When, given
from refold.testing.making import as_recorded

__all__ = ["Given", "When", "as_recorded", "given"]
