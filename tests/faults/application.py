"""An application that does what the documentation advises when its disk fails, and its script.

Every attempt to append carries a token of its own (a keyed one the token of its key), so that the
log tells afterwards which attempts it holds. :mod:`tests.faults.judging` compares the two.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from typing import Literal, NamedTuple, Protocol, TypeVar

from refold.core.event import Event
from refold.core.fold import Fold
from refold.core.query import Query
from refold.engine.append import Append
from refold.engine.store import Store
from refold.errors import Conflict, OutcomeUnknown, RefoldError, Unavailable
from refold.ports import Appended
from tests.faults.disk import Disk

TRIES_MAX = 6
TRIES_ON_A_LASTING_FAULT = 2
WAIT_S = 30

T = TypeVar("T")
Fate = Literal["stored", "refused", "unknown"]
Open = Callable[..., Store]

tally: Fold[dict[str, int]] = Fold("tally", dict, state_type=dict[str, int])


@tally.on("test.token", "test.second", "test.large")
def _count(state: dict[str, int], event: dict[str, object]) -> dict[str, int]:
    token = str(event["token"])
    state[token] = state.get(token, 0) + 1
    return state


class Attempt(NamedTuple):
    """One call that appends, and what came of it.

    ``parts`` are streams with their counts of events, in order. ``turn``: attempts of a later turn
    began after all of an earlier one had ended. ``answers`` are there when it was acknowledged.
    """

    token: str
    turn: int
    parts: tuple[tuple[str, int], ...]
    fate: Fate
    answers: tuple[Appended, ...] = ()
    again: tuple[Append, ...] = ()
    """What to append again under the token as key; empty when there was no key."""


class Noting(Protocol):
    """Where the application tells the outside of what it was told."""

    def mark(self, label: object) -> None:
        """Note it, now."""

    def mend(self) -> None:
        """Somebody has freed space, or exchanged the disk."""


class Application:
    """Opens, appends, folds, compacts, closes; tries again as the errors advise."""

    def __init__(self, open_store: Callable[[], Store], disk: Noting) -> None:
        self._open_store = open_store
        self._disk = disk
        self._mutex = threading.Lock()
        self._numbers = count()
        self._turn = 0
        self.attempts: list[Attempt] = []
        self.errors: list[RefoldError] = []
        self.store = self._insisting(open_store)

    def append(
        self, *parts: tuple[str, int], key: str | None = None, type_: str = "test.token"
    ) -> None:
        """Append so many events to each of the streams, at once where there are several."""
        self._next_turn()
        self.append_now(*parts, key=key, type_=type_)

    def append_now(
        self, *parts: tuple[str, int], key: str | None = None, type_: str = "test.token"
    ) -> None:
        """The same within the turn of others."""

        def attempt() -> None:
            token = key or f"token-{next(self._numbers)}"
            wanted = tuple(
                Append(stream, [_event(type_, token, n) for n in range(size)], tags=_tags(stream))
                for stream, size in parts
            )
            again = wanted if key is not None else ()
            self._attempt(token, parts, again, lambda: self.store.append_together(wanted, key=key))

        self._until_settled(attempt, keyed=key is not None)

    def append_once(self, stream: str, tag: str) -> None:
        """Append where no event has the tag yet: a condition makes a retry safe, as a key does."""
        self._next_turn()

        def attempt() -> None:
            token = f"token-{next(self._numbers)}"
            events = [_event("test.token", token, 0)]
            nobody = Query(tags=(tag,))

            def call() -> list[Appended]:
                tags = [tag, f"of:{token}"]
                return [self.store.append(stream, events, tags=tags, unless=nobody, after=0)]

            self._attempt(token, ((stream, 1),), (), call)

        self._until_settled(attempt, keyed=True)

    def append_many(self, stream: str, keys: Sequence[str]) -> None:
        """Import appends by keys, of which some may stand there twice, in one commit."""
        self._next_turn()
        for _ in range(TRIES_MAX):
            appends = [Append(stream, [_event("test.token", k, 0)], key=k) for k in keys]
            outcomes = self._imported(appends)
            for append, outcome in zip(appends, outcomes, strict=True):
                self._note(str(append.key), ((stream, 1),), (append._replace(key=None),), outcome)
            failed = [outcome for outcome in outcomes if isinstance(outcome, RefoldError)]
            if not failed:
                return
            self._suffer(failed[0])
        raise AssertionError(f"{TRIES_MAX} tries to import have failed")

    def branch(self, stream: str, *, at: int, name: str) -> None:
        """Save a branch with one more event; a conflict on the second try says it is there."""
        self._next_turn()

        def attempt() -> None:
            token = f"token-{next(self._numbers)}"
            branch = self.store.branch(stream, at=at).adding(_event("test.token", token, 1))
            variant = {"token": token, "n": 0}
            self._attempt(
                token,
                ((name, 2),),
                (),
                lambda: [self.store.save_branch(branch, name, variant=variant)],
            )

        self._until_settled(attempt, keyed=True)

    def together(self, calls: Sequence[Callable[[], None]], clock: HeldClock) -> None:
        """Calls from a thread each, the first of which commits alone, the others as one group."""
        self._next_turn()
        writer = self.store._writer
        clock.hold(until=lambda: len(writer._waiting) == len(calls) - 1)
        with ThreadPoolExecutor(len(calls)) as pool:
            first = pool.submit(calls[0])
            clock.await_held()
            others = [pool.submit(call) for call in calls[1:]]
            for future in (first, *others):
                future.result(WAIT_S)

    def losing(self, stream: str) -> None:
        """Expect a version that is not there: refused for certain, whatever the disk does."""

        for _ in range(TRIES_MAX):
            try:
                self.store.append(stream, [_event("test.token", "loser", 0)], expected=999)
            except Conflict:
                return
            except (Unavailable, OutcomeUnknown) as error:
                self._suffer(error)
            else:
                raise AssertionError("an append at a wrong version was not refused")

    def fold(self, stream: str) -> None:
        """Fold, which leaves snapshots behind."""
        self._insisting(lambda: self.store.fold(stream, tally))

    def compact(self) -> None:
        """Pack everything but the last append."""
        self._insisting(self.store.compact)

    def close(self) -> None:
        """Close; what the disk does to that is not the application's concern."""
        try:
            self.store.close()
        except Unavailable as error:
            self.errors.append(error)

    def reopen(self) -> None:
        """Close and open."""
        self.close()
        self.store = self._insisting(self._open_store)

    def _next_turn(self) -> None:
        with self._mutex:
            self._turn += 1

    def _until_settled(self, attempt: Callable[[], None], *, keyed: bool) -> None:
        for _ in range(TRIES_MAX):
            try:
                return attempt()
            except Unavailable as error:
                self._suffer(error)
            except OutcomeUnknown as error:
                self._suffer(error)
                if not keyed:
                    return None  # It may be there or not: to try again could double it.
        raise AssertionError(f"{TRIES_MAX} tries have failed: {self.errors[-1]!r}")

    def _attempt(
        self,
        token: str,
        parts: tuple[tuple[str, int], ...],
        again: tuple[Append, ...],
        call: Callable[[], list[Appended]],
    ) -> None:
        try:
            answers = call()
        except Conflict:
            # Only where an earlier try has stored it: a branch of that name is there.
            assert any(a.parts == parts and a.fate == "unknown" for a in self.attempts)
        except (Unavailable, OutcomeUnknown) as error:
            self._note(token, parts, again, error)
            raise
        else:
            self._note(token, parts, again, *answers)

    def _imported(self, appends: Sequence[Append]) -> list[Appended | RefoldError]:
        try:
            return list(self.store.append_many(appends))
        except (Unavailable, OutcomeUnknown) as error:
            return [error] * len(appends)

    def _note(
        self,
        token: str,
        parts: tuple[tuple[str, int], ...],
        again: tuple[Append, ...],
        *outcome: Appended | RefoldError,
    ) -> None:
        answers = tuple(one for one in outcome if isinstance(one, Appended))
        fate: Fate = "stored"
        if not answers:
            fate = "refused" if isinstance(outcome[0], Unavailable) else "unknown"
        attempt = Attempt(token, self._turn, parts, fate, answers, again)
        with self._mutex:
            self.attempts.append(attempt)
        self._disk.mark(attempt)

    def _insisting(self, call: Callable[[], T]) -> T:
        for _ in range(TRIES_MAX):
            try:
                return call()
            except Unavailable as error:
                self._suffer(error)
        raise AssertionError(f"{TRIES_MAX} tries have failed: {self.errors[-1]!r}")

    def _suffer(self, error: RefoldError) -> None:
        self.errors.append(error)
        if len(self.errors) >= TRIES_ON_A_LASTING_FAULT:
            self._disk.mend()


class HeldClock:
    """Microseconds that count up; held once, so that callers gather behind the first."""

    def __init__(self) -> None:
        self._now = count(1_700_000_000_000_000)
        self._until: Callable[[], bool] | None = None
        self._held = threading.Event()

    def hold(self, *, until: Callable[[], bool]) -> None:
        """The next reading waits for a condition."""
        self._held.clear()
        self._until = until

    def await_held(self) -> None:
        """Return when a reading waits."""
        assert self._held.wait(WAIT_S)

    def __call__(self) -> int:
        """The time."""
        until, self._until = self._until, None
        if until is not None:
            self._held.set()
            pause = threading.Event()
            for _ in range(WAIT_S * 1_000):
                if until():
                    break
                pause.wait(0.001)
        return next(self._now)


def run_script(disk: Disk, open_store: Callable[[HeldClock], Store]) -> Application:
    """The whole script: everything that writes to a file, once or a few times."""
    clock = HeldClock()
    app = Application(lambda: open_store(clock), disk)
    app.append(("call-1", 1))
    app.append(("call-1", 5), type_="test.second")
    app.append(("call-1", 1))
    app.append(("call-2", 2), key="key-a")
    app.append(("call-1", 1), ("deal-1", 2), ("call-2", 1), key="key-b")
    app.append(("deal-1", 1), ("call-3", 1))
    app.together(
        [
            lambda: app.append_now(("call-1", 1)),
            lambda: app.append_now(("call-2", 1), key="key-c"),
            lambda: app.losing("call-1"),
            lambda: app.append_now(("deal-1", 1)),
        ],
        clock,
    )
    app.append_many("call-3", ["key-d", "key-e", "key-d", "key-h"])
    app.append_once("once-1", "seat:1")
    app.branch("call-1", at=3, name="call-1~b")
    app.append(("call-4", 1), key="key-f", type_="test.large")
    app.append(("long-1", 260), key="key-i")
    app.fold("long-1")
    app.compact()
    app.append(("call-2", 2), key="key-a")
    app.append_once("once-2", "seat:2")
    app.append(("call-1", 1), key="key-g")
    app.reopen()
    app.append(("long-1", 2))
    app.append(("call-5", 1))
    app.fold("long-1")
    app.compact()
    app.append(("call-5", 1))
    app.close()
    return app


def _tags(stream: str) -> list[str]:
    """What an append is tagged with: nothing, one or two tags, by its stream."""
    category = stream.partition("-")[0]
    return {"deal": ["deal", stream], "call": [stream]}.get(category, [])


def _event(type_: str, token: str, number: int) -> Event:
    filling = {"filling": "x" * 9_000} if type_ == "test.large" else {}
    return Event(type_, {"token": token, "n": number, **filling})
