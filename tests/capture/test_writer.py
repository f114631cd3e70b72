"""From the caller's thread to the recorder: in order, in batches, and in no one's way."""

from __future__ import annotations

import logging
import os
import threading
import time
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

import refold
from refold.capture import writer as writers
from refold.capture.call import ModelCall
from refold.capture.streams import GOING_ON
from refold.capture.writer import CaptureWriter
from refold.conversation.apis import api_of
from refold.errors import UsageError

Step = tuple[str, str, bytes]


class Fake:
    """A recorder that keeps its steps, and fails where it is told to."""

    def __init__(self, store: Any, **_: Any) -> None:
        self.store = store
        self.steps: list[Step] = []
        self.fails_at: tuple[str, str] | None = None
        self.may_go_on = threading.Event()
        self.may_go_on.set()
        self.is_asked = threading.Event()

    def begin(self, call: ModelCall) -> None:
        self._note("begin", call)

    def received(self, call: ModelCall, data: bytes) -> None:
        self._note("received", call, data)

    def end(self, call: ModelCall) -> None:
        self._note("end", call)

    def let_go(self, call: ModelCall) -> None:
        self._note("let go", call)

    def _note(self, what: str, call: ModelCall, data: bytes = b"") -> None:
        self.is_asked.set()
        assert self.may_go_on.wait(20)
        if (what, call.id) == self.fails_at:
            raise OSError("no space left")
        self.steps.append((what, call.id, data))


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Fake:
    made = Fake(None)
    monkeypatch.setattr(writers, "CallRecorder", lambda store, **_: made)
    return made


@contextmanager
def writing(**options: Any) -> Iterator[CaptureWriter]:
    with refold.open("memory:") as store:
        made = CaptureWriter(store, **options)
        try:
            yield made
        finally:
            assert made.flush(20)
            made.stop()


def call(name: str) -> ModelCall:
    api = api_of("/v1/chat/completions")
    assert api is not None
    streamed = {"content-type": "text/event-stream"}
    return ModelCall(name, api, "http://h/v1", b"{}", {}, 1, answer_headers=streamed)


def test_the_steps_of_each_call_come_in_order_and_whole(fake: Fake) -> None:
    """Of calls on several threads at once; pieces in batches."""
    pieces = {f"c{n}": [f"{n}.{k} ".encode() for k in range(300)] for n in range(4)}

    def drive(made: CaptureWriter, name: str) -> None:
        one = call(name)
        made.begin(one)
        for piece in pieces[name]:
            made.data(one, piece)
        made.end(one)

    with writing() as made:
        threads = [threading.Thread(target=drive, args=(made, name)) for name in pieces]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    for name, sent in pieces.items():
        own = [step for step in fake.steps if step[1] == name]
        assert own[0][0] == "begin"
        assert own[-1][0] == "end"
        assert {step[0] for step in own[1:-1]} == {"received"}
        assert b"".join(step[2] for step in own) == b"".join(sent)
        # Several pieces are one step.
        assert len(own) < 100


def test_a_piece_waits_no_longer_than_a_moment_for_others(fake: Fake) -> None:
    """So that a killed process loses little."""
    one = call("c")
    with writing() as made:
        made.begin(one)
        made.data(one, b"first")
        until = time.monotonic() + 10
        while ("received", "c", b"first") not in fake.steps and time.monotonic() < until:
            time.sleep(0.01)
        assert fake.steps[-1] == ("received", "c", b"first")
        made.end(one)


def test_who_is_behind_takes_more_at_once(fake: Fake) -> None:
    """Pieces that waited long for a slow store are still joined."""
    one = call("c")
    fake.may_go_on.clear()
    with writing() as made:
        made.begin(one)
        for _ in range(50):
            made.data(one, b"x")
        time.sleep(2 * writers.BATCH_S)
        fake.may_go_on.set()
        made.end(one)
        assert made.flush(20)
    assert sum(step[0] == "received" for step in fake.steps) < 25
    assert b"".join(step[2] for step in fake.steps) == b"x" * 50


def test_what_fails_is_told_once_and_counted_and_the_rest_goes_on(
    fake: Fake, caplog: pytest.LogCaptureFixture
) -> None:
    """Wherever in a call it fails."""
    with writing() as made, caplog.at_level(logging.WARNING, "refold.capture"):
        for name, at in (("a", "begin"), ("b", "received"), ("c", "end"), ("d", "never")):
            fake.fails_at = (at, name)
            one = call(name)
            made.begin(one)
            made.data(one, b"x")
            made.end(one)
            assert made.flush(20)
    assert made.lost == 3
    assert [step[0] for step in fake.steps if step[1] == "d"] == ["begin", "received", "end"]
    assert [step for step in fake.steps if step[1] == "a"] == []
    (told,) = caplog.messages
    assert "no space left" in told


def test_by_choice_it_raises_on_the_callers_thread(fake: Fake) -> None:
    """And the call is not made."""
    fake.fails_at = ("begin", "c")
    with writing(on_error="raise") as made:
        with pytest.raises(OSError, match="no space left"):
            made.begin(call("c"))
        one = call("d")
        made.begin(one)
        made.data(one, b"x")
        made.data(one, b"y")
        made.end(one)
    assert fake.steps == [("begin", "d", b""), ("received", "d", b"xy"), ("end", "d", b"")]


def test_a_store_that_does_not_keep_up_bounds_what_waits(
    fake: Fake, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What comes over the bound is lost and counted; later calls are recorded."""
    monkeypatch.setattr(writers, "PENDING_BYTES_MAX", 1000)
    fake.may_go_on.clear()
    with writing() as made:
        for name in ("a", "b", "c"):
            one = call(name)
            made.begin(one)
            made.data(one, b"x" * 2000)
            made.end(one)
        assert made.lost == 2
        fake.may_go_on.set()
        assert made.flush(20)
        one = call("d")
        made.begin(one)
        made.end(one)
    assert [step[1] for step in fake.steps if step[0] == "end"] == ["a", "d"]
    assert made.lost == 2


def test_pieces_of_answers_are_bounded_as_requests_are(
    fake: Fake, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A call whose piece finds no room is lost, once, and nothing of it waits from there on."""
    monkeypatch.setattr(writers, "PENDING_BYTES_MAX", 10_000)
    fake.may_go_on.clear()
    one, other, late = call("a"), call("b"), call("late")
    with writing() as made:
        for begun in (one, other):
            made.begin(begun)
        assert fake.is_asked.wait(20)  # The first has left the queue.
        for _ in range(100):
            made.data(one, b"x" * 100)
        made.data(other, b"y" * 100)
        assert 10_000 < made._pending <= 10_000 + 100 + writers.PIECE_BYTES
        for _ in range(3):
            made.begin(late)  # Nor does a request that is refused.
        waiting = made._steps.qsize()
        for begun in (one, other, late):
            made.data(begun, b"z" * 100)
            made.end(begun)
        assert (made._steps.qsize(), made.lost) == (waiting, 5)
        fake.may_go_on.set()
        assert made.flush(20)
        assert (made._pending, made._calls, made._unsettled) == (0, {}, set())
        made.begin(again := call("c"))
        made.data(again, b"x")
        made.end(again)
        assert made.flush(20)
        assert made.lost == 5
    assert [step[:2] for step in fake.steps if step[0] != "received"] == [
        *(("begin", "a"), ("let go", "a"), ("let go", "b"), ("begin", "c"), ("end", "c")),
    ]


def test_what_waits_is_bounded_however_small_its_pieces_are(
    fake: Fake, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tokens come in pieces that are smaller than what it takes to let one wait."""
    monkeypatch.setattr(writers, "PENDING_BYTES_MAX", 1 << 20)
    fake.may_go_on.clear()
    with writing() as made:
        made.begin(one := call("a"))
        tracemalloc.start()
        try:
            while not made.lost:
                made.data(one, bytes(bytearray(b"data: a token, or so")))
            held, _ = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
            fake.may_go_on.set()
    assert (1 << 20) / 2 < held < (1 << 20) * 2


def test_a_call_that_was_lost_half_way_is_one_that_ended_there(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The record has what came, nothing is held of it, and its conversation goes on."""
    request = b'{"model": "m", "messages": [{"role": "user", "content": "Hi"}]}'
    with writing() as made:
        one, again = call("a"), call("b")
        one.request = again.request = request
        made.begin(one)
        made.data(one, b"data: 1")
        assert made.flush(20)
        with monkeypatch.context() as full:
            full.setattr(writers, "PENDING_BYTES_MAX", -1)
            made.data(one, b"data: 2")
        assert made.flush(20)
        assert (made.lost, "a" in GOING_ON) == (1, False)
        assert made._recorder is not None
        assert not made._recorder._calls
        assert isinstance(made.store, refold.Store)
        types = [event.type for event in made.store.read_all()]
        assert (types[-1], types.count("wire.answer")) == ("wire.answer", 1)
        made.begin(again)
        made.end(again)
        assert made.flush(20)
        assert made.lost == 1


def test_a_forked_process_opens_the_store_for_itself(tmp_path: Path) -> None:
    """And has a thread of its own."""
    made = CaptureWriter(str(tmp_path / "a.db"))
    try:
        made._recording()
        parent = made._opened
        child = os.fork()
        if child == 0:
            made.begin(call("c"))
            fine = made.flush(10) and made._opened is not parent and made._opened is not None
            os._exit(0 if fine else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    finally:
        made.stop()


def test_what_a_stopped_writer_has_left_is_waited_for(fake: Fake) -> None:
    """Its client is gone, and what it was given is not."""
    with refold.open("memory:") as store:
        made = CaptureWriter(store)
        fake.may_go_on.clear()
        one = call("c")
        made.begin(one)
        made.end(one)
        made.stop()
        assert not made.flush(0.05)
        fake.may_go_on.set()
        assert writers.flush(20)
    assert [step[0] for step in fake.steps] == ["begin", "end"]


def test_nothing_is_handed_to_a_writer_that_has_ended(fake: Fake) -> None:
    """Nobody would take it: to flush is not to wait for each client that there once was."""
    with writing() as made:
        one = call("c")
        made.begin(one)
        made.end(one)
    thread = made._thread
    assert thread is not None
    thread.join(20)
    assert not thread.is_alive()
    assert made.flush()
    assert made._steps.empty()


def test_the_first_token_is_timed_from_the_call_and_not_from_its_recording(fake: Fake) -> None:
    """However late a slow store takes the call in."""
    fake.may_go_on.clear()
    with writing() as made:
        one = call("c")
        made.begin(one)
        time.sleep(0.05)
        made.data(one, b'data: {"choices": [{"delta": {"content": "x"}}]}\n\n')
        made.end(one)
        fake.may_go_on.set()
        assert made.flush(20)
    assert one.first_token_ms is not None
    assert one.first_token_ms >= 50


def test_nothing_is_held_of_calls_that_were_lost(fake: Fake) -> None:
    """Wherever they failed: their requests are large."""
    with writing() as made:
        for at in ("begin", "received", "end"):
            fake.fails_at = (at, at)
            one = call(at)
            made.begin(one)
            made.data(one, b"x")
            assert made.flush(20)
            made.end(one)
        assert made.flush(20)
        assert (made.lost, made._pending) == (3, 0)
        assert not made._calls


def test_a_wrong_choice_is_refused() -> None:
    """The error names the choices."""
    with pytest.raises(UsageError, match="neither 'log' nor 'raise'"):
        CaptureWriter("x.db", on_error="warn")  # type: ignore[arg-type]


@pytest.mark.parametrize("on_error", ["log", "raise"])
def test_calls_that_go_on_are_recorded_after_a_stop(
    tmp_path: Path, fake: Fake, on_error: Any
) -> None:
    """To their end; then the store that was opened for them is closed."""
    made = CaptureWriter(tmp_path / "agents.db", on_error=on_error)
    one, lost = call("a"), call("lost")
    fake.fails_at = ("begin", "lost")
    made.begin(one)
    with suppress(OSError):
        made.begin(lost)
    made.stop()
    assert made.flush(20)
    made.data(one, b"x")
    made.end(one)
    assert made.flush(20)
    assert [step for step in fake.steps if step[1] == "a"] == [
        ("begin", "a", b""),
        ("received", "a", b"x"),
        ("end", "a", b""),
    ]
    assert made.flush(20)


def test_requests_that_wait_are_bounded_too(monkeypatch: pytest.MonkeyPatch, fake: Fake) -> None:
    """A store that does not answer does not keep every prompt in memory."""
    monkeypatch.setattr(writers, "PENDING_BYTES_MAX", 100 + 4 * writers.PIECE_BYTES)
    fake.may_go_on.clear()
    with writing() as made:
        for n in range(9):
            one = call(str(n))
            one.request = b"x" * 60
            made.begin(one)
            made.end(one)
            assert fake.is_asked.wait(20)  # The first has left the queue.
        assert made.lost == 6
        fake.may_go_on.set()


def test_where_no_thread_can_begin_the_call_goes_on(
    monkeypatch: pytest.MonkeyPatch, fake: Fake
) -> None:
    """As where the program ends: it is lost, counted, and does not raise."""

    def refuses(_: object) -> None:
        raise RuntimeError("can't start new thread")

    with writing() as made:
        with monkeypatch.context() as ending:
            ending.setattr(threading.Thread, "start", refuses)
            made.begin(call("a"))
        assert made.lost == 1
        made.begin(one := call("b"))
        made.end(one)
        assert made.flush(20)
        assert [step[:2] for step in fake.steps] == [("begin", "b"), ("end", "b")]
