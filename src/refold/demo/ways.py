"""Two agents that show what only a free run can tell; each is the demo agent but for one thing.

The one does at every recorded decision what was recorded, and yet goes wrong by itself: it offers
"a time" and does not say which, so that it cannot tell later what was agreed. The other says
everything in other words, and looks two things up in one answer where the demo agent takes two, and
comes to the same end.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import reduce
from typing import Any, Final

from msgspec.structs import replace

import refold
from refold.demo.agent import AgentReply, answer
from refold.demo.listen import listen
from refold.demo.tables import slot_label
from refold.freerun import FreeRun
from refold.replay import ChatEndpoint, Question, Variant, compare, replay
from refold.replay.report import ToldBeside

NO_TIME: Final = "refold-demo-names-no-time"
AT_ONCE: Final = "refold-demo-asks-at-once"


def _names_no_time(request: Mapping[str, Any]) -> AgentReply:
    reply = answer(request, 0)
    labels = map(slot_label, listen(request["messages"]).slots)
    return AgentReply(
        reduce(lambda text, one: text.replace(one, "a time"), labels, reply.text), reply.calls
    )


def _asks_at_once(request: Mapping[str, Any]) -> AgentReply:
    reply, talk = answer(request, 0), listen(request["messages"])
    if [name for name, _ in reply.calls] == ["find_patient"] and not talk.listing:
        # What it would do if the patient were found.
        call = {"id": "", "function": {"name": "find_patient", "arguments": "{}"}}
        found = {"role": "tool", "tool_call_id": "", "content": '{"patient_id": "?"}'}
        then = [*request["messages"], {"role": "assistant", "tool_calls": [call]}, found]
        return AgentReply(calls=(*answer({**request, "messages": then}, 0).calls, *reply.calls))
    return AgentReply(f"Very well. {reply.text}" if reply.text else "", reply.calls)


OF_DECISIONS: Final = Question(primary="same_calls", margin=0.25)
OF_CALLS: Final = Question(primary="same_course", margin=0.25)
"""What is asked of single decisions, and of whole calls; a dozen calls tell no less apart."""
WAYS: Final[dict[str, Callable[[Mapping[str, Any]], AgentReply]]] = {
    NO_TIME: _names_no_time,
    AT_ONCE: _asks_at_once,
}
"""The agents by the model that is asked for."""
_SAYS: Final = {
    NO_TIME: "It does not say which time it offers, and books none: no single decision shows it",
    AT_ONCE: "Other words, and two look-ups in one answer: it comes to the same end",
}


def own_ways(store: refold.Store, streams: list[str], endpoint: ChatEndpoint) -> list[ToldBeside]:
    """Both agents on recorded calls: asked at every decision, and let go on by themselves."""
    shown, control = [], Variant(params={"seed": 1})
    for model, says in _SAYS.items():
        variant, free = Variant(model=model, label=model), FreeRun()
        replay(store, streams, variant, endpoint, control=control, **_declaring(OF_DECISIONS))
        replay(store, streams, variant, endpoint, mode=free, **_declaring(OF_CALLS))
        both = [
            compare(store, streams, variant, control=control, question=OF_DECISIONS),
            compare(store, streams, free.stamped(variant), question=OF_CALLS),
        ]
        shown.append(ToldBeside(says, [replace(one, conversations=[]) for one in both]))
    return shown


def _declaring(question: Question) -> dict[str, Any]:
    return {"primary": question.primary, "margin": question.margin, "workers": 2}
