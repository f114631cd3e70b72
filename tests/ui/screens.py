"""A store that holds everything odd, and where on it each screen is looked at."""

from __future__ import annotations

import json
from decimal import Decimal
from urllib.parse import quote

import msgspec

import refold
from refold import Recorded
from refold.conversation.events import (
    AgentConfigured,
    AgentUtterance,
    LabelRecorded,
    ModelFailed,
    ModelResponse,
    Party,
    Prompt,
    ScoreRecorded,
    SessionEnded,
    SessionStarted,
    StatePatched,
    ToolCall,
    ToolResult,
    Usage,
    UserUtterance,
)
from refold.conversation.voice import CallTransferred, PlaybackInterrupted
from refold.ledger.events import BetLost, BetPlaced, FundsDeposited
from refold.privacy.redaction import redact
from refold.privacy.removing import Removal
from refold.projections import Projection, Projector, Rows, Table
from refold.replay import (
    Action,
    Call,
    ChatRequest,
    ModelFailure,
    Variant,
    branch_name,
    replay,
)
from refold.ui.application import SCREENS
from tests.audit.sealed import sealed_by
from tests.replay.test_report import HOSTILE

ODD = (*HOSTILE, "\x1b[31mred\x1b[0m\x1b]0;title\x07", "long" * 700)
ODDEST = "call-<img src=x onerror=alert(1)>\u202e"
VARIANT = Variant(prompt=ODD[0], model=ODD[1], label=ODD[2], params={ODD[3]: ODD[4]}, agent=ODD[0])
REPLAYED = branch_name("call-odd", VARIANT)
NOTHING = "/nothing"
EXAMPLES = {
    "/": ["/", f"/?q={quote(ODD[0])}", "/?q=tool:none"],
    "/conversations/{stream:path}": [
        "/conversations/call-odd",
        "/conversations/call-odd~other",
        f"/conversations/{quote(ODDEST, safe='')}",
    ],
    "/events/{event:path}": ["/events/call-odd@4", f"/events/{quote(ODDEST, safe='')}%402"],
    "/compare": [
        "/compare?a=call-odd&b=call-odd~other",
        f"/compare?a=call-odd&b={quote(REPLAYED)}&only=differences",
    ],
    "/marked": [f"/marked?mark=call-odd&mark={quote(ODDEST)}"],
    "/replays/{name:path}": [
        f"/replays/{VARIANT.id}",
        f"/replays/{VARIANT.id}?behind=levels",
        f"/replays/{VARIANT.id}?behind=conversations",
    ],
    "/write/{form}": ["/write/label?stream=call-odd"],
    "/prompts": [
        "/prompts",
        f"/prompts?version={Prompt(ODD[0]).hash}",
        f"/prompts?a={Prompt(ODD[0]).hash}&b={Prompt(ODD[1]).hash}",
    ],
    "/money": ["/money", "/money?stream=agent-odd", "/money?stream=agent-odd&without=agent-odd@0"],
    "/proof": ["/proof?event=call-odd@4"],
}
"""Of those addresses that need more than themselves."""


def example(address: str) -> list[str]:
    """Where a screen is looked at."""
    assert address in EXAMPLES or "{" not in address, f"{address}: name an example in EXAMPLES"
    return EXAMPLES.get(address, [address])


def looked_at() -> list[tuple[str, str]]:
    """Every screen, and each address where it is looked at; and where there is none."""
    screens = [(screen, address) for screen in SCREENS for address in example(screen)]
    return [*screens, ("none", NOTHING)]


def odd_store() -> refold.Store:
    """Conversations in which everything that may hold text holds every odd text there is."""
    made = refold.open("memory:")
    for stream in ("call-odd", ODDEST):
        made.append(stream, [one for text in ODD for one in odd_events(text)])
    made.append("call-plain", [SessionEnded(reason="completed")])
    said = AgentUtterance(text=ODD[1], message_id="b1")
    made.branch("call-odd", at=6).adding(said).save("call-odd~other")
    made.branch("call-odd~other").adding(said).save("call-odd~other~again")
    control = Variant(label="control")
    replay(made, ["call-odd", ODDEST], VARIANT, odd_answer, control=control, attempts_max=1)
    made.append("agent-odd", [one for text in ODD for one in odd_money(text)])
    made.append("call-gone", [UserUtterance(text="gone")])
    Projector(made, [refusing(ODD[0])]).catch_up()
    sealed_by(made).checkpoint()
    redact(made, ["call-gone@0"], field="/text", wanted=Removal(ODD[0], ODD[1]))
    return made


def odd_money(text: str) -> list[object]:
    """A bet in an asset of a name, as far as one may have that; and one that is nobody's."""
    asset = "".join(one for one in text if one.isprintable() and one != " ")[:16]
    bet = BetPlaced(bet=text, game=text, amount=Decimal(2), asset=asset)
    return [FundsDeposited(reference=text, amount=Decimal(3), asset=asset), bet, BetLost(bet=text)]


def refusing(why: str) -> Projection:
    """A projection that takes no event of a stream whose name begins with ``bad``, or of a bet."""
    said = Table("said_last", SaidRow, key=("stream",))
    made = Projection("said_last", tables=[said])

    @made.on(UserUtterance, BetPlaced)
    def _said(rows: Rows, event: UserUtterance | BetPlaced, recorded: Recorded) -> None:
        if recorded.stream.startswith("bad") or isinstance(event, BetPlaced):
            raise ValueError(why)
        rows.put(said, SaidRow(recorded.stream, event.text))

    return made


class SaidRow(msgspec.Struct):
    """What was said last in a stream."""

    stream: str
    text: str


def odd_answer(request: ChatRequest) -> Action:
    """An answer of odd text, or none for an odd reason, by how much was said before."""
    text = ODD[len(request.messages) % len(ODD)]
    if len(request.messages) % 3 == 0:
        raise ModelFailure(text, kind="refused")
    return Action(text=text, calls=(Call(text, json.dumps({text: text})),))


def odd_events(text: str) -> list[object]:
    """A conversation of one text."""
    call = ToolCall(call_id="c", name=text, arguments=json.dumps({text: text}), message_id="m")
    prompt = Prompt(text=text, id=text)
    return [
        SessionStarted(channel="voice", parties=[Party(role="customer", name=text, id=text)]),
        AgentConfigured(agent=text, version=text, model=text, prompt=prompt),
        UserUtterance(text=text, party=text),
        ModelResponse(model=text, message_id="m", usage=Usage(1, 2), finish_reason=text),
        call,
        ToolResult(call_id="c", result={text: text}, is_error=True),
        call,
        ToolResult(call_id="c", result=text),
        AgentUtterance(text=text, message_id="n"),
        PlaybackInterrupted(played_text=text, message_id="n"),
        ModelFailed(error=text),
        StatePatched([{"op": "add", "path": "/odd", "value": {text: text}}]),
        LabelRecorded(name=text[:200], value=text, rater=text),
        ScoreRecorded(name=text[:200], value=0.5, rater=text),
        CallTransferred(to_party=text, from_party=text),
    ]
