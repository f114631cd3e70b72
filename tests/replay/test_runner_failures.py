"""A replay that is stopped, or whose candidate fails, keeps what it has and says what it lacks."""

import asyncio
import gc
import threading
from decimal import Decimal

import pytest

import refold
from refold.conversation.events import AgentUtterance, ModelFailed
from refold.errors import Unavailable
from refold.replay import Action, Call, ChatEndpoint, ChatRequest, ModelFailure, compare
from refold.replay.candidate import Candidate
from tests.replay.stories import (
    BRANCH,
    VARIANT,
    as_message,
    as_recorded,
    levels,
    opening,
    record,
    run,
)
from tests.support.chat_server import BROKEN, GARBAGE, HANG, ChatServer, Fault, busy

NO_UNICODE = Fault(200, b'{"error": {"message": "\xff"}}')


@pytest.fixture
def store() -> refold.Store:
    return refold.open("memory:")


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Here it matters that it is asked again, not how much later: see test_asking."""
    monkeypatch.setattr("refold.pacing.BACKOFF_S", 0.001)


def test_workers_that_fail_at_once_raise_one_error_and_no_other_is_told(
    store: refold.Store, caplog: pytest.LogCaptureFixture
) -> None:
    """Asyncio would print the traceback of each exception that nobody asked for."""
    streams = [record(store, f"call-{n}") for n in range(20)]

    async def refusing(request: ChatRequest) -> Action:
        raise ModelFailure("status 401: no such key", kind="refused", status=401)

    with pytest.raises(Unavailable):
        run(store, refusing, *streams, workers=30)
    gc.collect()
    assert caplog.records == []


# -- interruptions ---------------------------------------------------------------------------------


def test_ctrl_c_keeps_every_answer_that_has_come(store: refold.Store) -> None:
    """What was answered is on its branch, and the next run asks the rest."""
    streams = [record(store, f"call-{n}") for n in range(5)]

    def press(done: int, total: int, cost: Decimal | None, failures: int) -> None:
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(store, as_recorded, *streams, progress=press)
    kept = levels(store, *streams).count("same")
    assert kept >= 3
    summary = run(store, as_recorded, *streams)
    assert (summary.kept, summary.answered) == (kept, 10 - kept)
    assert levels(store, *streams) == ["same"] * 10


def test_ctrl_c_waits_for_answers_that_are_under_way(store: refold.Store) -> None:
    """They may be paid for, so they are recorded too."""
    streams = [record(store, f"call-{n}") for n in range(2)]
    under_way, pressed = threading.Event(), threading.Event()

    def slow_later(request: ChatRequest) -> Action:
        if request.at == "call-1@2":
            under_way.set()
            pressed.wait(10)
        under_way.wait(10)
        return as_recorded(request)

    def press(done: int, total: int, cost: Decimal | None, failures: int) -> None:
        if done == 1:
            pressed.set()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(store, slow_later, *streams, progress=press, workers=3)
    assert levels(store, "call-1")[0] == "same"


def test_an_endpoint_that_is_down_stops_the_run_at_once(store: refold.Store) -> None:
    """Five failures to connect, not hundreds of decisions; nothing is left of it but its leases."""
    streams = [record(store, f"call-{n}") for n in range(20)]
    with ChatServer(as_message) as gone:
        url = gone.base_url
    before = store.log_head()
    with pytest.raises(Unavailable) as stopped:
        run(store, ChatEndpoint(url), *streams)
    assert stopped.value.candidate == f"{url}/chat/completions"
    assert {event.type for event in store.read_all(after=before)} == {"replay.leased"}


@pytest.mark.parametrize(
    ("faults", "requests", "failed"),
    [
        ([busy(), busy()], 4, 0),
        ([BROKEN, BROKEN], 4, 0),
        ([GARBAGE], 3, 0),
        ([GARBAGE, GARBAGE], 3, 1),
        ([NO_UNICODE, NO_UNICODE], 3, 1),
        ([NO_UNICODE._replace(status=500)], 3, 0),
        ([NO_UNICODE._replace(status=404)], 2, 1),
        ([Fault(400)], 2, 1),
        ([busy(), GARBAGE, BROKEN], 5, 0),
    ],
)
def test_faults_of_a_service_are_met_by_asking_again(
    store: refold.Store,
    faults: list[Fault],
    requests: int,
    failed: int,
) -> None:
    """What passes leaves no trace; what does not is one failed decision, asked again later."""
    record(store, "call-1")
    with ChatServer(as_message) as server:
        server.faults.extend(faults)
        summary = run(store, ChatEndpoint(server.base_url), workers=1)
        assert (summary.requests, summary.failed) == (requests, failed)
        assert len(server.requests) == requests
        again = run(store, ChatEndpoint(server.base_url), workers=1)
    assert (again.requests, again.failed) == (failed, 0)
    assert levels(store) == ["same", "same"]


def test_a_hung_endpoint_ends_as_failed_decisions(store: refold.Store) -> None:
    """By its timeout, as infrastructure and not as the model's answer."""
    record(store, "call-1")
    with ChatServer(as_message) as server:
        server.always = HANG
        summary = run(store, ChatEndpoint(server.base_url, timeout_s=0.1), attempts_max=1)
        assert (summary.failed, summary.requests) == (2, 2)
    assert {failed.error.partition(":")[0] for failed in summary.failures} == {"timeout"}
    assert compare(store, ["call-1"], VARIANT).figures.by_decision.trials == 0


def test_a_failure_is_recorded_with_its_status_and_attempts(store: refold.Store) -> None:
    """An operator sees in the log what the service said."""
    record(store, "call-1", opening(), [AgentUtterance(text="x")])
    with ChatServer(as_message) as server:
        server.always = busy()
        run(store, ChatEndpoint(server.base_url), attempts_max=3)
    (failed,) = (e.event for e in store.read(BRANCH) if e.type == "model.failed")
    assert failed == ModelFailed(
        error=f"busy: {server.base_url}/chat/completions: status 429: slow down",
        attempt=3,
        status=429,
    )


@pytest.mark.parametrize(
    "action",
    [
        Action(text="\ud800"),
        Action(calls=(Call("lookup", "\ud800"),)),
        Action(calls=[5]),  # type: ignore[arg-type]
        Action(calls=(Call("lookup", 5),)),  # type: ignore[arg-type]
    ],
)
def test_an_answer_that_cannot_be_stored_is_a_failure(store: refold.Store, action: Action) -> None:
    """Half a surrogate pair is no text, nor a number a call; the run goes on."""
    record(store, "call-1")

    def odd(request: ChatRequest) -> Action:
        return action if request.index == 0 else as_recorded(request)

    summary = run(store, odd)
    assert (summary.answered, summary.failed) == (1, 1)
    assert summary.failures[0].error.startswith("garbage: ")
    assert levels(store) == ["failed", "same"]


def test_an_error_that_cannot_be_stored_is_as_much_of_it_as_can(store: refold.Store) -> None:
    """Half a surrogate pair in what a candidate raises does not end the run."""
    record(store, "call-1")

    def odd(request: ChatRequest) -> Action:
        raise ValueError("x\ud800")

    summary = run(store, odd)
    assert {failed.error for failed in summary.failures} == {
        "error: the candidate raised ValueError: x?"
    }


async def cancels_its_own(request: ChatRequest) -> Action:
    raise asyncio.CancelledError


async def awaits_cancelled(request: ChatRequest) -> Action:
    task = asyncio.ensure_future(asyncio.sleep(9))
    task.cancel()
    await task
    return Action()


async def cancels_itself(request: ChatRequest) -> Action:
    task = asyncio.current_task()
    assert task is not None
    task.cancel()
    await asyncio.sleep(0)
    return Action()


def cancels_on_a_thread(request: ChatRequest) -> Action:
    raise asyncio.CancelledError


@pytest.mark.parametrize(
    "candidate", [cancels_its_own, awaits_cancelled, cancels_itself, cancels_on_a_thread]
)
def test_a_cancellation_of_the_candidates_own_is_its_failure(
    store: refold.Store, candidate: Candidate
) -> None:
    """Nobody stopped the run, so every decision is asked."""
    record(store, "call-1")
    summary = run(store, candidate)
    assert (summary.answered, summary.failed) == (0, 2)
    assert {failed.error for failed in summary.failures} == {
        "error: the candidate raised CancelledError: "
    }


def test_a_run_that_lost_its_workers_does_not_end_as_if_done(store: refold.Store) -> None:
    """It says what was not asked."""
    streams = [record(store, f"call-{n}") for n in range(4)]

    def cancel(done: int, total: int, cost: Decimal | None, failures: int) -> None:
        if done:
            raise asyncio.CancelledError

    with pytest.raises(Unavailable, match="7 decisions not asked"):
        run(store, as_recorded, *streams, workers=1, progress=cancel)


def test_a_candidate_may_say_that_it_is_busy(store: refold.Store) -> None:
    """A function is asked again as an endpoint is."""
    record(store, "call-1")
    asked = []

    def first_busy(request: ChatRequest) -> Action:
        asked.append(request.at)
        if len(asked) == 1:
            raise ModelFailure("wait", kind="busy", retry_after_s=0.0)
        return as_recorded(request)

    summary = run(store, first_busy, workers=1)
    assert (summary.requests, summary.answered, summary.failed) == (3, 2, 0)
