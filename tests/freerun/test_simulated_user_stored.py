"""A simulated user on a log in a file, and on one that machines share: kept, and asked once."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

import refold
from refold.freerun import FreeRun
from refold.freerun.goals import goal_of, state_goal
from refold.replay import ChatEndpoint, compare, replay
from refold.replay.compare import Comparison
from tests.freerun.courses import AS_RECORDED, VARIANT, record, says, scripted
from tests.freerun.test_simulated_user import GOAL, RuleUserServer
from tests.support.stores import url_of

STREAMS = [f"call-{n}" for n in range(5)]
SCRIPT = [
    *[*AS_RECORDED[:3], says("It is taken. What is your user id?")],
    *[says("Shall I look on?"), says("Done. Anything else?"), says("Bye.")],
]


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A store with conversations, whose users' goals are stated."""
    made = url_of(request.param, tmp_path)
    with refold.open(made) as store:
        for stream in STREAMS:
            record(store, stream)
            state_goal(store, stream, GOAL, actor="ann")
    return made


def spoken(store: refold.Store, branch: str) -> list[str]:
    """What the simulated user said on a branch, and what was found wrong with it."""
    return [
        one.data.get("text") or one.data["kind"]
        for one in store.read(branch)
        if one.type == "simulator.faulted"
        or (one.type == "user.utterance" and "user" in (one.metadata.get("replay") or {}))
    ]


def told(store: refold.Store, mode: FreeRun) -> tuple[Comparison, list[list[str]]]:
    compared = compare(store, STREAMS, mode.stamped(VARIANT))
    return compared, [spoken(store, one.branch) for one in compared.conversations]


SAID = ["My user id is ann_7.", "Yes, please.", "I want to cancel my booking."]


def test_what_rules_say_is_kept_and_gone_on_with(url: str) -> None:
    """A run that was cut off is gone on with from another connection, by the same goal."""
    asked, mode = list[str](), FreeRun(user="rules")

    def killed(request: Any) -> Any:
        asked.append(request.at)
        if len(asked) == 12:
            raise KeyboardInterrupt
        return scripted(SCRIPT)(request)

    with refold.open(url) as store, suppress(KeyboardInterrupt):
        replay(store, STREAMS, VARIANT, killed, mode=mode, workers=1)
    first = len(asked)
    with refold.open(url) as store:
        assert goal_of(store.read("call-0")) == GOAL
        replay(store, STREAMS, VARIANT, killed, mode=mode, workers=1)
        compared, said = told(store, mode)
        again, made = len(asked), sum(one.led.answers for one in compared.conversations if one.led)
        replay(store, STREAMS, VARIANT, killed, mode=mode)
    assert (first, len(asked)) == (12, again)
    assert said == [said[0]] * 5
    assert said[0][:3] == SAID
    figures = compared.figures
    assert figures.simulator is not None
    assert (figures.simulator.turns, figures.simulator.faults) == (5 * len(said[0]), {})
    assert figures.course is not None
    assert figures.course.is_whole
    assert (figures.course.diverged, figures.course.conditional) == ({"other_calls": 5}, 15)
    # What was asked and not stored when it was cut off is asked again, and nothing else.
    assert again == 1 + made


def test_what_a_model_says_is_asked_once_by_all_who_run(url: str) -> None:
    """Two stores at once: each turn of the user is on one branch once, its faults with it."""
    with RuleUserServer() as server:
        user = ChatEndpoint(server.base_url, model="user", api_key="")
        mode = FreeRun(user=user, named="a model")

        def run(_: int) -> None:
            with refold.open(url) as store:
                replay(store, STREAMS, VARIANT, scripted(SCRIPT), mode=mode, workers=2)

        with ThreadPoolExecutor(2) as pool:
            list(pool.map(run, range(2)))
        with refold.open(url) as store:
            compared, _ = told(store, mode)
            ends = sum(
                one.type == "replay.finished"
                for each in compared.conversations
                for one in store.read(each.branch)
            )
        played, broken = server.played, server.broken
    simulator = compared.figures.simulator
    assert simulator is not None
    assert ends == len(STREAMS)
    assert simulator.turns == played
    # The model is told no list of what is wanted, so each time it ends with something unsaid.
    assert simulator.faults == {"forgets_goal": len(STREAMS), "invents_facts": broken}
    assert broken == played // 5 > 0
