"""What every test shares."""

from __future__ import annotations

import gc
import signal
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

from refold.recording.in_force import entered, in_force
from tests.support.soak import write_figures

if TYPE_CHECKING:
    from xdist.remote import Producer

    from tests.support.dealing import ByFile
    from tests.support.kafka import Cluster

# The suites of every backend assert too; asked for before anything imports them.
pytest.register_assert_rewrite("tests.conformance")

# A busy machine is not a defect: no deadlines.
settings.register_profile("refold", deadline=None)
settings.load_profile("refold")


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Iterator[None]:
    """What all tests are made of stays to the end: it is not looked through for rubbish again.

    A look through a million objects takes half a second, and some tests and libraries ask for one.
    """
    gc.disable()
    yield
    gc.freeze()
    gc.enable()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> ByFile:
    """How tests are dealt to workers."""
    from tests.support.dealing import ByFile

    return ByFile(config, log)


@pytest.fixture(scope="module", autouse=True)
def rid_of_what_others_left() -> None:
    """Stores that tests of other files left broken off are gone before a file begins.

    Such a one is in use until it is collected, and a forked child is told so of its own.
    """
    gc.collect()


def pytest_runtest_teardown() -> None:
    """Of a long run, how much was done so far."""
    write_figures()


@pytest.fixture(autouse=True)
def ctrl_c_is_pythons() -> Iterator[None]:
    """An interrupt means to each test what it means to Python, whatever a library has set."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(autouse=True)
def no_recorder_stays_in_force() -> Iterator[None]:
    """The tools of the next test are its own."""
    yield
    left, _ = in_force(), entered.set(None)
    assert left is None, "a recorder was entered and not left"


@pytest.fixture(scope="session")
def brokers() -> Iterator[Cluster]:
    """Three brokers of Kafka; the tests that ask for them are of the group ``kafka``."""
    from tests.support.kafka import cluster

    with cluster() as made:
        yield made
