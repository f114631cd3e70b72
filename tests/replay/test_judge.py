"""A judge model says which answer is better: asked in both orders, once, and blind."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from itertools import count

import pytest

import refold
from refold.conversation.events import AgentUtterance, UserUtterance
from refold.replay import Action, ChatEndpoint, ChatRequest, Variant, compare, replay
from refold.replay.actions import ConversationComparison
from refold.replay.judge import Agreement, Judge, agreement, judged
from refold.replay.metrics import observations
from tests.support.chat_server import Body, ChatServer

JUDGE = Judge(model="judge-2026-01-01")
VARIANT = Variant(label="curt")
AT = "call-1@1"


def said(body: Body) -> tuple[str, str]:
    """The two answers that a judge is shown."""
    text = body["messages"][-1]["content"]
    found = re.search(r"Answer 1:\n(.*)\n\nAnswer 2:\n(.*)", text, re.DOTALL)
    assert found is not None
    return found[1], found[2]


def prefers(wanted: str) -> Callable[[Body], Body]:
    """A judge that prefers the answer with this word; neither where both have it, or none."""

    def answer(body: Body) -> Body:
        first, second = ((wanted in one) for one in said(body))
        better = 0 if first == second else 1 if first else 2
        return verdict(better)

    return answer


def verdict(better: int) -> Body:
    text = json.dumps({"why": "It is so.", "better": better})
    return {"role": "assistant", "content": f"```json\n{text}\n```"}


def replayed(store: refold.Store, text: str = "Gate four.") -> list[ConversationComparison]:
    """One question, answered by the record and, in other words, by a candidate."""
    store.append("call-1", [UserUtterance(text="Where?"), AgentUtterance(text="At gate 4.")])
    replay(store, ["call-1"], VARIANT, lambda _: Action(text=text))
    return list(compare(store, ["call-1"], VARIANT).conversations)


def scores(
    store: refold.Store,
    compared: list[ConversationComparison],
    answer: Callable[[Body], Body],
    judge: Judge = JUDGE,
) -> tuple[dict[str, float | None], int]:
    """What a judge behind a real server gives, and how many requests that took."""
    with ChatServer(answer) as server:
        endpoint = ChatEndpoint(server.base_url)
        found = judged(store, compared, judge, endpoint)
        told = {one.item: one.value for one in observations(found, judge.metric)}
        endpoint.close()
        return told, len(server.requests)


@pytest.mark.parametrize(("wanted", "score"), [("four", 1.0), ("gate 4", 0.0), ("zoo", 0.5)])
def test_the_better_answer_is_so_in_both_orders(wanted: str, score: float) -> None:
    """1 for the candidate's, 0 for the recorded one, one half for neither; two requests."""
    with refold.open("memory:") as store:
        assert scores(store, replayed(store), prefers(wanted)) == ({AT: score}, 2)


@pytest.mark.parametrize("better", [1, 2])
def test_a_judge_that_goes_by_the_order_sees_ties(better: int) -> None:
    """It contradicts itself, which is no preference."""
    with refold.open("memory:") as store:
        assert scores(store, replayed(store), lambda _: verdict(better)) == ({AT: 0.5}, 2)


def test_the_judge_is_not_told_whose_an_answer_is() -> None:
    """Neither arm, variant, model nor the agent's prompt; the conversation and the answers."""
    with refold.open("memory:") as store:
        compared = replayed(store)
        with ChatServer(lambda _: verdict(0)) as server:
            list(judged(store, compared, JUDGE, ChatEndpoint(server.base_url)))
        assert sorted(map(said, server.requests)) == [
            ("At gate 4.", "Gate four."),
            ("Gate four.", "At gate 4."),
        ]
        for body in server.requests:
            assert (body["model"], body["temperature"]) == (JUDGE.model, 0)
            assert "user: Where?" in body["messages"][-1]["content"]
            assert not re.search("candidate|record|control|curt", json.dumps(body["messages"]))


def test_what_was_judged_is_never_asked_again() -> None:
    """Not in another run, nor of another variant that answered the same; another judge is."""
    with refold.open("memory:") as store:
        compared = replayed(store)
        assert scores(store, compared, prefers("four"))[1] == 2
        assert scores(store, compared, prefers("zoo")) == ({AT: 1.0}, 0)
        other = Variant(label="the same words")
        replay(store, ["call-1"], other, lambda _: Action(text="Gate four."))
        again = list(compare(store, ["call-1"], other).conversations)
        assert scores(store, again, prefers("zoo")) == ({AT: 1.0}, 0)
        stricter = Judge(model=JUDGE.model, prompt="Be strict.")
        assert stricter.id != JUDGE.id
        assert scores(store, compared, prefers("zoo"), stricter) == ({AT: 0.5}, 2)


def test_the_same_answer_is_a_tie_and_no_request() -> None:
    """There is nothing to judge."""
    with refold.open("memory:") as store:
        assert scores(store, replayed(store, "At gate 4."), prefers("zoo")) == ({AT: 0.5}, 0)


def test_a_judge_that_does_not_say_is_asked_again_next_time() -> None:
    """No score, and nothing is kept of it; half an opinion is none."""
    with refold.open("memory:") as store:
        compared, number = replayed(store), count()

        def once(body: Body) -> Body:
            answered: Mapping[int, Body] = {0: verdict(1)}
            return dict(answered.get(next(number), {"role": "assistant", "content": "Hm."}))

        assert scores(store, compared, once)[0] == {AT: None}
        told, requests = scores(store, compared, prefers("four"))
        assert requests == 1
        assert set(told) == {AT}


def test_agreement_with_people_is_cohens_kappa() -> None:
    """What agrees beyond chance, of what could: (20 + 15) of 50 where 25 are chance (kappa 0.4)."""
    cells = {(1.0, 1.0): 20, (1.0, 0.0): 5, (0.0, 1.0): 10, (0.0, 0.0): 15}
    pairs = [pair for pair, times in cells.items() for _ in range(times)]
    judge = {str(n): one for n, (one, _) in enumerate(pairs)}
    people = {str(n): other for n, (_, other) in enumerate(pairs)}
    found = agreement(judge, people, "two nurses")
    assert (found.items, found.share, found.source) == (50, 0.7, "two nurses")
    assert found.kappa == pytest.approx(0.4)
    assert agreement(judge, judge, "itself").kappa == 1.0
    assert agreement({}, people, "nobody") == Agreement(0, None, None, "nobody")
    assert agreement({"a": 1.0}, {"a": 0.9}, "one") == Agreement(1, 1.0, None, "one")


def test_a_function_may_judge() -> None:
    """As it may answer in a replay."""

    def judge(request: ChatRequest) -> Action:
        return Action(text='{"better": 0}')

    with refold.open("memory:") as store:
        (found,) = judged(store, replayed(store), JUDGE, judge)
        assert found.decisions[0].scores == {JUDGE.metric.name: 0.5}
