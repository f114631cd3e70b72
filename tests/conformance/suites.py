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
suite that it does not inherit.
"""

from __future__ import annotations

from tests.conformance.appending import Appending, Deciding, Keys, Together
from tests.conformance.branching import Branching
from tests.conformance.clocks import Clocks
from tests.conformance.conditions import Commands, Conditions
from tests.conformance.durable import Reopening, Sharing
from tests.conformance.reading import ReadingStreams, ReadingTheLog
from tests.conformance.replacing import Replacing
from tests.conformance.sample import HandClock, OpenStore, registry
from tests.conformance.storage import Committing, OpenBackend, Paging
from tests.conformance.travelling import Travelling, Upcasting

__all__ = [
    "BackendConformance",
    "DurableConformance",
    "EraserConformance",
    "HandClock",
    "OpenBackend",
    "OpenStore",
    "StoreConformance",
    "registry",
]


class StoreConformance(
    Appending,
    Clocks,
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


class EraserConformance(Replacing):
    """The power of :class:`~refold.ports.Eraser`. Fixture ``open_backend``."""
