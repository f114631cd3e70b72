"""Free runs in the report and in the pages: turn by turn, and what decides."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import httpx2
import pytest

import refold
from refold.conversation.governance import RedactionApplied
from refold.freerun import FreeRun
from refold.replay import replay
from refold.replay.compare import Comparison
from refold.replay.report import render_report
from refold.replay.report.courses import course_rows
from refold.replay.report.turns import TurnRow
from refold.ui.compare import compared
from tests.freerun.courses import AS_RECORDED, VARIANT, record, says, scripted, walked
from tests.ui.serving import served

SPOKEN = ["Oh. My number is ZZ771.", "Yes, please."]
SCRIPT = [*AS_RECORDED[:3], says("That room is taken."), says("Shall I look on?"), says("Bye.")]
PARTED = 3
"""The decision of the recorded booking where the script books nothing."""


def played(request: Any) -> Any:
    """A user who invents a number, agrees, and ends."""
    own = sum(message["role"] == "assistant" for message in request.messages)
    return says([*SPOKEN, "###STOP###"][own - 2])


@pytest.fixture(scope="module")
def store() -> Iterator[refold.Store]:
    with refold.open("memory:") as made:
        record(made), record(made, "call-2")
        yield made


@pytest.fixture(scope="module")
def simulated(store: refold.Store) -> Comparison:
    return walked(store, scripted(SCRIPT), "call-1", mode=FreeRun(user=played, named="played"))


@pytest.fixture(scope="module")
def client(store: refold.Store, simulated: Comparison) -> Iterator[httpx2.Client]:
    with served(store) as reader:
        yield reader


def words(html: str) -> str:
    """What a page says, in order."""
    return " ".join(re.sub(r"<(style|script).*?</\1>|<[^>]+>", " ", html, flags=re.DOTALL).split())


def in_order(text: str, said: Sequence[str]) -> None:
    at = 0
    for one in said:
        found = text.find(one, at)
        assert found >= 0, (one, text[at:])
        at = found + len(one)


TOLD = [
    *["A room for Tuesday?", "Room 4 for 80. Shall I book it?", "Yes, that one."],
    "That room is taken.",
    "parts from the record here: other calls",
    *[
        "Simulated user",
        SPOKEN[0],
        "a fault of the simulated user, not of the agent: invents facts",
    ],
    *["zz771", "Candidate", "Shall I look on?", "Simulated user", SPOKEN[1]],
    *["what was recorded there instead", "Booked as B7.", "Thanks."],
]


def test_a_simulated_conversation_is_told_turn_by_turn(
    store: refold.Store, simulated: Comparison, client: httpx2.Client
) -> None:
    """What was recorded, where it parts, then who said what and whose fault was what."""
    branch = simulated.conversations[0].branch
    report = render_report(simulated, read=store.read)
    in_order(words(report.partition('id="conversation:call-1"')[2]), TOLD)
    page = client.get("/compare", params={"a": "call-1", "b": branch}).text
    told = words(page)
    in_order(told.partition("Turn by turn")[2], TOLD)
    assert "went on with its own answers" in told
    assert "a simulated user spoke there" in told
    anchors = re.findall(r' id="?([^" >]+)', page)
    assert len(anchors) == len(set(anchors))


def test_all_that_the_branch_holds_after_the_divergence_is_shown_once(
    store: refold.Store, simulated: Comparison
) -> None:
    """Beside every recorded decision and turn, each of them once."""
    (one,) = simulated.conversations
    course, history = list(store.read(one.branch)), list(store.read("call-1"))
    rows = list(course_rows(one, history, course))
    names = [row.link.text for row in rows if row.type != "recorded.there"]
    assert len(names) == len(set(names))
    kinds = ("user.utterance", "tool.result", "session.ended")
    assert {e.id for e in history if e.type in kinds} | {d.at for d in one.decisions} <= {*names}
    (parted,) = [e for e in course if e.type == "replay.diverged"]
    later = [e for e in course if e.version > parted.version]
    shown = ("user.utterance", "model.response", "simulator.faulted", "session.ended")
    own = [name for name in names if name in {e.id for e in course if e not in history}]
    assert own == [parted.id, *(e.id for e in later if e.type in shown)]
    assert [row.level for row in rows if row.sides][:4] == ["same"] * 3 + ["tools"]


def rows_of(store: refold.Store, *streams: str, **mode: Any) -> list[TurnRow]:
    found = walked(store, scripted(SCRIPT), *streams, mode=FreeRun(**mode))
    return list(compared(store, streams[0], found.conversations[0].branch).rows)


def test_without_a_simulated_user_both_sides_stand_beside_each_other(store: refold.Store) -> None:
    """The recorded user speaks on, so there is one note, where it parts, and no turn twice."""
    rows = rows_of(store, "call-2")
    notes = [row for row in rows if row.type in ("replay.diverged", "recorded.there")]
    assert [row.type for row in notes] == ["replay.diverged"]
    assert len(rows) == 1 + len(compared(store, "call-2", "call-1").rows)
    assert [row.level for row in rows if row.sides] == (
        ["same"] * 3 + ["tools"] + ["conditional"] * 3
    )


def test_what_was_redacted_of_a_simulated_conversation_is_not_shown() -> None:
    """Neither what the simulated user said, nor what the agent answered."""
    with refold.open("memory:") as store:
        record(store)
        found = walked(store, scripted(SCRIPT), mode=FreeRun(user=played, named="played"))
        branch = found.conversations[0].branch
        hidden = [
            one.id
            for one in store.read(branch)
            if one.data.get("text") in (SPOKEN[0], "Shall I look on?")
        ]
        assert len(hidden) == 2
        how = {"pointer": "/text", "method": "removed", "reason": "asked for"}
        store.append(branch, [RedactionApplied(event=one, **how) for one in hidden])
        told = words(render_report(found, read=store.read))
        assert SPOKEN[1] in told
        assert not any(one in told for one in (SPOKEN[0], "Shall I look on?"))


def test_the_page_of_a_free_run_is_decided_by_what_was_declared(tmp_path: Path) -> None:
    """By whole conversations; its commands go with the mode, and what is conditional is listed."""
    with refold.open(tmp_path / "log.db") as store:
        streams = [record(store, f"call-{n}") for n in range(6)]
        mode: Any = {"mode": FreeRun(), "primary": "same_course"}
        replay(store, streams, VARIANT, scripted(SCRIPT), **mode)
        name = FreeRun().stamped(VARIANT).id
        with served(store) as client:
            page = words(client.get(f"/replays/{name}").text)
            assert "Changed more than noise: conversations that go as recorded" in page
            assert "is a check or a judge" not in page
            assert "refold replay" not in page
            assert "--primary=same_course" in page
            assert "candidate, sample 0, free-run" in page
            behind = words(client.get(f"/replays/{name}", params={"behind": "left-out"}).text)
            assert behind.count("other calls") == 6 * 3
            also = words(client.get(f"/replays/{name}", params={"behind": "conditional"}).text)
            assert also.count("other calls") == 6 * 3
