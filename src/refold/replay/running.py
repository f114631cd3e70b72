"""A run under way: what is missing is asked by workers, and recorded as it comes, together."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field
from decimal import Decimal
from itertools import islice
from typing import Final, NamedTuple

from msgspec.structs import replace

from refold.core.event import check_name
from refold.core.recorded import Recorded
from refold.engine.store import Store
from refold.errors import Unavailable, UsageError
from refold.event_loop import Interrupted
from refold.replay.budget import BudgetSpent
from refold.replay.decision import Decision, Prices, decisions, priced
from refold.replay.events import ReplayContained, ReplayPlanned
from refold.replay.hidden import Hidden
from refold.replay.journal import UNREADABLE, Journal, Left, Task, answers, record
from refold.replay.leases import TAKEN_MAX, Leases, Waits
from refold.replay.plan import keep_plan
from refold.replay.request import RequestMaker, configured_by, meant_of
from refold.replay.requests import Asker, Outcome
from refold.replay.summary import ReplaySummary, together
from refold.replay.variant import MODES, REPLAY_MARK
from refold.replay.workers import all_work

Progress = Callable[[int, int, Decimal | None, int], None]
"""Called with ``(done, total, cost, failures)`` of this run, after every decision.

Also where others were answered by another run: ``total`` is less by those.
"""
GATHER_S: Final = 0.005
GATHERINGS: Final = 6
"""An answer waits so often so long for others, to be recorded in one commit with them."""
COMMIT_MAX: Final = 256
MAY_PASS: Final = ("busy", "unreachable")
"""Failures of the service: asked again at the end of a run."""


class _Waiting(NamedTuple):
    task: Task
    outcome: Outcome
    stored: asyncio.Future[Outcome]


@dataclass
class RunningReplay:
    """All variants and samples of a run, one ``journals`` each, asked in turn at each decision.

    What another run is asking meanwhile is left to it, and looked at again when it is done: see
    :class:`~refold.replay.leases.Leases`. ``waits`` is told when it begins to wait for that.
    ``model`` is asked for where a variant names none, before the recorded one. ``versions`` are
    the conversations as far as they are asked, ``since`` has those from which on, ``terms`` what is
    to be put on record of the plan, ``actor`` who starts it, ``contained`` what was reached by a
    run that reaches nothing but its models.
    """

    store: Store
    journals: list[Journal]
    model: str | None
    prices: Prices
    progress: Progress | None
    waits: Waits | None = None
    actor: str | None = None
    terms: list[ReplayPlanned] = field(default_factory=list)
    versions: dict[str, int] = field(default_factory=dict)
    since: dict[str, int] = field(default_factory=dict)
    parts: list[ReplaySummary] = field(default_factory=list)
    stopped: str = ""
    is_stopping: bool = False
    contained: ReplayContained | None = None
    _missing: dict[str, dict[int, int]] = field(default_factory=dict)
    _taken: deque[tuple[str, dict[int, int]]] = field(default_factory=deque)
    _tasks: Iterator[Task] = field(default_factory=lambda: iter(()))
    _stream: str = ""
    _later: list[tuple[Task, Outcome]] = field(default_factory=list)
    _waiting: list[_Waiting] = field(default_factory=list)
    _asking: int = 0
    _turn: int = 0
    _flushing: asyncio.Task[None] | None = None

    # -- before anything is asked ------------------------------------------------------------------

    def plan(self, streams: Iterable[str], until: Mapping[str, int | None]) -> None:
        """Find what is missing, in every stream, before anything is asked.

        ``until`` has the last version of those that are not asked to their end.
        """
        names, self._hidden = list(dict.fromkeys(streams)), Hidden(self.store)
        for journal in self.journals:
            summary = ReplaySummary(
                mode=journal.variant.made,
                not_measured=MODES[journal.variant.made],
                variant=journal.variant,
                variant_id=journal.variant.id,
                sample=journal.sample,
                conversations=len(names),
                decisions=0,
                kept=0,
            )
            self.parts.append(summary)
        for stream in names:
            for journal in self.journals:
                _check_stream(stream, journal.branch(stream))
            self._plan(stream, until.get(stream))
        self._tell()

    def _plan(self, stream: str, last: int | None) -> None:
        history = self._hidden.read(stream, last)
        self.versions[stream] = history[-1].version
        try:
            for variant in {id(one.variant): one.variant for one in self.journals}.values():
                meant_of(history, variant)
            every = self._decisions(stream, history)
            gone = self._gone(history, every)
            found = {decision.at for decision in every} - gone
            missing = [found - self._done(found, journal.read(stream)) for journal in self.journals]
        except UNREADABLE as error:
            self._unreadable(stream, error)
            return
        for place, left in enumerate(missing):
            part = self.parts[place]
            kept = part.kept + len(found) - len(left)
            known, excluded = part.decisions + len(found), part.excluded + len(gone)
            self.parts[place] = replace(part, decisions=known, kept=kept, excluded=excluded)
            if not left:
                self._end(stream, place)
        if any(missing):
            self._missing[stream] = {n: len(left) for n, left in enumerate(missing) if left}

    def _done(self, every: Set[str], branch: Iterable[Recorded]) -> Set[str]:
        """Which of all decisions need not be asked, by what is on their branch."""
        return every & {at for at, one in answers(branch).items() if one.action is not None}

    def _decisions(self, stream: str, history: list[Recorded]) -> list[Decision]:
        since = self.since.get(stream, 0)
        return [one for one in decisions(history) if one.version >= since]

    def _gone(self, history: Sequence[Recorded], made: Sequence[Decision]) -> set[str]:
        """Which decisions nobody is asked for, as what led to them cannot be read any more."""
        return self._hidden.led_to(history, made)

    def _end(self, stream: str, place: int) -> None:
        """Close a branch for which a run that was cut off had done everything but that."""
        list(self.store.append_many(self.journals[place].ending(stream)))

    def _unreadable(self, stream: str, error: Exception) -> None:
        self.parts = [part.unable(stream, error) for part in self.parts]

    @property
    def is_whole(self) -> bool:
        """Whether there is nothing to ask."""
        return not self._missing

    @property
    def missing(self) -> dict[str, dict[int, int]]:
        """How many answers each conversation misses, by the place of the journal."""
        return self._missing

    @property
    def summary(self) -> ReplaySummary:
        """What it came to."""
        return together([replace(part, stopped=self.stopped) for part in self.parts])

    def add_part(self, summary: ReplaySummary, missing: Mapping[int, int]) -> None:
        """Count what another process did of it, of so many ``missing`` answers a journal."""
        done = zip(self.parts, summary.parts or [summary], strict=True)
        self.parts = [one.with_part(part, missing.get(n, 0)) for n, (one, part) in enumerate(done)]
        self.stopped = self.stopped or summary.stopped

    # -- asking ------------------------------------------------------------------------------------

    async def work_off(self, asker: Asker, workers: int) -> None:
        """Ask and record what is missing; what is under way when it is stopped is recorded too."""
        self._taking, self._leases = asyncio.Lock(), Leases(self.store, self.waits)
        async with asker, self._leases.going_on():
            await all_work(workers, lambda: self._work(asker), lambda: self._stop(asker))
        left = sum(part.decisions - part.kept - part.answered - part.failed for part in self.parts)
        if left and not self.stopped and not any(part.unreadable for part in self.parts):
            # A worker that was cancelled alone is no error of its own.
            raise Unavailable(
                f"the replay stopped with {left} decisions not asked, as something in it was "
                "cancelled; starting it again does what is missing"
            )

    def _stop(self, asker: Asker) -> None:
        self.is_stopping = True
        asker.stop()

    async def _work(self, asker: Asker) -> None:
        try:
            while not self.is_stopping:
                task, before = await self._next()
                if task is None:
                    return
                if before is not None and asker.answers == before.answers_before:
                    await self._put(task, before)
                    continue
                self._asking += 1
                try:
                    outcome = await self._ask(asker, task)
                finally:
                    self._asking -= 1
                if before is not None:
                    outcome = outcome.after(before)
                elif outcome.failure is not None and outcome.failure.kind in MAY_PASS:
                    self._later.append((task, outcome))
                    continue
                await self._put(task, outcome)
        except BudgetSpent as spent:
            self.stopped = f"the budget is spent: {spent}"
            self._stop(asker)
        except (KeyboardInterrupt, SystemExit) as error:
            # By itself it would leave the event loop at once, and with it what is under way.
            raise Interrupted from error

    async def _ask(self, asker: Asker, task: Task) -> Outcome:
        return await asker.ask(task.request)

    async def _next(self) -> tuple[Task | None, Outcome | None]:
        """The next that is to be asked; at the end what the service had failed, with how."""
        async with self._taking:
            while not self.is_stopping:
                try:
                    task = next(self._tasks, None)
                    if task is not None:
                        return task, None
                    if self._taken:
                        await self._open(*self._taken.popleft())
                        continue
                except UNREADABLE as error:
                    self._unreadable(self._stream, error)
                    self._tasks = iter(())
                    continue
                if self._missing:
                    await asyncio.to_thread(self._take)
                if self._taken:
                    continue
                if self._later:
                    return self._later.pop()
                if not self._missing:
                    break
                await self._leases.wait(len(self._missing))
            return None, None

    def _take(self) -> None:
        """Take some of what no other run holds; nothing where all is being asked by others."""
        while True:
            held = self._leases.of_others()
            free = ((stream, self._free(stream, held)) for stream in self._missing)
            chosen = [*islice(((stream, those) for stream, those in free if those), TAKEN_MAX)]
            names = [self.journals[n].branch(stream) for stream, those in chosen for n in those]
            if not names or self._leases.take(names):
                break
        for stream, those in chosen:
            missing = self._missing[stream]
            self._taken.append((stream, {n: missing.pop(n) for n in those}))
            if not missing:
                del self._missing[stream]

    def _free(self, stream: str, held: set[str]) -> list[int]:
        """The journals for which nobody else asks of a conversation, of those that miss some."""
        return [n for n in self._missing[stream] if self.journals[n].branch(stream) not in held]

    async def _open(self, stream: str, missing: dict[int, int]) -> None:
        """Go on with a conversation, for the journals in which so many are ``missing``."""
        self._stream = stream
        lefts, self._tasks = await asyncio.to_thread(self._load, stream, [*missing])
        found = {place: missing[place] - len(left.decisions) for place, left in lefts.items()}
        for place, count in found.items():
            self.parts[place] = replace(self.parts[place], kept=self.parts[place].kept + count)
        if any(found.values()):
            self._tell()

    def _load(self, stream: str, places: list[int]) -> tuple[dict[int, Left], Iterator[Task]]:
        history = self._hidden.read(stream, self.versions[stream])
        made = self._decisions(stream, history)
        gone = self._gone(history, made)
        found = [one for one in made if one.at not in gone]
        every = {decision.at for decision in found}
        lefts: dict[int, Left] = {}
        for place in places:
            events = self.journals[place].read(stream)
            left = lefts[place] = Left(every - self._done(every, events), not events)
            if not left.decisions:
                self._end(stream, place)
                self._leases.give_back([self.journals[place].branch(stream)])
        return lefts, self._made(stream, history, found, lefts)

    def _made(
        self, stream: str, history: list[Recorded], found: list[Decision], lefts: dict[int, Left]
    ) -> Iterator[Task]:
        variants = [journal.variant for journal in self.journals]
        maker = RequestMaker(history, variants, model=self.model)
        tools = {tool.name: tool for tool in configured_by(history).tools}
        wanted = {place: set(left.decisions) for place, left in lefts.items()}
        turn, self._turn = self._turn, self._turn + 1
        for decision in found:
            turns = [place for place, those in wanted.items() if decision.at in those]
            requests = maker.at(decision) if turns else []
            # Nobody is always the first: not at a place in all conversations, nor in one of them.
            first = (turn + decision.index) % (len(turns) or 1)
            for place in [*turns[first:], *turns[:first]]:
                fork = found[0].version - 1
                journal, left = self.journals[place], lefts[place]
                yield Task(place, journal, stream, decision, requests[place], fork, tools, left)

    # -- recording ---------------------------------------------------------------------------------

    async def _put(self, task: Task, outcome: Outcome) -> None:
        """Record an outcome, in one commit with those that come at the same time, and count it."""
        if outcome.action is not None:
            action = priced(outcome.action, task.request.model, self.prices)
            outcome = Outcome(outcome.attempts, action=action)
        stored: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Waiting(task, outcome, stored))
        if self._flushing is None:
            self._flushing = asyncio.create_task(self._flush())
        outcome = await stored
        self.parts[task.place] = self.parts[task.place].adding(task.decision.at, outcome)
        self._tell()

    async def _flush(self) -> None:
        while self._waiting:
            for _ in range(GATHERINGS):
                # Nobody who is still to come.
                if not self._asking or len(self._waiting) >= COMMIT_MAX:
                    break
                await asyncio.sleep(GATHER_S)
            batch, self._waiting = self._waiting[:COMMIT_MAX], self._waiting[COMMIT_MAX:]
            try:
                outcomes = await asyncio.to_thread(self._record, batch)
            except BaseException as error:
                for one in batch:
                    if not one.stored.done():
                        one.stored.set_exception(error)
                continue
            for one, outcome in zip(batch, outcomes, strict=True):
                if not one.stored.done():
                    one.stored.set_result(outcome)
        self._flushing = None

    def _record(self, batch: list[_Waiting]) -> list[Outcome]:
        self._keep_plan()
        outcomes = record(self.store, [(one.task, one.outcome) for one in batch])
        ends = {id(task.left): task for task, _, _ in batch}
        ended = [task for task in ends.values() if not task.left.decisions]
        endings = [one for task in ended for one in task.journal.ending(task.stream, task.left)]
        list(self.store.append_many(endings))
        self._leases.give_back(task.journal.branch(task.stream) for task in ended)
        return outcomes

    def _keep_plan(self) -> None:
        # With the first answer: a service that was never reached leaves nothing.
        while self.terms:
            keep_plan(self.store, self.terms[0], self.versions, actor=self.actor)
            del self.terms[0]

    def _tell(self) -> None:
        if self.progress is not None:
            said = together(self.parts)
            done, total = said.answered + said.failed, said.decisions - said.kept
            self.progress(done, total, said.cost, said.failed)


def _check_stream(stream: str, branch: str) -> None:
    """Refuse now what could not be recorded, or would make no sense, after it was paid for."""
    check_name(branch, what="the name of a replay's branch")
    if REPLAY_MARK in stream:
        raise UsageError(
            f"{stream!r} is itself a replay: replay {stream.partition(REPLAY_MARK)[0]!r}",
            stream=stream,
        )
