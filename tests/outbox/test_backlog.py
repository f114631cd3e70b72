"""The pure half of an outbox: what is open, and what comes next."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from refold.conversation import EffectCommitted
from refold.core.event import Event
from refold.core.recorded import Recorded
from refold.outbox.backlog import Backlog, Order, Schedule
from refold.outbox.effects import (
    EffectFailed,
    EffectRequested,
    RequestedEffect,
    asked_by,
    outcome_key,
)
from refold.testing import as_recorded


def log_of(*events: object, stream: str = "order-1") -> list[Recorded]:
    """Events as a log of one stream holds them, at positions from 1."""
    return as_recorded(events, stream=stream)


def request(name: str = "mail") -> EffectRequested:
    """A request."""
    return EffectRequested(name)


def done(number: int) -> EffectCommitted:
    """The outcome of the request at a version."""
    return EffectCommitted("r", effect=f"order-1@{number}")


def backlog(effects_max: int = 100, until: int | None = None) -> Backlog:
    """A backlog that wants everything but what is called ``other``."""
    return Backlog(wanted=lambda asked: asked.name != "other", effects_max=effects_max, until=until)


def read(backlog: Backlog, log: list[Recorded], after: int = 0) -> list[str]:
    """Feed a log; the ids that are open."""
    for recorded in log:
        if recorded.position > after:
            backlog.note(recorded)
    return list(backlog.open)


def test_what_has_no_outcome_is_open() -> None:
    """A request until its outcome, of either kind; only what is wanted."""
    failed = EffectFailed("order-1@1", "refused", "no")
    log = log_of(request(), request(), request("other"), request(), done(0), failed)
    assert read(backlog(), log) == ["order-1@3"]


def test_what_is_open_is_given_out_once() -> None:
    """And what was settled before it was given out never is, nor kept."""
    held = backlog()
    read(held, log_of(request(), request(), done(0)))
    assert [asked.id for asked in held.take_new()] == ["order-1@1"]
    read(held, log_of(request(), request(), done(0), request()), after=2)
    assert [asked.id for asked in held.take_new()] == ["order-1@3"]
    assert held.take_new() == []


def test_a_committed_effect_that_nobody_requested_is_no_outcome() -> None:
    """``effect.committed`` was there before outboxes were: without ``effect`` it closes nothing."""
    plain = EffectCommitted("order-1@0", basis=["order-1@0"])
    assert read(backlog(), log_of(request(), plain)) == ["order-1@0"]


def test_branches_neither_request_nor_settle() -> None:
    """What might have been has no effects, and an outcome there is no outcome here."""
    held = backlog()
    assert read(held, log_of(request(), stream="order-1~b")) == []
    assert read(held, log_of(request())) == ["order-1@0"]
    assert read(held, log_of(request(), done(0), stream="order-1~b")) == ["order-1@0"]


def test_a_full_backlog_reads_again_what_it_left_out() -> None:
    """It keeps the oldest, and comes back for the rest when half of its room is free."""
    log = log_of(*log_events(7), done(0), done(1), done(5))
    held = backlog(effects_max=4)
    assert read(held, log[:7]) == [f"order-1@{n}" for n in range(4)]
    assert not held.has_room()
    assert held.settled_to(7) == 0
    assert read(held, log, after=7) == ["order-1@2", "order-1@3"]
    assert held.has_room()
    after = held.read_again()
    assert after == 4
    assert read(held, log, after) == ["order-1@2", "order-1@3", "order-1@4"]
    assert held.left_out_after == 6  # Full until the outcome of 5 was read.
    assert held.settled_to(10) == 2


def log_events(size: int) -> list[object]:
    """So many requests."""
    return [request() for _ in range(size)]


@given(st.lists(st.booleans(), max_size=40), st.integers(1, 5), st.randoms(use_true_random=False))
def test_every_open_effect_is_held_in_the_end(
    outcomes: list[bool], effects_max: int, random: st.DrawFn
) -> None:
    """Performing whatever it holds, a backlog of any size comes to everything that was open."""
    size = len(outcomes)
    settled = [n for n, is_settled in enumerate(outcomes) if is_settled]
    log = log_of(*log_events(size), *(done(n) for n in settled)) if size else []
    held, seen, after = backlog(effects_max), Counter[str](), 0
    for _ in range(size + 2):
        assert len(read(held, log, after)) <= effects_max
        seen.update(held.open.keys())
        answers = [done(int(effect_id.partition("@")[2])) for effect_id in held.open]
        log += log_of(*([request()] * len(log)), *answers)[len(log) :] if answers else []
        held.open.clear()
        after = held.read_again() if held.left_out_after is not None else len(log)
    wanted = {f"order-1@{n}" for n in range(size)} - {f"order-1@{n}" for n in settled}
    assert seen == Counter(wanted)


def test_requests_past_the_end_are_left_alone() -> None:
    """Catching up ends: what is asked for meanwhile is for the next time."""
    held = backlog(until=2)
    assert read(held, log_of(request(), request(), request())) == ["order-1@0", "order-1@1"]
    assert held.left_out_after is None
    assert held.settled_to(3) == 0
    read(held, log_of(*log_events(3), done(0), done(1)), after=3)
    assert held.settled_to(5) == 2


def test_what_cannot_be_read_is_kept_with_its_error() -> None:
    """A request of a shape that this program does not know has no name, and says why."""
    (recorded,) = as_recorded([Event("effect.requested.v2", {"what": 1})])
    asked = asked_by(recorded)
    assert asked.name is None
    assert asked.error


def asked(number: int, stream: str = "order-1") -> RequestedEffect:
    """A request as the backlog keeps it."""
    return RequestedEffect(f"{stream}@{number}", stream, "mail", number + 1, 0)


def test_a_schedule_gives_what_is_due_oldest_first() -> None:
    """By time, then by place in the log; an effect to be tried again comes at its new time."""
    schedule = Schedule("any")
    for number in (2, 0, 1):
        schedule.add(asked(number), 5.0)
    assert schedule.take(4.9) is None
    first = schedule.take(5.0)
    assert first == asked(0)
    schedule.again(asked(0), 9.0)
    assert [schedule.take(8.0), schedule.take(8.0), schedule.take(8.0)] == [
        asked(1),
        asked(2),
        None,
    ]
    assert schedule.next_s == 9.0
    for number in range(3):
        schedule.finish(asked(number), 9.0)
    assert schedule.is_empty


@pytest.mark.parametrize(("order", "together"), [("any", 3), ("stream", 2)])
def test_in_order_the_effects_of_a_stream_wait_for_one_another(order: Order, together: int) -> None:
    """The next one comes when the one before it is finished, not when it is tried again."""
    schedule = Schedule(order)
    for one in (asked(0), asked(1), asked(0, "order-2")):
        schedule.add(one, 1.0)
    taken = [one for one in (schedule.take(1.0) for _ in range(3)) if one is not None]
    assert len(taken) == together
    if order == "stream":
        schedule.again(asked(0), 3.0)
        assert schedule.take(2.0) is None
        assert schedule.take(3.0) == asked(0)
        schedule.finish(asked(0), 3.0)
        assert schedule.take(3.0) == asked(1)


def test_an_outcome_of_any_stream_has_a_key() -> None:
    """The longest name of a stream leaves no room for a suffix, and gets a key all the same."""
    assert outcome_key("order-1@7") == "order-1@7/outcome"
    long = [outcome_key(f"{'x' * 254}{n}@7") for n in range(2)]
    assert len(set(long)) == 2
    assert max(map(len, long)) <= 255
