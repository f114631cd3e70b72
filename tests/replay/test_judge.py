"""A judge model says which answer is better: asked in both orders, once, and blind."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from contextlib import closing
from decimal import Decimal
from itertools import count
from typing import Any

import pytest

import refold
from refold.conversation.chat_export import GrowingMessages
from refold.conversation.events import AgentUtterance, UserUtterance
from refold.errors import Unavailable, UsageError
from refold.replay import (
    Action,
    ChatEndpoint,
    ChatRequest,
    Price,
    Variant,
    branch_name,
    compare,
    label,
    replay,
)
from refold.replay.arms import Question
from refold.replay.compare import Comparison
from refold.replay.judge import Agreement, Judge, agreement
from refold.replay.judging import Judging, ask_judge
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


def replayed(store: refold.Store, text: str = "Gate four.", variant: Variant = VARIANT) -> None:
    """One question, answered by the record and, in other words, by a candidate."""
    if store.head("call-1") < 0:
        store.append("call-1", [UserUtterance(text="Where?"), AgentUtterance(text="At gate 4.")])
    replay(store, ["call-1"], variant, lambda _: Action(text=text))


def compared(
    store: refold.Store, judge: Judge = JUDGE, variant: Variant = VARIANT, **how: Any
) -> Comparison:
    """What the judge has said by now of the answers."""
    return compare(store, ["call-1"], variant, judge=judge, **how)


def scores(
    store: refold.Store,
    answer: Callable[[Body], Body],
    judge: Judge = JUDGE,
    variant: Variant = VARIANT,
) -> tuple[dict[str, float | None], int]:
    """What a judge behind a real server gives, and how many requests that took."""
    with ChatServer(answer) as server:
        endpoint = ChatEndpoint(server.base_url)
        ask_judge(store, ["call-1"], [(variant, None)], judge, endpoint)
        endpoint.close()
        found = compared(store, judge, variant).conversations
        return {o.item: o.value for o in observations(found, judge.metric)}, len(server.requests)


@pytest.mark.parametrize(("wanted", "score"), [("four", 1.0), ("gate 4", 0.0), ("zoo", 0.5)])
def test_the_better_answer_is_so_in_both_orders(wanted: str, score: float) -> None:
    """1 for the candidate's, 0 for the recorded one, one half for neither; two requests."""
    with refold.open("memory:") as store:
        replayed(store)
        assert scores(store, prefers(wanted)) == ({AT: score}, 2)


@pytest.mark.parametrize("better", [1, 2])
def test_a_judge_that_goes_by_the_order_sees_ties(better: int) -> None:
    """It contradicts itself, which is no preference."""
    with refold.open("memory:") as store:
        replayed(store)
        assert scores(store, lambda _: verdict(better)) == ({AT: 0.5}, 2)


def test_the_judge_is_not_told_whose_an_answer_is() -> None:
    """Neither arm, variant, model nor the agent's prompt; the conversation and the answers."""
    with refold.open("memory:") as store:
        replayed(store)
        with ChatServer(lambda _: verdict(0)) as server:
            ask(store, ChatEndpoint(server.base_url))
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
        replayed(store)
        assert scores(store, prefers("four"))[1] == 2
        assert scores(store, prefers("zoo")) == ({AT: 1.0}, 0)
        other = Variant(label="the same words")
        replayed(store, variant=other)
        assert scores(store, prefers("zoo"), variant=other) == ({AT: 1.0}, 0)
        stricter = Judge(model=JUDGE.model, prompt="Be strict.")
        elsewhere = Judge(model=JUDGE.model, endpoint="http://127.0.0.1:1/v1")
        assert len({JUDGE.id, stricter.id, elsewhere.id}) == 3
        assert scores(store, prefers("zoo"), stricter) == ({AT: 0.5}, 2)


def test_the_same_answer_is_a_tie_and_no_request() -> None:
    """There is nothing to judge."""
    with refold.open("memory:") as store:
        replayed(store, "At gate 4.")
        assert scores(store, prefers("zoo")) == ({AT: 0.5}, 0)


def test_a_judge_that_does_not_say_is_asked_again_next_time() -> None:
    """No score, and nothing is kept of it; half an opinion is none."""
    with refold.open("memory:") as store:
        replayed(store)
        number = count()

        def once(body: Body) -> Body:
            answered: Mapping[int, Body] = {0: verdict(1)}
            return dict(answered.get(next(number), {"role": "assistant", "content": "Hm."}))

        assert scores(store, once)[0] == {AT: None}
        told, requests = scores(store, prefers("four"))
        assert requests == 1
        assert set(told) == {AT}


def test_a_judge_that_talks_nonsense_gives_no_score_that_looks_like_one() -> None:
    """Nor are ties made of it where some answers are the same; its words are told."""
    with refold.open("memory:") as store:
        talk = [UserUtterance("Where?"), AgentUtterance("At gate 4.")]
        store.append("call-1", [*talk, UserUtterance("Sure?"), AgentUtterance("Yes.")])
        replay(store, ["call-1"], VARIANT, lambda _: Action(text="Yes."))
        done = ask(store, lambda _: Action(text="purple monkey"))
        assert (done.chose, done.failed, done.unread) == (0, 2, "purple monkey")
        found = compared(store).conversations
        assert {o.value for o in observations(found, JUDGE.metric)} <= {None}


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
        replayed(store)
        ask(store, judge)
        assert compared(store).conversations[0].decisions[0].scores == {"judge": 0.5}


def ask(store: refold.Store, candidate: Any, **how: Any) -> Judging:
    """Ask the judge about the answers of the variant."""
    return ask_judge(store, ["call-1"], [(VARIANT, None)], JUDGE, candidate, **how)


def test_one_request_each_builds_on_the_one_before(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each event of a conversation is read into messages once, however long it is."""
    added: list[object] = []
    add = GrowingMessages.add

    def counted(self: GrowingMessages, recorded: refold.Recorded) -> Any:
        added.append(recorded.id)
        return add(self, recorded)

    with refold.open("memory:") as store:
        store.append("call-1", [UserUtterance("Where?"), AgentUtterance("At gate 4.")] * 30)
        replay(store, ["call-1"], VARIANT, lambda _: Action(text="Gate four."))
        monkeypatch.setattr(GrowingMessages, "add", counted)
        assert ask(store, lambda _: Action(text='{"better": 1}')).chose == 60
        assert len(added) == len(set(added)) == 59


def test_a_long_conversation_is_told_from_its_end() -> None:
    """What the judge is shown is bounded, and the last that was said is in it."""
    seen: list[str] = []

    def judge(request: ChatRequest) -> Action:
        seen.append(request.messages[-1]["content"])
        return Action(text='{"better": 1}')

    with refold.open("memory:") as store:
        words = [UserUtterance(f"Word {n} {'x' * 1_000}") for n in range(60)]
        store.append("call-1", [*words, AgentUtterance("At gate 4.")])
        replay(store, ["call-1"], VARIANT, lambda _: Action(text="Gate four."))
        ask(store, judge)
    assert all(len(text) < 41_000 for text in seen)
    assert all("Word 59 " in text and "Word 9 " not in text for text in seen)


def test_a_judge_that_is_away_is_an_error_of_its_own() -> None:
    """As of any service: no group of errors; and what was said before is kept."""
    with refold.open("memory:") as store:
        replayed(store)
        endpoint = ChatEndpoint("http://127.0.0.1:9/v1", timeout_s=1)
        with pytest.raises(Unavailable):
            ask(store, endpoint, outage_max_s=0.0)
        endpoint.close()
        with pytest.raises(UsageError, match="no model"):
            ask(store, raises_usage)


def raises_usage(request: ChatRequest) -> Action:
    raise UsageError("no model to ask")


def test_the_budget_of_a_judge_is_kept() -> None:
    """What is spent ends it, and it says so; a model without a price cannot be kept to one."""
    prices = {JUDGE.model: Price(input=Decimal(1), output=Decimal(1))}
    with refold.open("memory:") as store:
        store.append("call-1", [UserUtterance("Where?"), AgentUtterance("At gate 4.")] * 9)
        replay(store, ["call-1"], VARIANT, lambda _: Action(text="Gate four."))
        with ChatServer(lambda _: verdict(1)) as server, closing(endpoint_of(server)) as endpoint:
            done = ask(store, endpoint, max_cost=Decimal("0.003"), prices=prices)
            assert done.stopped.startswith("the budget is spent")
            assert 0 < done.chose == len(server.requests) < 18
            assert done.cost is not None
            assert done.cost <= Decimal("0.003")
            with pytest.raises(UsageError, match="nobody says what judge-2026"):
                ask(store, endpoint, max_cost=Decimal("0.003"))


def endpoint_of(server: ChatServer) -> ChatEndpoint:
    return ChatEndpoint(server.base_url)


def test_people_are_set_beside_the_judge() -> None:
    """Scores named better, of an answer on its branch; of several raters the mean; not the rest."""
    with refold.open("memory:") as store:
        store.append("call-1", [UserUtterance("Where?"), AgentUtterance("At gate 4.")] * 3)
        replay(store, ["call-1"], VARIANT, lambda _: Action(text="Gate four."))
        ask(store, lambda request: Action(text='{"better": 0}'))
        branch = branch_name("call-1", VARIANT)
        found = compared(store)
        assert found.judge is not None
        assert found.judge.agreement == Agreement(0, None, None, "")
        assert "Nobody has said whether judge-2026-01-01 judges well" in found.not_measured
        first, second, _ = [one.answer for one in found.conversations[0].decisions]
        for rater, at, value in [("ann", first, 1.0), ("ben", first, 0.0), ("ann", second, 1.0)]:
            label(store, branch, rater=rater, scores={"better": value, "kind": 5.0}, at=at)
        label(store, "call-1", rater="ann", scores={"better": 1.0})
        found = compared(store)
        assert found.judge is not None
        # Ann and Ben are a tie of the first together, which the judge saw too.
        assert found.judge.agreement == Agreement(2, 0.5, 0.0, "ann and ben")
        assert "agrees with ann and ben in 50% of the 2 answers" in found.not_measured


@pytest.mark.parametrize(("wanted", "answer"), [("four", "better"), ("gate 4", "worse")])
def test_what_a_judge_prefers_decides(wanted: str, answer: str) -> None:
    """As the primary metric: against the record, which is as good as itself."""
    calls = [f"call-{n}" for n in range(8)]
    with refold.open("memory:") as store, ChatServer(prefers(wanted)) as server:
        for call in calls:
            store.append(call, [UserUtterance("Where?"), AgentUtterance("At gate 4.")])
        replay(store, calls, VARIANT, lambda _: Action(text="Gate four."))
        with closing(endpoint_of(server)) as endpoint:
            ask_judge(store, calls, [(VARIANT, None)], JUDGE, endpoint)
        found = compare(store, calls, VARIANT, judge=JUDGE, question=Question(primary="judge"))
        primary = found.verdicts.primary
        assert (primary.answer, primary.control) == (answer, 0.5)
        with pytest.raises(UsageError, match="a judge where there is one"):
            compare(store, calls, VARIANT, question=Question(primary="judge"))
