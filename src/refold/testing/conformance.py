"""The suites that a storage backend must pass, for pytest.

Subclass, and give the fixture that the suite asks for::

    class TestMyStore(StoreConformance, DurableConformance):
        @pytest.fixture
        def open_store(self, tmp_path):
            stores = []
            def open_store(*, clock=system_clock, registry=sample.registry):
                stores.append(Store(MyBackend(tmp_path), clock=clock, registry=registry))
                return stores[-1]
            yield open_store
            for store in stores:
                store.close()

``open_store`` opens the log of the running test: empty when the test begins, the same log at
every call. Every test's docstring is the rule that it proves. A power that a backend lacks is a
suite that it does not inherit. pytest must be installed; it is no dependency of refold.
"""

from __future__ import annotations

from refold.testing.appending import Appending, Deciding, Keys, Together
from refold.testing.branching import Branching
from refold.testing.conditions import Commands, Conditions
from refold.testing.durable import Reopening, Sharing
from refold.testing.reading import ReadingStreams, ReadingTheLog
from refold.testing.sample import HandClock, OpenStore, registry
from refold.testing.storage import Committing, OpenBackend, Paging
from refold.testing.travelling import Travelling, Upcasting

__all__ = [
    "BackendConformance",
    "DurableConformance",
    "HandClock",
    "OpenBackend",
    "OpenStore",
    "StoreConformance",
    "registry",
]


class StoreConformance(
    Appending,
    Together,
    Keys,
    Deciding,
    Conditions,
    Commands,
    ReadingStreams,
    ReadingTheLog,
    Travelling,
    Upcasting,
    Branching,
):
    """Every store: what the verbs promise. Fixture ``open_store``, an :class:`OpenStore`."""


class DurableConformance(Reopening, Sharing):
    """Logs that outlive a store and may be open several times. Fixture ``open_store``."""


class BackendConformance(Committing, Paging):
    """The port itself: group commits and pages. Fixture ``open_backend``."""
