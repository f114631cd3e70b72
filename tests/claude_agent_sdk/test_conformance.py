"""The suite that the Claude Agent SDK publishes for its session stores, each contract by name."""

import asyncio
import inspect
import re
from pathlib import Path
from types import FrameType

import pytest
from claude_agent_sdk.testing import run_session_store_conformance
from claude_agent_sdk.types import SessionStore

import refold
from refold.claude_agent_sdk import RefoldSessionStore

CONTRACTS = {
    "append then load returns same entries in same order": 1,
    "load unknown key returns None": 1,
    "multiple append calls preserve call order": 1,
    "append([]) is a no-op": 1,
    "subpath keys are stored independently of main": 1,
    "project_key isolation": 1,
    "list_sessions returns session_ids for project": 1,
    "list_sessions excludes subagent subpaths": 1,
    "list_session_summaries returns persisted fold output that": 1,
    "delete main then load returns None": 1,
    "delete main cascades to subkeys": 1,
    "delete with subpath removes only that subkey": 1,
    "list_subkeys returns subpaths": 1,
    "list_subkeys excludes main transcript": 1,
}
"""How many stores each contract asks for: one that asks for none was left out."""
HEADING = re.compile(r"\s*# \d+\. (.*)")


def contract_at(frame: FrameType | None) -> str:
    """The contract that the suite is at: the last that is named above the line it is on."""
    while frame is not None and frame.f_code.co_name != "run_session_store_conformance":
        frame = frame.f_back
    assert frame is not None
    lines, first = inspect.getsourcelines(run_session_store_conformance)
    above = [HEADING.match(line) for line in lines[: frame.f_lineno - first]]
    names = [found[1] for found in above if found]
    return names[-1] if names else "probe"


@pytest.fixture(scope="module", params=["agents.db", "memory:"])
def counted(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, int]:
    """For how many stores each contract asked, of a suite that passed whole, on each backend."""
    folder: Path = tmp_path_factory.mktemp("conformance")
    counts: dict[str, int] = {}
    opened: list[refold.Store] = []

    def make_store() -> SessionStore:
        frame = inspect.currentframe()
        name = contract_at(frame)
        counts[name] = counts.get(name, 0) + 1
        url = request.param if request.param == "memory:" else str(folder / f"{len(opened)}.db")
        opened.append(refold.open(url))
        return RefoldSessionStore(opened[-1])

    try:
        asyncio.run(run_session_store_conformance(make_store))
    finally:
        for store in opened:
            store.close()
    return counts


@pytest.mark.parametrize("contract", CONTRACTS)
def test_the_store_keeps_a_contract(counted: dict[str, int], contract: str) -> None:
    """The suite got to it, with as many stores as it asks for, and past it."""
    assert counted.get(contract) == CONTRACTS[contract]


def test_the_suite_has_no_contract_beside_these(counted: dict[str, int]) -> None:
    """A contract that the makers add is one that the store should keep."""
    assert counted.keys() == {"probe", *CONTRACTS}
    source = inspect.getsource(run_session_store_conformance)
    assert {found[1] for found in map(HEADING.match, source.splitlines()) if found} == {*CONTRACTS}
