"""The suite that LangGraph publishes for its checkpointers, each capability by name."""

import asyncio
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest
from langgraph.checkpoint.conformance import checkpointer_test, validate
from langgraph.checkpoint.conformance.report import CapabilityReport

import refold
from refold.langgraph import RefoldSaver

TESTS_OF = {
    "put": 17,
    "put_writes": 10,
    "get_tuple": 10,
    "list": 16,
    "delete_thread": 5,
    "delete_for_runs": 7,
    "copy_thread": 8,
    "prune": 8,
}
"""How many tests each capability has: fewer would mean that some were left out."""


@pytest.fixture(scope="module", params=["agents.db", "memory:"])
def report(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> object:
    """What the suite says of the saver, on each backend."""
    folder: Path = tmp_path_factory.mktemp("conformance")
    url = request.param if request.param == "memory:" else str(folder / request.param)

    @checkpointer_test(name="RefoldSaver")
    async def saver() -> AsyncGenerator[RefoldSaver, None]:
        with refold.open(url) as store:
            yield RefoldSaver(store)

    return asyncio.run(validate(saver))


@pytest.mark.parametrize("capability", TESTS_OF)
def test_the_saver_has_a_capability_whole(report: CapabilityReport, capability: str) -> None:
    """All tests of the suite pass, and the suite found the capability: it prints FULL without."""
    result = report.results[capability]
    assert result.detected
    assert result.failures == []
    assert result.passed is True
    assert result.tests_passed >= TESTS_OF[capability]


def test_the_suite_has_no_capability_beside_these(report: CapabilityReport) -> None:
    """A capability that LangGraph adds is one that the saver should have."""
    assert report.results.keys() == TESTS_OF.keys()
