"""An outbox at work: what it performs, what it records, what it leaves alone."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

import refold
from refold import Event, Rejected
from refold.backends.sqlite import SqliteBackend
from refold.core.registry import Registry
from refold.engine.store import Store
from refold.errors import StoreClosed, UsageError
from refold.outbox import EffectCommitted, EffectFailed, EffectRequested, Outbox
from refold.outbox import worker as worker_module
from tests.support.stores import KINDS, url_of

WAIT_S = 60


@pytest.fixture(params=KINDS)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    """A store of each kind."""
    with refold.open(url_of(request.param, tmp_path), synchronous="NORMAL") as opened:
        yield opened


class Service:
    """What handlers call: notes each call, and answers, or raises what it is told to."""

    def __init__(self, *faults: Exception) -> None:
        self.calls: list[tuple[str, dict[str, Any], str]] = []
        self.faults = list(faults)
        self._lock = threading.Lock()

    def __call__(self, effect: EffectRequested, key: str) -> str:
        """The handler."""
        with self._lock:
            self.calls.append((effect.name, effect.arguments, key))
            if self.faults:
                raise self.faults.pop(0)
        return f"done-{key}"

    @property
    def keys(self) -> list[str]:
        """The idempotency keys that it was called with, in order."""
        return [key for *_, key in self.calls]


def outbox(store: Store, handler: Callable[..., Any], **options: Any) -> Outbox:
    """One that handles ``mail`` and waits for nothing."""
    return Outbox(store, {"mail": handler}, first_delay_s=0.0, **options)


def ask(store: Store, stream: str = "order-1", *names: str) -> None:
    """Append a request for each name, in one append."""
    store.append(stream, [EffectRequested(name, {"n": n}) for n, name in enumerate(names)])


def outcomes(store: Store) -> list[EffectCommitted | EffectFailed]:
    """Every outcome in the log."""
    return [e.event for e in store.read_all(types=["effect.committed", "effect.failed"])]


def test_an_effect_is_performed_and_its_outcome_recorded(store: Store) -> None:
    """The handler gets name, arguments and the request's id; the stream gets the outcome."""
    decision = [Event("order.placed", {"item": "crown"}), EffectRequested("mail", {"to": "ann"})]
    store.append("order-1", decision, metadata={"correlation": "call-9"})
    service = Service()
    assert outbox(store, service).catch_up() == 1
    assert service.calls == [("mail", {"to": "ann"}, "order-1@1")]
    recorded = list(store.read("order-1"))[-1]
    assert recorded.event == EffectCommitted("done-order-1@1", effect="order-1@1")
    assert recorded.metadata == {"causation": "order-1@1", "correlation": "call-9"}


def test_what_has_its_outcome_is_not_performed_again(store: Store) -> None:
    """By the same outbox, by another one, and by one that runs."""
    ask(store, "order-1", "mail", "mail")
    service = Service()
    first = outbox(store, service)
    assert [first.catch_up(), first.catch_up(), outbox(store, service).catch_up()] == [2, 0, 0]
    ask(store, "order-1", "mail")
    assert first.catch_up() == 1
    assert sorted(service.keys) == ["order-1@0", "order-1@1", "order-1@4"]


@pytest.mark.parametrize(
    ("answer", "recorded"),
    [
        (None, EffectCommitted("order-1@0", effect="order-1@0")),
        ("tx-1", EffectCommitted("tx-1", effect="order-1@0")),
        (
            EffectCommitted("tx-1", amount=Decimal("9.50"), currency="EUR", effect="another"),
            EffectCommitted("tx-1", amount=Decimal("9.50"), currency="EUR", effect="order-1@0"),
        ),
    ],
)
def test_a_handler_says_what_to_record(
    store: Store, answer: object, recorded: EffectCommitted
) -> None:
    """Nothing, a reference, or the whole event, whose effect is always this one."""
    ask(store, "order-1", "mail")
    outbox(store, lambda effect, key: answer).catch_up()
    assert outcomes(store) == [recorded]


def test_a_handler_may_be_async(store: Store) -> None:
    """It runs on an event loop of its own."""

    async def send(effect: EffectRequested, key: str) -> str:
        return key

    ask(store, "order-1", "mail")
    outbox(store, send).catch_up()
    assert outcomes(store) == [EffectCommitted("order-1@0", effect="order-1@0")]


def test_an_error_is_tried_again_with_the_same_key(store: Store) -> None:
    """Until it works."""
    ask(store, "order-1", "mail")
    service = Service(OSError("down"), TimeoutError())
    assert outbox(store, service).catch_up() == 1
    assert service.keys == ["order-1@0"] * 3
    assert outcomes(store) == [EffectCommitted("done-order-1@0", effect="order-1@0")]


def test_a_refusal_fails_at_once(store: Store) -> None:
    """``Rejected`` is final: nothing was done, and trying again would change nothing."""
    ask(store, "order-1", "mail")
    service = Service(Rejected("no such address", to="ann"))
    outbox(store, service).catch_up()
    assert service.keys == ["order-1@0"]
    assert outcomes(store) == [EffectFailed("order-1@0", "refused", "no such address", 1)]


def test_attempts_are_bounded(store: Store) -> None:
    """After the last one the effect has failed in a way that does not say that it was not done."""
    ask(store, "order-1", "mail")
    service = Service(*[OSError("down")] * 3)
    outbox(store, service, attempts_max=3).catch_up()
    assert service.keys == ["order-1@0"] * 3
    assert outcomes(store) == [EffectFailed("order-1@0", "gave_up", "OSError('down')", 3)]


@pytest.mark.parametrize(
    "answer",
    [
        5,
        False,
        {"id": "tx-1"},
        "half a pair: \ud800",
        EffectCommitted("r", amount="much"),  # type: ignore[arg-type]
        EffectCommitted(7),  # type: ignore[arg-type]
    ],
)
def test_an_effect_is_done_when_its_handler_returns(
    store: Store, answer: object, caplog: pytest.LogCaptureFixture
) -> None:
    """What cannot be recorded is left out with a warning; nothing is called again for it.

    A handler that returned a number was called until it had used up its attempts.
    """
    ask(store, "order-1", "mail", "mail")
    answers = iter([answer, "fine"])
    outbox(store, lambda *_: next(answers), workers=1, order="stream").catch_up()
    assert outcomes(store) == [
        EffectCommitted("order-1@0", effect="order-1@0"),
        EffectCommitted("fine", effect="order-1@1"),
    ]
    (warning,) = caplog.records
    assert (warning.name, warning.levelname) == ("refold.outbox", "WARNING")
    assert warning.__dict__["effect"] == "order-1@0"


def test_each_failed_attempt_is_told(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    """A warning with the effect, the attempt, its error, and when the next is: at last, never."""
    ask(store, "order-1", "mail")
    handlers = {"mail": Service(OSError("down"), OSError("down"), Rejected("no such address"))}
    Outbox(store, handlers, first_delay_s=0.002).catch_up()
    told = [record.__dict__ for record in caplog.records]
    assert {(record["name"], record["effect"]) for record in told} == {
        ("refold.outbox", "order-1@0")
    }
    assert [(record["attempt"], record["error"]) for record in told] == [
        (1, "OSError('down')"),
        (2, "OSError('down')"),
        (3, "no such address"),
    ]
    waits_s = [record["next_try_s"] for record in told]
    assert 0.001 <= waits_s[0] <= 0.002 <= waits_s[1] <= 0.004
    assert waits_s[2] is None


def test_giving_up_is_told(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    """The last attempt has no next one."""
    ask(store, "order-1", "mail")
    outbox(store, Service(OSError("down")), attempts_max=1).catch_up()
    (told,) = caplog.records
    assert (told.__dict__["attempt"], told.__dict__["next_try_s"]) == (1, None)


def test_any_text_of_an_error_can_be_recorded(store: Store) -> None:
    """Half a surrogate pair, a million characters: the outcome is recorded all the same."""
    ask(store, "order-1", "mail")
    outbox(store, Service(Rejected("\ud800" + "x" * 1_000_000))).catch_up()
    (failed,) = outcomes(store)
    assert isinstance(failed, EffectFailed)
    assert failed.error == "?" + "x" * 1_999


def test_a_failed_effect_is_asked_for_again_under_its_first_key(store: Store) -> None:
    """A new request may carry the key of the old one, so that the service can tell."""
    ask(store, "order-1", "mail")
    service = Service(OSError("timed out"))
    outbox(store, service, attempts_max=1).catch_up()
    store.append("order-1", [EffectRequested("mail", idempotency_key="order-1@0")])
    outbox(store, service).catch_up()
    assert service.keys == ["order-1@0", "order-1@0"]
    assert outcomes(store)[-1] == EffectCommitted("done-order-1@0", effect="order-1@2")


def test_effects_without_a_handler_stay_pending(store: Store) -> None:
    """Another worker may handle them; meanwhile they are listed."""
    ask(store, "order-1", "fax", "mail", "fax")
    service = Service()
    mailing = outbox(store, service)
    assert mailing.catch_up() == 1
    status = mailing.status()
    assert [(p.id, p.name, p.handled) for p in status.oldest_pending] == [
        ("order-1@0", "fax", False),
        ("order-1@2", "fax", False),
    ]
    assert Outbox(store, {"fax": service}).catch_up() == 2
    assert mailing.status().pending == 0


def test_an_effect_that_cannot_be_read_stays_pending(store: Store) -> None:
    """A newer program may have asked for it; it is listed with what is wrong."""
    store.append("order-1", [Event("effect.requested.v2", {"verb": "mail"})])
    ask(store, "order-1", "mail")
    service = Service()
    assert outbox(store, service).catch_up() == 1
    (pending,) = outbox(store, service).status().oldest_pending
    assert (pending.id, pending.name, pending.handled) == ("order-1@0", None, False)
    assert pending.error


def test_effects_of_a_branch_are_not_performed(store: Store) -> None:
    """What-if and replay ask for nothing, and their outcomes settle nothing."""
    store.append("order-1", [Event("order.placed")])
    branch = store.branch("order-1").adding(
        EffectRequested("mail"), EffectCommitted("r", effect="order-1@1")
    )
    branch.save("order-1~b")
    ask(store, "order-1", "mail")
    service = Service()
    assert outbox(store, service).catch_up() == 1
    assert service.keys == ["order-1@1"]
    status = outbox(store, service).status()
    assert (status.requested, status.committed, status.pending) == (1, 1, 0)


def test_categories_share_the_work(store: Store) -> None:
    """An outbox of some categories sees the effects of their streams alone."""
    ask(store, "order-1", "mail")
    ask(store, "agent-1", "mail")
    service = Service()
    assert outbox(store, service, categories=["agent"]).catch_up() == 1
    assert service.keys == ["agent-1@0"]
    assert outbox(store, service, categories=["agent"]).status().requested == 1
    assert outbox(store, service).status().pending == 1


def test_the_status_tells_ages_attempts_and_failures(tmp_path: Path) -> None:
    """By the outbox's clock and the times that the log recorded."""
    now = iter([1_000_000, 2_000_000, 4_000_000])
    with refold.open(tmp_path / "log.db", clock=lambda: next(now)) as store:
        ask(store, "order-1", "mail", "fax")
        ask(store, "order-2", "fax")
        sending = outbox(store, Service(Rejected("no")), clock=lambda: 9_000_000)
        sending.catch_up()
        status = sending.status(limit=1)
    assert (status.requested, status.committed, status.failed, status.pending) == (3, 0, 1, 2)
    ((pending,), (failed,)) = status.oldest_pending, status.latest_failed
    assert (pending.id, pending.age_s, pending.attempts) == ("order-1@1", 8.0, 0)
    assert (failed.id, failed.name, failed.reason, failed.error) == (
        "order-1@0",
        "mail",
        "refused",
        "no",
    )
    assert (failed.failed_at_us, failed.age_s, failed.attempts) == (4_000_000, 5.0, 1)


def test_the_status_tells_what_is_being_tried(store: Store) -> None:
    """While it runs: attempts and the last error of what is not settled yet."""
    ask(store, "order-1", "mail")
    again, told = threading.Event(), []

    def send(effect: EffectRequested, key: str) -> str:
        if not again.is_set():
            again.set()
            raise OSError("down")
        told.append(sending.status().oldest_pending)
        return key

    sending = outbox(store, send)
    sending.catch_up()
    ((pending,),) = told
    assert (pending.id, pending.attempts, pending.error) == ("order-1@0", 1, "OSError('down')")


def test_in_order_of_the_stream(store: Store) -> None:
    """An effect begins when the one before it in its stream has its outcome, failed ones too."""
    for stream in ("order-1", "order-2"):
        ask(store, stream, "mail", "mail", "mail")
    service = Service(OSError("down"), Rejected("no"), OSError("down"))
    outbox(store, service, order="stream").catch_up()
    for stream in ("order-1", "order-2"):
        called = [key for key in service.keys if key.startswith(stream)]
        assert called == sorted(called)
        versions = [
            recorded.event.effect
            for recorded in store.read(stream)
            if recorded.type != "effect.requested"
        ]
        assert versions == [f"{stream}@{n}" for n in range(3)]


def test_no_more_at_once_than_there_are_workers(store: Store) -> None:
    """As many as that begin together, and the next one only when one has ended."""
    ask(store, "order-1", *["mail"] * 9)
    at_once, most, lock = [0], [0], threading.Lock()
    full = threading.Barrier(3)

    def send(effect: EffectRequested, key: str) -> str:
        with lock:
            at_once[0] += 1
            most[0] = max(most[0], at_once[0])
        full.wait(WAIT_S)
        with lock:
            at_once[0] -= 1
        return key

    outbox(store, send, workers=3).catch_up()
    assert most == [3]


def test_a_long_backlog_is_worked_off_a_part_at_a_time(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What does not fit in memory waits in the log; none is forgotten or done twice."""
    monkeypatch.setattr(worker_module, "EFFECTS_HELD_MAX", 4)
    for number in range(5):
        ask(store, f"order-{number}", "mail", "fax", "mail", "mail")
    service = Service()
    sending = outbox(store, service)
    assert sending.catch_up() == 15
    assert len(set(service.keys)) == len(service.keys) == 15
    assert sending.status(limit=2).pending == 5
    assert len(sending.status(limit=2).oldest_pending) == 2


def test_catching_up_ends_while_effects_go_on(store: Store) -> None:
    """An effect whose outcome leads to the next one does not keep it for ever."""

    def send(effect: EffectRequested, key: str) -> str:
        ask(store, "order-1", "mail")
        return key

    ask(store, "order-1", "mail")
    sending = outbox(store, send)
    assert [sending.catch_up(), sending.catch_up()] == [1, 1]


def test_a_running_outbox_performs_what_comes(store: Store) -> None:
    """What was pending and what is asked for meanwhile, until it is closed."""
    ask(store, "order-1", "mail")
    performed = threading.Semaphore(0)

    def send(effect: EffectRequested, key: str) -> str:
        performed.release()
        return key

    sending = outbox(store, send)
    running = threading.Thread(target=sending.run)
    running.start()
    for number in range(2, 5):
        assert performed.acquire(timeout=WAIT_S)
        ask(store, f"order-{number}", "mail")
    assert performed.acquire(timeout=WAIT_S)
    sending.close()
    running.join(WAIT_S)
    assert not running.is_alive()
    assert len(outcomes(store)) == 4


def test_an_effect_that_waits_to_be_tried_again_holds_up_nobody(store: Store) -> None:
    """It keeps no worker meanwhile, and closing does not wait for it."""
    ask(store, "order-1", "mail", "mail", "mail")
    performed = threading.Semaphore(0)

    def send(effect: EffectRequested, key: str) -> str:
        if key == "order-1@0":
            raise OSError("down")
        performed.release()
        return key

    sending = Outbox(store, {"mail": send}, workers=1, first_delay_s=1e9, delay_max_s=1e9)
    running = threading.Thread(target=sending.run)
    running.start()
    for _ in range(2):
        assert performed.acquire(timeout=WAIT_S)
    sending.close()
    running.join(WAIT_S)
    assert not running.is_alive()
    assert [o.effect for o in outcomes(store)] == ["order-1@1", "order-1@2"]


def test_requests_of_another_store_are_seen(tmp_path: Path) -> None:
    """Another process appends; a running outbox performs."""
    path, performed = tmp_path / "log.db", threading.Event()

    def send(effect: EffectRequested, key: str) -> str:
        performed.set()
        return key

    with refold.open(path) as one, refold.open(path) as other:
        sending = outbox(one, send)
        running = threading.Thread(target=sending.run)
        running.start()
        ask(other, "order-1", "mail")
        assert performed.wait(WAIT_S)
        sending.close()
        running.join(WAIT_S)
        assert len(outcomes(other)) == 1


def test_closing_waits_for_what_is_under_way(store: Store) -> None:
    """What was begun is recorded before the run returns; the rest stays pending."""
    ask(store, "order-1", "mail", "mail", "mail")

    def send(effect: EffectRequested, key: str) -> str:
        sending.close()
        return key

    sending = outbox(store, send, workers=1)
    sending.run()
    assert len(outcomes(store)) == 1
    assert sending.catch_up() == 0  # It is closed.
    assert outbox(store, Service()).catch_up() == 2


def test_a_run_ends_with_its_store(tmp_path: Path) -> None:
    """As a subscription does; catching up on a closed store is an error."""
    store = refold.open(tmp_path / "log.db")
    sending = outbox(store, Service())
    running = threading.Thread(target=sending.run)
    running.start()
    store.close()
    running.join(WAIT_S)
    assert not running.is_alive()
    with pytest.raises(StoreClosed):
        sending.catch_up()


def test_a_store_closed_while_it_is_read_is_not_taken_for_caught_up(tmp_path: Path) -> None:
    """Who catches up is told that it was cut short."""

    class Closing(Store):
        def log_head(self) -> int:
            head = super().log_head()
            if len(heads) == 1:
                self.close()
            heads.append(head)
            return head

    heads: list[int] = []
    with refold.open(tmp_path / "log.db") as store:
        ask(store, "order-1", "mail")
    closing = Closing(SqliteBackend(tmp_path / "log.db"))
    with pytest.raises(StoreClosed):
        outbox(closing, Service()).catch_up()
    assert heads == [1, 1]


def test_an_outbox_works_once_at_a_time(store: Store) -> None:
    """A second run of the same one is refused; another one may work beside it."""
    ask(store, "order-1", "mail")
    seen: list[str] = []

    def send(effect: EffectRequested, key: str) -> str:
        with pytest.raises(UsageError):
            sending.run()
        seen.append(key)
        return key

    sending = outbox(store, send)
    sending.catch_up()
    assert seen == ["order-1@0"]


def test_one_outcome_whoever_is_first(store: Store) -> None:
    """Two workers perform the same effect at once, with different answers: one is recorded."""
    ask(store, "order-1", "mail")
    both = threading.Barrier(2)

    def sending(name: str) -> Outbox:
        def send(effect: EffectRequested, key: str) -> str:
            both.wait(WAIT_S)
            if name == "b":
                raise Rejected("already done")
            return name

        return outbox(store, send)

    threads = [threading.Thread(target=sending(name).catch_up) for name in "ab"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(WAIT_S)
    assert len(outcomes(store)) == 1
    assert sending("a").status().pending == 0


def test_several_workers_record_one_outcome_each(store: Store) -> None:
    """Whatever they perform twice."""
    for number in range(10):
        ask(store, f"order-{number}", "mail", "mail", "mail")
    service = Service()
    workers = [threading.Thread(target=outbox(store, service).catch_up) for _ in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(WAIT_S)
    effects = [outcome.effect for outcome in outcomes(store)]
    assert len(effects) == 30
    assert set(effects) == set(service.keys)


def test_what_is_packed_is_found(tmp_path: Path) -> None:
    """Requests and outcomes of packed appends count as any other."""
    with refold.open(tmp_path / "log.db", synchronous="NORMAL") as store:
        ask(store, "order-1", "mail", "mail")
        service = Service()
        outbox(store, service).catch_up()
        ask(store, "order-1", "mail")
        store.append("order-1", [Event("order.closed")])
        assert store.compact().events
        assert outbox(store, service).catch_up() == 1
        assert service.keys[2:] == ["order-1@4"]


def test_a_store_of_its_own_registry(tmp_path: Path) -> None:
    """The classes need not be registered there."""
    with refold.open("memory:", registry=Registry()) as store:
        store.append("order-1", [Event("effect.requested", {"name": "mail"})])
        outbox(store, Service()).catch_up()
        (outcome,) = store.read("order-1", from_version=1)
        assert outcome.data == {"reference": "done-order-1@0", "effect": "order-1@0"}


def test_a_stream_with_the_longest_name(store: Store) -> None:
    """Its effects are performed and settled like any other."""
    stream = "x" * 255
    ask(store, stream, "mail")
    service = Service()
    assert [outbox(store, service).catch_up(), outbox(store, service).catch_up()] == [1, 0]


@pytest.mark.parametrize(
    "handlers", [None, [len], "mail", {"mail": None}, {"mail": "send"}, {7: len}, {"": len}]
)
def test_handlers_that_are_none_are_refused(store: Store, handlers: Any) -> None:
    """When the outbox is made: a mapping of names to what can be called."""
    with pytest.raises(UsageError):
        Outbox(store, handlers)


@pytest.mark.parametrize(
    "options", [{"order": "best"}, {"workers": 0}, {"workers": 257}, {"attempts_max": 0}]
)
def test_wrong_options_are_refused(store: Store, options: dict[str, Any]) -> None:
    """When the outbox is made, not when it runs."""
    with pytest.raises(UsageError):
        outbox(store, Service(), **options)
    with pytest.raises(UsageError):
        outbox(store, Service()).status(limit=-1)
