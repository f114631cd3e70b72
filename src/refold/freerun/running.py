"""A run in which each candidate goes on with its own answers, a conversation a worker."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Sequence, Set
from contextlib import nullcontext
from dataclasses import dataclass, field
from dataclasses import replace as replace_fields
from decimal import Decimal
from functools import partial
from threading import Lock
from typing import Final

from msgspec.structs import replace

from refold.conversation.chat_shapes import read_tools
from refold.conversation.events import ModelFailed, Usage
from refold.core.expected import NO_EVENTS
from refold.core.recorded import Recorded
from refold.errors import Conflict, InvalidEvent, RefoldError, Unavailable, UsageError
from refold.event_loop import on_thread
from refold.freerun.goals import goal_of
from refold.freerun.outside import closed_off
from refold.freerun.policies import ToolPolicies
from refold.freerun.user import UserSaid, checked, rule_user, user_request
from refold.freerun.walk import Asks, AsksUser, CourseWalk, WalkTerms
from refold.freerun.world import WorldOf
from refold.replay.actions import known, total_cost
from refold.replay.candidate import Candidate, ModelFailure
from refold.replay.course import Reason, record_of
from refold.replay.decision import Action, Decision, decisions, priced, total_usage
from refold.replay.faults import fault_in
from refold.replay.journal import ORIGIN, Left, Task, key_of
from refold.replay.placing import PlacedDecision, is_come_to, placed, went
from refold.replay.request import RequestMaker, configured_by
from refold.replay.requests import Asker, Outcome
from refold.replay.running import RunningReplay
from refold.replay.summary import ReplaySummary

OTHERS_FIRST_MAX: Final = 100
"""So often in a row another run may be first to store the next step of a conversation."""


@dataclass
class WalkSpent:
    """What the answers of a walk took in this run, the simulated user's too.

    ``kept`` are the decisions that it had come to before this run.
    """

    kept: int
    attempts: int = 0
    usages: list[Usage] = field(default_factory=list)
    costs: list[Decimal] = field(default_factory=list)

    def add(self, outcome: Outcome) -> None:
        """One more answer, or none after so many requests."""
        self.attempts += outcome.attempts
        if outcome.action is not None:
            self.usages += known([outcome.action.usage])
            self.costs += known([outcome.action.cost])

    def added_to(self, part: ReplaySummary) -> ReplaySummary:
        """A summary with what is known of it; its requests are counted there."""
        return replace(
            part,
            usage=total_usage([*known([part.usage]), *self.usages]),
            usage_known=part.usage_known + len(self.usages),
            cost=total_cost([part.cost, *self.costs]),
            cost_known=part.cost_known + len(self.costs),
        )


@dataclass(kw_only=True)
class FreeRunning(RunningReplay):
    """All conversations of a run, each walked to its end by one worker.

    ``worlds`` makes what stands in for the tools, as the ``policies`` say of them. ``user`` is the
    name of who speaks after a divergence: ``speaks``, asked within the bounds of the candidate, or
    rules without one.
    """

    policies: ToolPolicies
    worlds: WorldOf
    user: str | None = None
    speaks: Candidate | None = None
    allow: Sequence[str] = ()
    user_asker: Asker | None = field(init=False, default=None)
    _planning: Lock = field(default_factory=Lock)
    _spent: dict[int, tuple[Task, WalkSpent]] = field(default_factory=dict)

    def _done(self, every: Set[str], branch: Iterable[Recorded]) -> Set[str]:
        """All of them where the course is over: a conversation is walked as a whole."""
        return every if any(one.type == "replay.finished" for one in branch) else set()

    def _gone(self, *_: object) -> set[str]:
        """None: the course itself ends there, and says why."""
        return set()

    def _end(self, stream: str, place: int) -> None:
        """A course says itself that it is over."""

    def _made(
        self, stream: str, history: list[Recorded], found: list[Decision], lefts: dict[int, Left]
    ) -> Iterator[Task]:
        maker = RequestMaker(history, [one.variant for one in self.journals], model=self.model)
        requests = maker.at(found[0])
        tools = {tool.name: tool for tool in configured_by(history).tools}
        turn, self._turn = self._turn, self._turn + 1
        places = [place for place, left in lefts.items() if left.decisions]
        first = turn % (len(places) or 1)
        for place in [*places[first:], *places[:first]]:
            journal, fork, left = self.journals[place], found[0].version - 1, lefts[place]
            yield Task(place, journal, stream, found[0], requests[place], fork, tools, left)

    async def work_off(self, asker: Asker, workers: int) -> None:
        """Walk what is missing, while nothing but the models is reached; the plan says so."""
        if self.speaks is not None:
            self.user_asker = asker.beside(self.speaks)
        urls = [getattr(one, "address", None) for one in (asker.candidate, self.speaks)]
        with closed_off([*filter(None, urls), *self.allow]) as outside:
            try:
                async with self.user_asker or nullcontext():
                    await super().work_off(asker, workers)
            finally:
                for task, spent in self._spent.values():  # They were stopped in the midst.
                    part = self.parts[task.place]
                    part = replace(part, requests=part.requests + spent.attempts)
                    self.parts[task.place] = spent.added_to(part)
                self.contained = outside.told()

    # -- one conversation --------------------------------------------------------------------------

    async def _ask(self, asker: Asker, task: Task) -> Outcome:
        """Walk a conversation to its end, each step stored before the next is asked."""
        if id(task) not in self._spent:
            kept = sum(map(is_come_to, await on_thread(partial(self._placed, task))))
            self._spent[id(task)] = task, WalkSpent(kept)
        _, spent = self._spent[id(task)]
        spent.attempts = 0  # Those of an earlier try are counted with its failure.
        for _ in range(OTHERS_FIRST_MAX):
            walk = await on_thread(partial(self._begun, task))
            try:
                return await self._walked(asker, task, walk, spent)
            except RefoldError as error:
                # Another run was first to store the next step: go on with that.
                if error.code not in ("conflict", "key_reused"):
                    raise
        branch = task.journal.branch(task.stream)
        raise Unavailable(f"others write to {branch} all the time: start again", stream=branch)

    def _begun(self, task: Task) -> CourseWalk:
        """The walk of a conversation, as far as its branch has it."""
        history = self._hidden.read(task.stream, self.versions[task.stream])
        variant = task.journal.variant
        tools = None if variant.tools is None else read_tools(variant.tools)[0]
        world = self.worlds(history, tools)
        terms = WalkTerms(variant, self.policies, self._hidden, self.model, self.user)
        walk = CourseWalk(record_of(history, decisions(history)), terms, world)
        branch = task.journal.branch(task.stream)
        walk.take(one for one in task.journal.read(task.stream) if one.stream == branch)
        return walk

    def _begin(self, task: Task, walk: CourseWalk) -> None:
        """Begin the branch with its first answer: a service that was never reached leaves none."""
        self._put_beginning(task)
        branch = task.journal.branch(task.stream)
        own = [one for one in self.store.read(branch) if one.stream == branch]
        if any(one.noted("replay") for one in own):
            raise Conflict(stream=branch, expected=NO_EVENTS, actual=own[-1].version)
        walk.take(own)

    def _put_plan(self) -> None:
        with self._planning:
            self._keep_plan()

    def _put_beginning(self, task: Task) -> None:
        self._put_plan()
        for outcome in self.store.append_many(task.journal.beginning(task)):
            if isinstance(outcome, RefoldError) and outcome.code != "key_reused":
                raise outcome

    async def _walked(
        self, asker: Asker, task: Task, walk: CourseWalk, spent: WalkSpent
    ) -> Outcome:
        while (what := walk.next()) is not None:
            if self.is_stopping:
                raise asyncio.CancelledError
            if isinstance(what, Asks):
                outcome = self._priced(task.request.model, await asker.ask(what.request))
                spent.add(outcome)
                if outcome.action is not None:
                    events = await on_thread(partial(walk.step, outcome.action))
                elif (fault := fault_in(outcome.error)) is not None:
                    is_own = fault == "own_limit"
                    reason: Reason = "prompt_too_long" if is_own else "broken_answer"
                    events = walk.failed(reason, outcome.error)
                else:
                    return replace_fields(outcome, attempts=spent.attempts)
            elif isinstance(what, AsksUser):
                said = await self._spoken(task, what, spent)
                if isinstance(said, Outcome):
                    return replace_fields(said, attempts=spent.attempts)
                events = walk.said(said)
            else:
                events = what.events
            try:
                await asyncio.to_thread(self._store, task, walk, events)
            except InvalidEvent as error:
                why = f"the answer cannot be stored: {error}"
                return Outcome(spent.attempts, failure=ModelFailure(why, kind="garbage"))
        return Outcome(spent.attempts, action=Action())

    def _store(self, task: Task, walk: CourseWalk, events: Sequence[object]) -> None:
        """Put the next step on the branch, once, and go on with what is there."""
        branch = task.journal.branch(task.stream)
        self._put_plan()  # Also of a run that goes on with what another began.
        if walk.version == NO_EVENTS:
            self._begin(task, walk)
        self.store.append(
            branch,
            events,
            expected=walk.version,
            metadata={"origin": ORIGIN, "replay": {"turn": walk.number}},
            key=key_of(branch, f"free {walk.version}"),
        )
        walk.take(self.store.read(branch, from_version=walk.version + 1), is_new=True)

    async def _spoken(self, task: Task, what: AsksUser, spent: WalkSpent) -> UserSaid | Outcome:
        """What the simulated user says, whose faults are looked for, or why it gives no answer."""
        history = await asyncio.to_thread(self._hidden.read, task.stream)
        try:
            goal = goal_of(history)
        except UsageError as error:  # What they wanted cannot be read any more.
            return Outcome(0, failure=ModelFailure(error.message, kind="error"))
        if self.user_asker is None:
            return checked(goal, what.heard, rule_user(goal, what.heard))
        model = getattr(self.user_asker.candidate, "model", None)
        asked = user_request(goal, what.heard, model=model)
        outcome = self._priced(model, await self.user_asker.ask(asked))
        spent.add(outcome)
        if outcome.failure is not None:
            why = f"the simulated user gave no answer: {outcome.failure.message}"
            # What it does not take is no fault of the candidate's.
            kind, status = outcome.failure.kind, outcome.failure.status
            failure = ModelFailure(why, kind="error" if kind == "refused" else kind, status=status)
            return replace_fields(outcome, failure=failure)
        if outcome.action is None:
            return outcome
        return checked(goal, what.heard, outcome.action.text)

    # -- what came of it ---------------------------------------------------------------------------

    def _priced(self, model: str | None, outcome: Outcome) -> Outcome:
        if outcome.action is None:
            return outcome
        return Outcome(outcome.attempts, action=priced(outcome.action, model, self.prices))

    async def _put(self, task: Task, outcome: Outcome) -> None:
        """Count a conversation that was walked, or say where it got no answer."""
        count, got, at = len(task.left.decisions), 0, task.decision.at
        branch = task.journal.branch(task.stream)
        if outcome.failure is not None:
            failed = ModelFailed(
                error=outcome.error, attempt=outcome.attempts, status=outcome.failure.status
            )
            got, at = await asyncio.to_thread(self._note, task, failed)
        task.left.decisions.clear()
        self._leases.give_back([branch])
        _, spent = self._spent.pop(id(task))
        part = spent.added_to(self.parts[task.place].adding(at, outcome))
        kept, others = min(spent.kept, count - 1), count - 1 - got
        part = replace(part, kept=part.kept + kept)
        self.parts[task.place] = (
            replace(part, failed=part.failed + others, answered=part.answered + got - kept)
            if outcome.failure
            else replace(part, answered=part.answered + others - kept)
        )
        self._tell()

    def _note(self, task: Task, failed: ModelFailed) -> tuple[int, str]:
        """Put a failure on the branch: how many decisions were come to before, and where it is."""
        branch = task.journal.branch(task.stream)
        self._put_beginning(task)
        noted = {"origin": ORIGIN, "replay": {"turn": went(self.store.read(branch)).turn}}
        self.store.append(branch, [failed], metadata=noted)
        every = self._placed(task)
        got = sum(map(is_come_to, every))
        at = next((one.decision.at for one in every if one.standing == "failed"), task.decision.at)
        return min(got, len(every) - 1), at

    def _placed(self, task: Task) -> list[PlacedDecision]:
        """What every decision of a conversation is to what is on its branch."""
        history = list(self.store.read(task.stream, to_version=self.versions[task.stream]))
        turns = record_of(history, decisions(history)).turns
        return placed(turns, went(task.journal.read(task.stream)))
