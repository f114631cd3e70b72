"""Two recorded agents that did the same tasks are compared without a replay, task by task."""

from __future__ import annotations

import csv
import json
from collections import defaultdict
from decimal import Decimal
from itertools import product
from pathlib import Path

import pytest

import refold
from refold.conversation.events import (
    AgentUtterance,
    ModelResponse,
    ScoreRecorded,
    SessionEnded,
    Usage,
    UserUtterance,
)
from refold.conversation.governance import RedactionApplied
from refold.conversation.importers import import_files
from refold.errors import NotFound, UsageError
from refold.replay import Dataset, Price, label
from refold.replay.arms import Question
from refold.replay.checks.reading import read_check
from refold.replay.recorded import compare_recorded
from refold.replay.report import render_report, summary
from tests.replay.pages import Page
from tests.support.nearest_prefix import CONVERSATIONS, DATA

GPQA = DATA.parent / "gpqa-paired" / "gpqa_diamond_scores.csv"


def results(rewards: dict[tuple[int, int], float]) -> str:
    """What tau-bench writes, of rewards by task and trial."""
    return json.dumps(
        [
            {
                "task_id": task,
                "trial": trial,
                "reward": reward,
                "info": {},
                "traj": [
                    {"role": "system", "content": "P"},
                    {"role": "user", "content": f"Task {task}"},
                    {"role": "assistant", "content": f"{reward}"},
                ],
            }
            for (task, trial), reward in rewards.items()
        ]
    )


def sides(
    folder: Path, *every: dict[tuple[int, int], float]
) -> tuple[refold.Store, list[list[str]]]:
    """A store with what each side did, and the streams of each."""
    store, streams = refold.open("memory:"), []
    for number, rewards in enumerate(every):
        path = folder / f"side{number}.json"
        path.write_text(results(rewards))
        import_files(store, "tau-bench", [str(path)])
        streams.append([i.stream for i in store.streams() if i.stream.startswith(f"side{number}")])
    return store, streams


def once(*rewards: float) -> dict[tuple[int, int], float]:
    """One trial a task."""
    return {(task, 0): reward for task, reward in enumerate(rewards)}


def test_tasks_are_paired_and_the_reward_decides(tmp_path: Path) -> None:
    """Of four tasks both did one, each did one alone, neither did one: exact McNemar p is 1."""
    store, (a, b) = sides(tmp_path, once(1, 1, 0, 0), once(1, 0, 1, 0))
    found = compare_recorded(store, a, b)
    assert (found.pair_by, found.pairs) == ("task", 4)
    outcomes = found.outcomes
    assert outcomes is not None
    assert (outcomes.both, outcomes.only_a, outcomes.only_b, outcomes.neither) == (1, 1, 1, 1)
    assert outcomes.p == 1.0
    primary = found.verdicts.primary
    assert (primary.metric.name, primary.answer) == ("reward", "inconclusive")
    assert (primary.candidate, primary.control, primary.difference) == (0.5, 0.5, 0.0)


def test_b_is_judged_against_a(tmp_path: Path) -> None:
    """Eight tasks that only b did make it better, and a worse when the sides are exchanged."""
    store, (a, b) = sides(tmp_path, once(*[0] * 8), once(*[1] * 8))
    assert compare_recorded(store, a, b).verdicts.primary.answer == "better"
    assert compare_recorded(store, b, a).verdicts.primary.answer == "worse"


def test_what_has_no_partner_is_told_and_in_no_figure(tmp_path: Path) -> None:
    """Tasks of one side alone, and conversations of which nobody knows what they did."""
    store, (a, b) = sides(tmp_path, once(1, 0, 1), {(1, 0): 0, (2, 0): 1, (7, 0): 1, (8, 0): 0})
    store.append("side1-odd", [refold.Event("user.utterance", {"text": "Hi"})])
    found = compare_recorded(store, a, [*b, "side1-odd"])
    assert found.pairs == 2
    assert (found.a.unpaired, found.a.first_unpaired) == (1, ["0"])
    assert (found.b.unpaired, found.b.first_unpaired) == (2, ["7", "8"])
    assert (found.a.without_key, found.b.without_key) == (0, 1)
    assert all(one.items == 2 for one in found.verdicts)
    said = summary(found)
    assert "1 on this side alone, left out: 0" in said
    assert "2 on this side alone, left out: 7, 8" in said
    assert "1 conversation of no known task, left out" in said


def test_prices_give_recorded_answers_their_cost() -> None:
    """Of both sides, by their tokens and the model that answered; without a price it is unknown."""
    store = refold.open("memory:")
    for side, tokens in (("a", 2_000_000), ("b", 1_000_000)):
        for task in range(3):
            session = [
                UserUtterance("Hi"),
                AgentUtterance("Hello."),
                ModelResponse(model="m", usage=Usage(input_tokens=tokens, output_tokens=0)),
            ]
            store.append(f"{side}-{task}", session, metadata={"task": str(task)})
    streams = [[f"{side}-{task}" for task in range(3)] for side in ("a", "b")]
    question = Question(primary="cost")
    prices = {"m": Price(input=Decimal(3), output=Decimal(1))}
    unknown = compare_recorded(store, *streams, question=question).verdicts.primary
    assert (unknown.control, unknown.missing) == (None, 3)
    told = compare_recorded(store, *streams, question=question, prices=prices).verdicts.primary
    assert (told.control, told.candidate, told.missing) == (6.0, 3.0, 0)


def test_trials_of_a_task_are_averaged_first(tmp_path: Path) -> None:
    """Two tries of each task on one side are one value, and no table of who did what."""
    tried = {(task, trial): float(trial) for task, trial in product(range(6), range(2))}
    store, (a, b) = sides(tmp_path, tried, once(*[1] * 6))
    found = compare_recorded(store, a, b)
    assert found.outcomes is None
    primary = found.verdicts.primary
    assert (primary.items, primary.clusters, primary.difference) == (6, 6, 0.5)
    assert (found.a.pass_hat_k, found.b.pass_hat_k) == ([0.5, 0.0], [1.0])
    assert (found.a.pass_at_k, found.b.pass_at_k) == ([0.5, 1.0], [1.0])


def test_what_cannot_be_set_side_by_side_is_refused(tmp_path: Path) -> None:
    """A conversation on both sides, and sides with nothing in common, are named."""
    store, (a, b) = sides(tmp_path, {(1, 0): 1}, {(2, 0): 1})
    with pytest.raises(UsageError, match="both sides"):
        compare_recorded(store, a, a)
    with pytest.raises(NotFound, match="no task is on both sides"):
        compare_recorded(store, a, b)
    said = "conversations there are none with a customer; .* pair by task, customer, agent"
    with pytest.raises(NotFound, match=said):
        compare_recorded(store, a, b, pair_by="customer")


def test_a_question_may_ask_for_something_else(tmp_path: Path) -> None:
    """Here for broken answers, of which there are none on either side."""
    store, (a, b) = sides(tmp_path, once(*[0] * 40), once(*[1] * 40))
    found = compare_recorded(store, a, b, question=Question(margin=0.5))
    primary = found.verdicts.primary
    assert (primary.metric.name, primary.answer) == ("broken_answers", "equivalent")


@pytest.mark.skipif(not CONVERSATIONS.exists(), reason=f"{CONVERSATIONS.name} is not here")
def test_two_halves_of_the_real_trials_differ_by_no_more_than_chance() -> None:
    """tau-bench's real rewards, two trials of each task a side: pass^1 of all is 0.420."""
    store = refold.open("memory:")
    import_files(store, "tau-bench", [str(CONVERSATIONS)])
    streams = [info.stream for info in store.streams() if "~" not in info.stream]
    a = [stream for stream in streams if stream.endswith(("-0", "-1"))]
    found = compare_recorded(store, a, sorted(set(streams) - set(a)))
    assert (found.pairs, found.a.conversations, found.b.conversations) == (50, 100, 100)
    assert (found.a.pass_hat_k[0] + found.b.pass_hat_k[0]) / 2 == pytest.approx(0.42)
    primary = found.verdicts.primary
    assert (primary.metric.name, primary.clusters) == ("reward", 50)
    assert primary.answer == "inconclusive"
    assert primary.low is not None and primary.high is not None
    assert primary.low < 0 < primary.high


def test_a_cost_is_of_a_conversation_and_clusters_are_those_asked_for() -> None:
    """Four answers at half the price each are not cheaper than one; a wrong name is refused."""
    store = refold.open("memory:")
    for side, steps, cost in (("a", 1, "0.010"), ("b", 4, "0.005")):
        for number in range(30):
            events: list[object] = [UserUtterance(text="q")]
            for step in range(steps):
                price = ModelResponse(cost=Decimal(cost), currency="USD", message_id=f"m{step}")
                events += [price, AgentUtterance(text="hi", message_id=f"m{step}")]
            known_by = {"task": f"t{number}", "desk": f"d{number // 2}"}
            store.append(f"{side}-{number}", events, metadata=known_by)
    a, b = ([f"{side}-{number}" for number in range(30)] for side in "ab")
    question = Question(primary="cost", cluster="desk")
    primary = compare_recorded(store, a, b, question=question).verdicts.primary
    assert (primary.answer, primary.clusters, primary.clustered_by) == ("worse", 15, "desk")
    assert (primary.control, primary.candidate) == pytest.approx((0.01, 0.02))
    with pytest.raises(UsageError, match="no conversation has a dsk"):
        compare_recorded(store, a, b, question=Question(cluster="dsk"))


@pytest.mark.skipif(not GPQA.exists(), reason=f"{GPQA.name} is not here")
def test_two_models_of_gpqa_are_told_apart_because_they_are_paired() -> None:
    """198 questions, five conversations a model: 0.0586 better, with an error of 0.0278.

    Unpaired the error is 0.0405, and nothing could be said.
    """
    store, runs = refold.open("memory:"), defaultdict[str, list[str]](list)
    with GPQA.open() as file:
        for number, row in enumerate(csv.DictReader(file)):
            stream = f"gpqa-{number}"
            score = ScoreRecorded("reward", float(row["score"]), "gpqa")
            talk = [UserUtterance("Which?"), AgentUtterance("B."), score]
            store.append(stream, talk, metadata={"item": row["item_id"]})
            runs["nano" if "nano" in row["model_id"] else "mini"].append(stream)
    found = compare_recorded(store, runs["mini"], runs["nano"], pair_by="item")
    primary = found.verdicts.primary
    assert (primary.metric.name, primary.answer, primary.clusters) == ("reward", "better", 198)
    assert primary.difference == pytest.approx(0.0586, abs=5e-5)
    assert primary.low is not None and primary.high is not None
    assert (primary.high - primary.low) / 2 == pytest.approx(1.972 * 0.0278, abs=2e-4)
    assert found.verdicts.ship == "Ship it: better in the reward of a conversation."
    assert (found.a.conversations, found.b.conversations, found.pairs) == (990, 990, 198)


def test_checks_are_made_of_whole_conversations_and_may_decide(tmp_path: Path) -> None:
    """What b says in every conversation and a in none; where a check does not apply, it is none."""
    store, (a, b) = sides(tmp_path, once(*[0.0] * 8), once(*[1.0] * 8))
    checks = [read_check("says=1.0"), read_check("done_twice")]
    found = compare_recorded(
        store, a, b, checks=checks, question=Question(primary="check:says=1.0")
    )
    primary = found.verdicts.primary
    assert (primary.answer, primary.candidate, primary.control) == ("better", 1.0, 0.0)
    assert primary.plain.startswith(
        "Better: the words hold this: 1.0: 100.0 % with b, 0.0 % with a"
    )
    silent = (
        "check:done_twice: Inconclusive: nothing is done twice: known of no item for both b and a."
    )
    assert silent in summary(found)
    assert silent.replace("twice:", "twice", 1) in Page(render_report(found)).text
    assert found.tasks[0].b[0].values == {
        **{"broken_answers": 0.0, "cost": None, "latency_ms": None, "outcome": 0.0},
        **{"reward": 1.0, "check:says=1.0": 1.0},
    }


def test_what_people_said_later_counts_for_a_version_of_before(tmp_path: Path) -> None:
    """A dataset holds conversations up to a version; how they came out is told afterwards."""
    store, streams = sides(tmp_path, once(*[0] * 8), once(*[0] * 8))
    held = [Dataset.make(store, f"side{n}", side).versions for n, side in enumerate(streams)]
    for value, side in zip(("lost", "resolved"), streams, strict=True):
        for stream in side:
            label(store, stream, rater="desk", labels={"outcome": value})
    found = compare_recorded(store, *held, question=Question(primary="outcome"))
    assert found.verdicts.primary.answer == "better"


def test_the_page_of_two_recordings_leads_to_the_conversations(tmp_path: Path) -> None:
    """The verdict first; each figure leads to its tasks, each task to conversations on the page."""
    store, (a, b) = sides(tmp_path, once(1, 1, 0, 0, 0, 1, 1, 0), once(*[1] * 8))
    found = compare_recorded(store, a, b)
    page = Page(render_report(found, read=store.read, title="Old and new"))
    assert page.all("h1")[0].text == found.verdicts.ship
    assert {link.removeprefix("#") for link in page.links} <= set(page.ids)
    verdict = page.by_id("verdict")
    assert [head.text for head in page.inside(verdict, "th")][2:4] == ["b", "a"]
    assert page.inside(verdict, "a")[0].attributes["href"] == "#metric:reward"
    listed = page.inside(page.by_id("metric:reward"), "span")
    behind = [one for one in listed if "valued" in one.classes]
    assert [page.inside(one, "a")[0].text for one in behind] == [b[2], b[3], b[4], b[7]]
    assert "0 → 1" in behind[0].text
    rows = [row for row in page.all("tr") if "data-levels" in row.attributes]
    levels = [row.attributes["data-levels"] for row in rows]
    assert levels == ["same", "same", "better", "better", "better", "same", "same", "better"]
    turn = page.by_id(f"conversation:{b[0]}")
    assert "Task 0" in turn.text
    assert "reward 1" in turn.text
    assert [e.text for e in page.inside(turn, "b")] == ["User", "Agent"]


def test_the_page_of_two_recordings_hides_what_was_redacted_since(tmp_path: Path) -> None:
    """Whatever version a dataset holds, what was taken out later is not shown."""
    store, (a, b) = sides(tmp_path, once(1, 0), once(1, 1))
    held = Dataset.make(store, "held", b).versions
    said = next(e for e in store.read(b[0]) if e.type == "user.utterance")
    told = RedactionApplied(event=said.id, pointer="/text", method="mask", reason="card")
    store.append(b[0], [told])
    page = Page(render_report(compare_recorded(store, a, held), read=store.read))
    assert "Task 0" not in page.by_id(f"conversation:{b[0]}").text
    assert "[redacted]" in page.by_id(f"conversation:{b[0]}").text
    assert "Task 0" in page.by_id(f"conversation:{a[0]}").text


def test_an_outcome_that_nobody_recorded_is_not_shown() -> None:
    """That all of them ended says nothing; one label does, or an end of another kind."""
    for said in (None, "label", "end"):
        store = refold.open("memory:")
        for n, side in product(range(4), "ab"):
            events: list[object] = [UserUtterance("Hi."), AgentUtterance("Hm."), SessionEnded()]
            if said == "end" and (n, side) == (1, "b"):
                events[-1] = SessionEnded(reason="error")
            store.append(f"{side}-{n}", events, metadata={"task": f"t{n}"})
        if said == "label":
            label(store, "a-1", rater="desk", labels={"outcome": "resolved"})
        held = [[f"{side}-{n}" for n in range(4)] for side in "ab"]
        names = [one.metric.name for one in compare_recorded(store, *held).verdicts]
        assert ("outcome" in names) is (said is not None), said
        asked = compare_recorded(store, *held, question=Question(primary="outcome"))
        assert asked.verdicts.primary.items == 4
        store.close()
