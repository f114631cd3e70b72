"""An agent's own code goes on freely in a process of its own, and reaches its model alone."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import refold
from refold.conversation.events import AgentConfigured, AgentUtterance, Tool, UserUtterance
from tests.freerun.courses import called
from tests.support import postgres
from tests.support.chat_server import ChatServer

SCRIPT = Path(__file__).with_name("contained_script.py")
AWAY = "127.0.0.1:9"


def says(body: Any) -> Any:
    """Look at the day that the prompt names, tell; book when told to, and say so."""
    talk = body["messages"]
    said = talk[-1]["content"]
    if talk[-1]["role"] == "tool":
        return {"content": "Booked." if said == "B7" else "Room 4 is free."}
    day = talk[0]["content"].removeprefix("Look at ").rstrip(".")
    name, given = ("book", {"room": 4}) if "Yes" in said else ("look", {"day": day})
    function = {"name": name, "arguments": json.dumps(given)}
    call = {"id": f"x{len(talk)}", "type": "function", "function": function}
    return {"content": None, "tool_calls": [call]}


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def ran(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[str, dict[str, Any]]]:
    """The model's address, and what the process printed, over each kind of store."""
    path = tmp_path_factory.mktemp("contained") / "agents.db"
    address = str(path) if request.param == "sqlite" else postgres.log_of_its_own()
    tools = [Tool("look", effect="read"), Tool("book", effect="write")]
    with refold.open(address) as store:
        store.append("call-1", [
            AgentConfigured(model="small", tools=tools),
            UserUtterance(text="A room for Tuesday?"),
            *called(1, "look", '{"day": "Tue"}', "m1", "room 4"),
            AgentUtterance(text="Room 4 is free.", message_id="m2"),
            UserUtterance(text="Yes, that one."),
            *called(2, "book", '{"room": 4}', "m3", "B7"),
            AgentUtterance(text="Booked.", message_id="m4"),
        ])  # fmt: skip
    with ChatServer(says) as model:
        done = subprocess.run(
            [sys.executable, str(SCRIPT), address, model.base_url], cwd=SCRIPT.parents[2],
            text=True, capture_output=True, check=False, timeout=120,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        yield model.base_url.removeprefix("http://").removesuffix("/v1"), json.loads(done.stdout)


def test_its_course_is_a_branch_that_is_compared(ran: Any) -> None:
    """With the recorded results, to the recorded end: nothing parted, everything the same."""
    _, told = ran
    desk = told["desk"]
    assert (desk["failed"], desk["parted"], desk["sources"]) == (0, [], ["recorded"] * 2)
    assert desk["levels"] == ["same"] * 4
    assert desk["unasked"] == []


def test_the_process_connects_to_the_model_alone(ran: Any) -> None:
    """By the interpreter's own account, and by the plan's last event; nothing was started."""
    model, told = ran
    assert list(told["desk"]["seen"]) == [model]
    assert told["desk"]["plan"] == ["replay.planned", "replay.contained"]
    contained = told["desk"]["contained"]
    assert contained["connections"] == told["desk"]["seen"]
    assert contained.get("refused", []) == []
    assert contained["allowed"] == [model]
    assert told["started"] == []


def test_who_tries_to_get_out_is_refused_and_told(ran: Any) -> None:
    """The attempt is counted with its line; the course goes on as if nobody had listened."""
    _, told = ran
    assert told["gossip"]["levels"] == ["same"] * 4
    (refused,) = told["gossip"]["contained"]["refused"]
    assert (refused["what"], refused["to"]) == ("socket.connect", AWAY)
    assert refused["where"].startswith(f"{SCRIPT}:")
    assert refused["times"] >= 4


def test_a_live_read_goes_out_by_choice_and_is_marked(ran: Any) -> None:
    """Its connections are counted apart; the result on the branch says that it is live."""
    _, told = ran
    assert told["live"]["contained"]["live"] == {"look": 1}
    assert told["live"]["seen"][AWAY] == 1
    assert told["live"]["sources"][0] == "live"
    assert told["live"]["parted"] != []


def test_results_that_nobody_asked_for_are_told(ran: Any) -> None:
    """With the end of the course: the agent that looked at another day left that of Tuesday."""
    _, told = ran
    assert "call-1@3" in told["live"]["unasked"]
