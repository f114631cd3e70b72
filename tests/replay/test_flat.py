"""What a decision costs does not grow with the conversation that it stands in."""

import refold
from refold.conversation.events import AgentUtterance, ToolCall, ToolResult, UserUtterance
from refold.replay import Variant, decisions
from refold.replay.request import RequestMaker
from tests.replay.stories import CONFIGURED
from tests.support.work import calls_counted


def conversation(store: refold.Store, turns: int) -> str:
    """One of so many turns, each a call, its result, and words: two decisions."""
    events: list[object] = [CONFIGURED]
    for n in range(turns):
        events += [
            UserUtterance(text=f"{n}?"),
            ToolCall(call_id=f"c{n}", name="lookup", arguments='{"id": "B1"}', message_id=f"a{n}"),
            ToolResult(call_id=f"c{n}", result='{"gate": 4}', name="lookup"),
            AgentUtterance(text=f"{n}.", message_id=f"b{n}"),
        ]
    store.append(f"call-{turns}", events)
    return f"call-{turns}"


def test_a_decision_of_a_long_conversation_takes_no_more_work_than_one_of_a_short() -> None:
    """Finding the decisions, and the request of each for three variants: at 50, 200, 800 turns."""
    variants = [Variant(), Variant(prompt="Be brief."), Variant(model="other", tools=[])]
    calls: dict[int, float] = {}
    last: dict[int, int] = {}
    with refold.open("memory:") as store:
        for turns in (50, 200, 800):
            history = list(store.read(conversation(store, turns)))
            with calls_counted() as counted:
                found = decisions(history)
                maker = RequestMaker(history, variants)
                for decision in found[:-1]:
                    maker.at(decision)
                before = counted[0]
                requests = maker.at(found[-1])
            assert len(found) == 2 * turns
            assert [len(one.messages) for one in requests] == [4 * turns] * 3
            calls[turns], last[turns] = counted[0] / len(found), counted[0] - before
    assert max(calls.values()) < 1.05 * min(calls.values())
    assert max(last.values()) < 1.05 * min(last.values())
