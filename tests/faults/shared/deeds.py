"""What writers do, one deed after the other, chosen by lot; the same for threads and for tasks.

A deed is a generator that gives the calls it wants made of a store and is sent their answers, or
the errors: who makes the calls may await them.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from random import Random
from typing import Any

import msgspec

from refold import NO_STREAM, Decider, Event, Fold, Query
from refold.engine.append import Append
from refold.errors import OutcomeUnknown, Overloaded, RefoldError, Unavailable
from refold.ledger import Balances, wallet
from refold.ledger.commands import LockEscrow, ReleaseEscrow
from refold.ledger.events import FundsDeposited, FundsWithdrawn
from refold.ports import Appended
from tests.faults.shared.journal import Journal, Part, Place
from tests.faults.shared.money import ASSET, OPENING, WALLETS

TRIES_MAX = 200
SHARED = 4
AGAIN = 0.1
"""So often a keyed append that was acknowledged is made again, to hear the same."""
ESCROW = "set-aside"

Ask = Callable[[Any], Any]
Deed = Generator[Ask, Any, Any]
To = Callable[[str, str | None], Ask]
"""The call of a deed, by its name and its key."""


class Count(msgspec.Struct, frozen=True):
    """Count one more; ``op`` tells it from others."""

    op: str


counted: Fold[int] = Fold("test-counted", int)


@counted.on("test.counted")
def _counted(state: int, event: dict[str, Any]) -> int:
    assert event["value"] == state + 1
    return state + 1


counter: Decider[int, Count] = Decider(
    counted, lambda _, state: [Event("test.counted", {"n": 0, "value": state + 1})]
)


@dataclass
class Lane:
    """Who does them: its name, its journal, its lot."""

    name: str
    journal: Journal
    lot: Random
    turn: int = 0
    own: str = field(init=False)

    def __post_init__(self) -> None:
        self.own = f"lane-{self.name}"

    def deed(self) -> Deed:
        """The next one."""
        self.turn += 1
        chosen: Callable[[Lane], Deed] = self.lot.choice(CHOICE)
        return chosen(self)


def attempted(lane: Lane, parts: Sequence[Part], is_keyed: bool, to: To) -> Deed:
    """Make an append until it is known what became of it; what it answered, or None."""
    op = f"{lane.name}.{lane.turn}"
    ask, journal = to(op, op if is_keyed else None), lane.journal
    journal.begin(op, parts)
    is_doubtful = False
    for _ in range(TRIES_MAX):
        answer = yield ask
        if isinstance(answer, OutcomeUnknown):
            journal.unknown(op)
            is_doubtful = True
            if not is_keyed:
                return None
        elif isinstance(answer, Unavailable | Overloaded):
            # Nothing was written; so it may be made again, or not.
            if not is_doubtful and lane.lot.random() < 0.3:
                return journal.refused(op, answer.code)
        elif isinstance(answer, RefoldError):
            return journal.refused(op, answer.code)
        elif answer is None:
            return journal.refused(op, "nothing to do")
        else:
            journal.told(op, places(answer))
            if is_keyed and lane.lot.random() < AGAIN:
                again = yield ask
                if not isinstance(again, RefoldError):
                    journal.told(op, places(again))
            return answer
    return None


def places(answer: Appended | Sequence[Appended]) -> list[Place]:
    """Where the parts of an append are, by its answer."""
    parts = [answer] if isinstance(answer, Appended) else answer
    return [Place(one.stream, one.version, one.position, one.event_count) for one in parts]


def events(count: int, kind: str = "test.noted", **data: Any) -> list[Event]:
    """Events of an append, numbered."""
    return [Event(kind, {"n": n, **data}) for n in range(count)]


def to_own(lane: Lane) -> Deed:
    """A few events to a stream that is the lane's alone."""
    count = lane.lot.randint(1, 4)

    def to(op: str, key: str | None) -> Ask:
        noted = events(count)
        return lambda store: store.append(lane.own, noted, key=key, metadata={"op": op})

    return (yield from attempted(lane, [(lane.own, count)], lane.lot.random() < 0.5, to))


def to_shared(lane: Lane) -> Deed:
    """To a stream that all append to: at the version that was read, or at any."""
    stream, count = f"shared-{lane.lot.randrange(SHARED)}", lane.lot.randint(1, 2)
    given: dict[str, Any] = {}
    if lane.lot.random() < 0.5:
        head = yield lambda store: store.head(stream)
        if isinstance(head, RefoldError):
            return None
        given = {"expected": head} if head >= 0 else {}

    def to(op: str, key: str | None) -> Ask:
        noted = events(count)
        return lambda store: store.append(stream, noted, key=key, metadata={"op": op}, **given)

    return (yield from attempted(lane, [(stream, count)], lane.lot.random() < 0.5, to))


def to_new(lane: Lane) -> Deed:
    """The first event of a stream: several try, one may."""
    stream = f"new-{lane.turn // 2}"

    def to(op: str, key: str | None) -> Ask:
        given: dict[str, Any] = {"key": key, "metadata": {"op": op}, "expected": NO_STREAM}
        noted = events(1)
        return lambda store: store.append(stream, noted, **given)

    return (yield from attempted(lane, [(stream, 1)], lane.lot.random() < 0.3, to))


def to_several(lane: Lane) -> Deed:
    """To two streams at once, all or nothing."""
    shared = f"shared-{lane.lot.randrange(SHARED)}"
    parts = [(lane.own, 2), (shared, 1)]

    def to(op: str, key: str | None) -> Ask:
        numbered = events(3)
        appends = [
            Append(lane.own, numbered[:2], metadata={"op": op}),
            Append(shared, numbered[2:], metadata={"op": op}),
        ]
        return lambda store: store.append_together(appends, key=key)

    return (yield from attempted(lane, parts, lane.lot.random() < 0.5, to))


def to_a_seat(lane: Lane) -> Deed:
    """Take a seat, unless somebody has."""
    seat, stream = f"seat:{lane.turn // 2}", f"sitting-{lane.name}"
    taken = Query(types=["test.seated"], tags=[seat])

    def to(op: str, key: str | None) -> Ask:
        given: dict[str, Any] = {"key": key, "metadata": {"op": op}, "tags": [seat]}
        noted = events(1, "test.seated", seat=seat)
        return lambda store: store.append(stream, noted, unless=taken, **given)

    return (yield from attempted(lane, [(stream, 1)], lane.lot.random() < 0.5, to))


def to_count(lane: Lane) -> Deed:
    """A command whose event says what it was decided on."""
    stream = f"count-{lane.lot.randrange(SHARED)}"

    def to(op: str, key: str | None) -> Ask:
        given: dict[str, Any] = {"command_id": key, "metadata": {"op": op}}
        return lambda store: store.execute(stream, counter, Count(op), **given)

    return (yield from attempted(lane, [(stream, 1)], lane.lot.random() < 0.5, to))


def to_set_aside(lane: Lane) -> Deed:
    """A command of the ledger: set money aside, or take it back; it may be refused."""
    account, amount = f"wallet-{lane.lot.randrange(WALLETS)}", _amount(lane)
    kind = lane.lot.choice([LockEscrow, ReleaseEscrow])
    command = kind(amount=amount, asset=ASSET, escrow=ESCROW)

    def to(op: str, key: str | None) -> Ask:
        given: dict[str, Any] = {"command_id": key, "metadata": {"op": op}}
        return lambda store: store.execute(account, wallet, command, **given)

    return (yield from attempted(lane, [(account, 1)], lane.lot.random() < 0.5, to))


def to_transfer(lane: Lane) -> Deed:
    """Move money between two accounts, at the versions at which there was enough."""
    numbers = lane.lot.sample(range(WALLETS), 2)
    giver, taker = (f"wallet-{number}" for number in numbers)
    amount, expected = _amount(lane), []
    for account in (giver, taker):
        folded = yield folding(account)
        if isinstance(folded, RefoldError):
            return None
        if account == giver and folded.state.of(ASSET).available < amount:
            return None
        expected.append(folded.version)

    def to(op: str, key: str | None) -> Ask:
        moved: dict[str, Any] = {"amount": amount, "asset": ASSET, "reference": op}
        appends = [
            Append(giver, [FundsWithdrawn(**moved)], expected[0], {"op": op}),
            Append(taker, [FundsDeposited(**moved)], expected[1], {"op": op}),
        ]
        return lambda store: store.append_together(appends, key=key)

    return (yield from attempted(lane, [(giver, 1), (taker, 1)], lane.lot.random() < 0.5, to))


def folding(account: str) -> Ask:
    """Ask what is in an account."""
    return lambda store: store.fold(account, Balances)


def _amount(lane: Lane) -> Decimal:
    return Decimal(lane.lot.randint(1, 4_000)) / 100


def openings(lane: Lane) -> list[Deed]:
    """What every account has to begin with."""
    return [_opening(lane, number) for number in range(WALLETS)]


def _opening(lane: Lane, number: int) -> Deed:
    lane.turn, account = number, f"wallet-{number}"

    def to(op: str, key: str | None) -> Ask:
        paid = [FundsDeposited(amount=OPENING, asset=ASSET)]
        return lambda store: store.append(account, paid, key=key, metadata={"op": op})

    return (yield from attempted(lane, [(account, 1)], True, to))


CHOICE: list[Callable[[Lane], Deed]] = [
    *(to_own, to_own, to_own, to_shared, to_shared, to_new, to_several, to_a_seat),
    *(to_count, to_set_aside, to_transfer, to_transfer),
]
