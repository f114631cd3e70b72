"""What stands in for tools is part of what a run is: it is on record, and makes another variant."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest

import refold
from refold.freerun import Fixed, FreeRun, LiveRead, Simulated, ToolPolicies
from refold.freerun.recorded_world import from_record
from refold.recording import declared
from refold.replay import Call, replay
from tests.freerun.courses import AS_RECORDED, VARIANT, calls, record, scripted, walked

READS: Any = {"look": "read"}
WRITES: Any = {"book": "write"}


class Desk:
    """A simulation that knows nothing."""

    def __init__(self, history: Any, rooms: int = 1) -> None:
        self.rooms = rooms

    def perform(self, call: Call) -> tuple[str, bool]:
        return f"{self.rooms} for {call.name}", False


def other_desk(history: Any) -> Desk:
    return Desk(history)


def look(day: str) -> str:
    return day


def look_twice(day: str) -> str:
    return day + day


POLICIES: dict[str, Any] = {
    "none": {},
    "ignored": {"ignore": ["book/trace"]},
    "effect": {"effects": READS},
    "another effect": {"effects": {"look": "write"}},
    "fixed": {"otherwise": {"look": Fixed("full")}},
    "fixed otherwise": {"otherwise": {"look": Fixed("free")}},
    "fixed as an error": {"otherwise": {"look": Fixed("full", is_error=True)}},
    "live": {"effects": READS, "otherwise": {"look": LiveRead(look)}},
    "live otherwise": {"effects": READS, "otherwise": {"look": LiveRead(look_twice)}},
    "simulated": {"effects": READS, "otherwise": {"look": Simulated(Desk)}},
    "simulated otherwise": {"effects": READS, "otherwise": {"look": Simulated(other_desk)}},
    "with an argument": {
        "effects": WRITES,
        "otherwise": {"book": Simulated(partial(Desk, rooms=2))},
    },
    "with another": {"effects": WRITES, "otherwise": {"book": Simulated(partial(Desk, rooms=3))}},
}


@pytest.fixture(autouse=True)
def nothing_declared(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No tool of another test is declared in this process."""
    monkeypatch.setattr(declared, "_declared", {})
    yield


def test_other_policies_are_another_variant() -> None:
    """Every part of them counts; the same said again is the same."""
    ids = {
        name: FreeRun(tools=ToolPolicies(**of)).stamped(VARIANT).id for name, of in POLICIES.items()
    }
    assert len({*ids.values()}) == len(POLICIES)
    again = FreeRun(tools=ToolPolicies(otherwise={"look": Fixed("full")})).stamped(VARIANT)
    assert again.id == ids["fixed"]
    assert FreeRun().stamped(VARIANT).id == ids["none"]
    assert FreeRun(worlds=from_record()).stamped(VARIANT).id not in ids.values()


def test_what_this_process_declared_counts_as_it_was_when_the_run_was_made() -> None:
    """It says what a tool does, and so what its result may be; the agent's own code comes later."""
    before = FreeRun()
    plain = before.stamped(VARIANT)
    refold.tool("look", effect="read")(look)
    assert before.stamped(VARIANT) == plain
    assert FreeRun().stamped(VARIANT).tool_policies == {"declared": {"look": "read"}}


def test_the_plan_says_which_and_no_run_takes_the_answers_of_another() -> None:
    """Run again with another fixed answer, the course is another: nothing was kept."""
    script = [calls(("look", '{"day": "Wed"}')), *AS_RECORDED[2:]]
    told: dict[str, str] = {}
    with refold.open("memory:") as store:
        record(store)
        for answer in ("full", "free"):
            free = FreeRun(tools=ToolPolicies(otherwise={"look": Fixed(answer)}))
            compared = walked(store, scripted(script), mode=free)
            (plan, _) = store.read(f"replay~plan-{compared.variant_id}")
            said = plan.data["variant"]["tool_policies"]
            assert said == {"otherwise": {"look": {"fixed": answer}}}
            branch = [*store.read(compared.conversations[0].branch)]
            result = next(one for one in branch if "source" in (one.noted("replay") or {}))
            told[answer] = result.data["result"]
        assert told == {"full": "full", "free": "free"}
        assert replay(store, ["call-1"], VARIANT, scripted(script), mode=FreeRun()).kept == 0
