"""Deciders as sentences: what passes, and what a failure says."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import partial

import msgspec
import pytest

from refold.core.event import Event
from refold.core.fold import Decider, Fold
from refold.core.recorded import Recorded
from refold.core.registry import Registry
from refold.errors import InvalidEvent, Rejected
from refold.testing import as_recorded, given

REGISTRY = Registry()


@REGISTRY.event("account.opened")
class Opened(msgspec.Struct, frozen=True):
    """An account was opened."""

    owner: str


@REGISTRY.event("money.withdrawn")
class Withdrawn(msgspec.Struct, frozen=True):
    """Money went out."""

    amount: Decimal


@dataclass(frozen=True)
class Withdraw:
    """The command under test."""

    amount: int


class Account(msgspec.Struct):
    """What is left, and who was met as a recorded event."""

    left: Decimal = Decimal(100)
    seen: str = ""


ACCOUNT: Fold[Account] = Fold("account", Account, registry=REGISTRY)


@ACCOUNT.on(Opened)
def _opened(state: Account, event: Opened, recorded: Recorded) -> Account:
    state.seen = recorded.id
    return state


@ACCOUNT.on(Withdrawn)
def _withdrawn(state: Account, event: Withdrawn) -> Account:
    state.left -= event.amount
    return state


def decide(command: Withdraw, state: Account) -> Sequence[object]:
    """Nothing for nothing, no for too much, else the money."""
    if command.amount == 0:
        return []
    if command.amount > state.left:
        raise Rejected("too_little", left=state.left)
    return [Withdrawn(Decimal(command.amount))]


account = Decider(ACCOUNT, decide)
ANN = Opened("ann")
SPENT = Withdrawn(Decimal(70))


def failure(claim: Callable[[], object]) -> list[str]:
    """The lines of what a claim that does not hold says."""
    with pytest.raises(AssertionError) as caught:
        claim()
    return str(caught.value).splitlines()


def test_what_holds_passes() -> None:
    """Events, nothing, a rejection with its facts, and the state that is reached."""
    given(account, ANN).when(Withdraw(30)).then(Withdrawn(Decimal(30)))
    given(account).when(Withdraw(0)).then_nothing()
    given(account, ANN, SPENT).when(Withdraw(50)).then_rejected()
    given(account, ANN, SPENT).when(Withdraw(50)).then_rejected("too_little", left=Decimal(30))
    given(account, ANN).when(Withdraw(30)).then_state(Account(Decimal(70), "test-1@0"))


def test_an_event_is_what_would_be_stored() -> None:
    """An untyped event with the same type, schema and payload is the same event."""
    untyped = Event("money.withdrawn", {"amount": "30"})
    given(account, ANN).when(Withdraw(30)).then(untyped)
    for other in (
        Event("money.withdrawn", {"amount": "30.0"}),
        Event("money.withdrawn.v2", {"amount": "30"}),
        Event("money.withdrawn", {"amount": "30"}, metadata={"by": "me"}),
        Event("money.withdrawn", {"amount": "30"}, occurred_at=5),
    ):
        assert failure(partial(given(account, ANN).when(Withdraw(30)).then, other))


def test_a_failure_tells_the_whole_story() -> None:
    """Given, when, what was expected and what happened, each event as it would be stored."""
    assert failure(lambda: given(account, ANN, SPENT).when(Withdraw(30)).then(SPENT)) == [
        "given",
        '  account.opened {"owner":"ann"}',
        '  money.withdrawn {"amount":"70"}',
        "when",
        "  Withdraw(amount=30)",
        "then expected",
        '  money.withdrawn {"amount":"70"}',
        "but got",
        '  money.withdrawn {"amount":"30"}',
        "which differs in",
        "  event 0 at /amount: expected '70', got '30'",
    ]


@pytest.mark.parametrize(
    ("claim", "last_lines"),
    [
        (
            lambda: given(account).when(Withdraw(500)).then(SPENT),
            ["but got", "  rejected: reason='too_little', left=Decimal('100')"],
        ),
        (
            lambda: given(account).when(Withdraw(1)).then_rejected("too_little"),
            ["  rejected: reason='too_little'", "but got", '  money.withdrawn {"amount":"1"}'],
        ),
        (
            lambda: given(account).when(Withdraw(0)).then_rejected(),
            ["  rejected: for any reason", "but got", "  nothing"],
        ),
        (
            lambda: given(account).when(Withdraw(500)).then_rejected("another"),
            [
                "but got",
                "  rejected: reason='too_little', left=Decimal('100')",
                "which differs in",
                "  /reason: expected 'another', got 'too_little'",
            ],
        ),
        (
            lambda: given(account).when(Withdraw(500)).then_rejected("too_little", left=1),
            ["which differs in", "  /left: expected 1, got Decimal('100')"],
        ),
        (
            lambda: given(account).when(Withdraw(500)).then_rejected(code="broke"),
            ["which differs in", "  /code: expected 'broke', got 'rejected'"],
        ),
        (
            lambda: given(account).when(Withdraw(500)).then_rejected(missing=None),
            ["which differs in", "  /missing: expected None, got nothing"],
        ),
        (
            lambda: given(account).when(Withdraw(1)).then_nothing(),
            [
                "  nothing",
                "but got",
                '  money.withdrawn {"amount":"1"}',
                "which differs in",
                "  event 0: expected nothing, got money.withdrawn",
            ],
        ),
        (
            lambda: given(account).when(Withdraw(1)).then_state(Account()),
            [
                "but got",
                "  state Account(left=Decimal('99'), seen='')",
                "which differs in",
                "  /left: expected '100', got '99'",
            ],
        ),
        (
            lambda: given(account).when(Withdraw(500)).then_state(Account()),
            ["but got", "  rejected: reason='too_little', left=Decimal('100')"],
        ),
    ],
)
def test_each_claim_can_fail(claim: Callable[[], object], last_lines: list[str]) -> None:
    """A claim that does not hold says what happened in its place."""
    assert failure(claim)[-len(last_lines) :] == last_lines


@pytest.mark.parametrize(
    ("other", "last_lines"),
    [
        (
            Event("money.withdrawn", {"amount": "30"}, metadata={"cause": {"id": "call-1@7"}}),
            [
                "then expected",
                """  money.withdrawn {"amount":"30"} metadata={'cause': {'id': 'call-1@7'}}""",
                "but got",
                '  money.withdrawn {"amount":"30"}',
                "which differs in",
                "  event 0 in its metadata at /cause: expected {'id': 'call-1@7'}, got nothing",
            ],
        ),
        (
            Event("money.withdrawn", {"amount": "30"}, occurred_at=5),
            [
                "then expected",
                '  money.withdrawn {"amount":"30"} occurred_at=1970-01-01T00:00:00.000005Z',
                "but got",
                '  money.withdrawn {"amount":"30"}',
                "which differs in",
                (
                    "  event 0 in its time: expected 1970-01-01T00:00:00.000005Z, "
                    "got 1970-01-01T00:00:00Z"
                ),
            ],
        ),
        (
            Event("money.withdrawn.v2", {"amount": "30"}),
            ["  event 0: expected money.withdrawn.v2, got money.withdrawn"],
        ),
    ],
)
def test_what_differs_is_shown(other: Event, last_lines: list[str]) -> None:
    """Metadata, such as causes, and times are part of an event, and told where they are its own."""
    lines = failure(partial(given(account, ANN).when(Withdraw(30)).then, other))
    assert lines[-len(last_lines) :] == last_lines


def test_a_difference_deep_in_a_long_event_is_found() -> None:
    """Where both sides are cut before it, the place is told all the same; ten places at most."""

    def many(command: int, state: Account) -> Sequence[object]:
        items = [{"text": "x" * 50, "n": n + command} for n in range(30)]
        return [Event("list.made", {"items": items[:20]}), Event("list.made", {"items": items})]

    listing: Decider[Account, int] = Decider(ACCOUNT, many)
    expected = many(0, Account())
    changed = Event("list.made", {"items": [*expected[1].data["items"][:-1], "last"]})  # type: ignore[attr-defined]
    lines = failure(partial(given(listing).when(0).then, expected[0], changed))
    assert max(map(len, lines)) < 450
    assert lines[-1].startswith("  event 1 at /items/29: expected 'last', got {'text': 'xxx")
    lines = failure(partial(given(listing).when(1).then, *expected))
    assert lines[-11:-1] == [
        f"  event 0 at /items/{n}/n: expected {n}, got {n + 1}" for n in range(10)
    ]
    assert lines[-1] == "  …"


def test_a_rejection_shows_a_code_of_its_own() -> None:
    """And can be told by it."""

    def refuse(command: int, state: Account) -> Rejected:
        return Rejected("no", code="over_limit", limit=5)

    refusing: Decider[Account, int] = Decider(ACCOUNT, refuse)
    given(refusing).when(1).then_rejected("no", code="over_limit", limit=5)
    assert failure(lambda: given(refusing).when(1).then_nothing())[-1] == (
        "  rejected: reason='no', limit=5, code='over_limit'"
    )


def test_a_state_without_a_json_form_is_shown_whole() -> None:
    """There is nothing to say of its places."""
    fold: Fold[object] = Fold("odd", object)
    odd: Decider[object, int] = Decider(fold, lambda command, state: [])
    lines = failure(lambda: given(odd).when(1).then_state(object()))
    assert lines[-2] == "but got"


def test_what_cannot_be_recorded_is_no_history() -> None:
    """Given, decided and expected events pass the codec, as they would in a store."""
    bad = Event("money.withdrawn", {"amount": float("nan")})
    with pytest.raises(InvalidEvent):
        given(account, bad).when(Withdraw(1))
    with pytest.raises(InvalidEvent):
        given(account).when(Withdraw(1)).then(bad)


def test_another_error_of_a_decider_is_not_an_answer() -> None:
    """Only a rejection is; what a bug raises goes through."""
    broken: Decider[Account, Withdraw] = Decider(ACCOUNT, lambda command, state: [1 / 0])
    with pytest.raises(ZeroDivisionError):
        given(broken).when(Withdraw(1))


def test_recorded_events_without_a_store() -> None:
    """Dense places from 0 and 1, the given stream and time; none for none."""
    first, second = as_recorded([ANN, SPENT], stream="a-1", registry=REGISTRY, recorded_at_us=7)
    assert (first.id, first.position, second.id, second.position) == ("a-1@0", 1, "a-1@1", 2)
    assert (first.event, second.occurred_at_us) == (ANN, 7)
    assert as_recorded([]) == []


def test_deciders_can_be_tested_without_pytest() -> None:
    """Only the suites for stores need it; refold itself imports neither."""
    script = (
        "import sys, refold; assert 'refold.testing' not in sys.modules; "
        "import refold.testing; assert 'pytest' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)
