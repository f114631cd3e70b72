"""Appending: one call of a server-side function a commit, from cached heads.

The plan is made here, on what is believed of the log; the function takes the turn of all writers,
stores what was planned where every belief holds, and else says which do not. Then the plan is made
anew. A commit that keeps losing races is planned under the turn. Each carries a token: where the
connection was lost, it tells whether the commit stands, as soon as all that stands lasts.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from os import urandom
from time import monotonic
from typing import Any, Final, NamedTuple, TypeVar

import psycopg

from refold.backends.plan import Known, Needs, Plan, needs, plan
from refold.backends.postgres import queries
from refold.backends.postgres.address import Address
from refold.backends.postgres.arguments import as_columns, as_listed, as_one, as_times
from refold.backends.postgres.arrays import Numbers, Texts
from refold.backends.postgres.errors import RACED, is_elsewhere, is_lost, named
from refold.backends.postgres.reached import Reached
from refold.backends.postgres.schema import make_partitions, month_of, schema_number
from refold.backends.postgres.session import ServerSession, close_quietly, connected, repeated
from refold.backends.postgres.tables import BEGIN, TableStatements
from refold.core.expected import NO_EVENTS
from refold.core.query import Condition
from refold.errors import LOOK_OR_REPEAT, Corrupt, OutcomeUnknown, RefoldError, Unavailable
from refold.ports import CLOCK_STREAM, Batch, Beside, Outcome

T = TypeVar("T")

RACES_BEFORE_TURN: Final = 3
"""How often a commit is planned again after losing a race with another process, before it waits."""
CORRECTIONS_MAX: Final = 10
LOOK_AHEAD: Final = 1_000
"""A condition on more positions than this is looked at before the turn, so that nobody waits."""
AGAIN_S: Final = 60.0
"""How long after partitions could not be made it is tried again."""
DAY_US: Final = 86_400_000_000
"""Once a day it is looked whether the partitions of the month and of those to come stand."""
FORGET_EVERY: Final = 1_000
"""After so many commits up to twice as many of the oldest tokens are forgotten."""
STREAMS_CACHED_MAX: Final = 100_000


class Seat(NamedTuple):
    """A session of the server, and which server that is."""

    pid: int
    began: str
    system: str
    is_standby: bool


class Trial(NamedTuple):
    """One try at a commit: of what, decided on what, at which times, its token, what was before.

    ``clocks`` has one for all ``batches``, or one for each.
    ``is_repeatable``: all of it has keys, so that it may be tried again while it may be on its way.
    Of conditions, ``broken`` has where some are broken, ``holds`` up to which position others hold.
    """

    batches: Sequence[Batch]
    wanted: Needs
    clocks: Sequence[int]
    token: str
    after: int
    is_repeatable: bool
    broken: Mapping[Condition, int]
    holds: Mapping[Condition, int]


class Told(NamedTuple):
    """What the function answers: where the appends stand, or which beliefs do not hold."""

    first: int | None
    recorded_at: int
    log_head: int
    heads: str | None
    taken: Sequence[str] | None
    broken: str | None


Work = Callable[[ServerSession, Trial], T]


class PostgresWriter:
    """The one connection that writes. Not for several threads at once."""

    def __init__(self, address: Address, reached: Reached, *, durable: bool) -> None:
        self._address, self._tenant, self._durable = address, address.tenant, durable
        self._reached = reached
        self._schema_number = schema_number()
        self._session: ServerSession | None = None
        self._seat = Seat(0, "", "", False)
        self._has_isolation = True
        self._may_come_late = False
        self._versions: dict[str, int] = {}
        self._log_head = 0
        self._day, self._partitions_at = -1, 0.0
        self._until_forgetting = 0

    def commit(
        self, batches: Sequence[Batch], *clocks: int, beside: Beside | None = None
    ) -> list[Outcome]:
        """Store batches in order; see :class:`~refold.ports.Backend`.

        ``clocks`` is what the clock says, or what it said of each where they are a copy.
        """
        if not batches:
            return []
        self._may_come_late = False
        try:
            if beside is None:
                keyed = all(batch.key is not None for batch in batches)
                attempt = partial(self._attempt, self._raced, batches, clocks, is_repeatable=keyed)
                return repeated(self._address.shown, attempt)
            # What stands beside has begun to change: whoever keeps it tries again.
            work = partial(self._in_turn, partial(self._all_beside, beside))
            return self._attempt(work, batches, clocks, is_repeatable=False)
        except psycopg.Error as error:
            raise named(error, self._address.shown) from error
        except Unavailable as error:
            if self._may_come_late:
                raise self._unknown(error) from error
            raise
        finally:
            if self._session is not None and not self._session.is_idle:
                self.close()

    def close(self) -> None:
        """Let go of the connection; it is made again when it is needed."""
        session, self._session = self._session, None
        if session is not None:
            close_quietly(session)

    # -- one attempt, of which an error of the driver says that nothing is stored -----------------

    def _attempt(
        self, work: Work[T], batches: Sequence[Batch], clocks: Sequence[int], *, is_repeatable: bool
    ) -> T:
        try:
            session = self._connection()
            self._keep_up(session, clocks[0])
            after = self._log_head
            wanted, token = needs(batches), urandom(16).hex()
            known = self._looked_ahead(session, wanted)
            return work(
                session, Trial(batches, wanted, clocks, token, after, is_repeatable, *known)
            )
        except BaseException as error:
            self._versions.clear()
            if is_elsewhere(error):
                self.close()
            raise

    def _connection(self) -> ServerSession:
        if self._session is None or self._session.closed:
            self._session = connected(self._address)
            values = self._tenant, self._address.is_pooled
            ((*seat, isolation, head),) = self._session.run("this_session", *values)
            self._seat, self._log_head = Seat(*seat), head or 0
            self._has_isolation = isolation == "read committed"
            self._reached.check(self._session.run, self._seat.system)
        return self._session

    def _keep_up(self, session: ServerSession, now: int) -> None:
        """Make partitions and forget old tokens, where it is time; an append can do without."""
        day = now // DAY_US
        if day != self._day and monotonic() >= self._partitions_at:
            if make_partitions(session, month_of(now)):
                self._day = day
            else:
                self._partitions_at = monotonic() + AGAIN_S
        self._until_forgetting -= 1
        if self._until_forgetting < 0:
            self._until_forgetting = FORGET_EVERY
            with suppress(psycopg.errors.InsufficientPrivilege, *RACED):
                session.run("forget_commits", self._tenant, 2 * FORGET_EVERY)

    def _looked_ahead(
        self, session: ServerSession, wanted: Needs
    ) -> tuple[dict[Condition, int], dict[Condition, int]]:
        """Which conditions are broken where, and up to where the others hold."""
        broken, holds = {}, {}
        for one in wanted.conditions:
            if self._log_head - one.after > LOOK_AHEAD:
                asked = json.dumps(as_listed(one, one.after))
                ((position, head),) = session.run("broken_at", self._tenant, asked)
                if position is None:
                    holds[one] = head
                else:
                    broken[one] = position
        return broken, holds

    def _raced(self, session: ServerSession, trial: Trial) -> list[Outcome]:
        """Plan and store; again where another process came first, at last while it waits."""
        wanted = trial.wanted
        known = self._believed(session, wanted, trial)
        # Only a transaction that is begun can be told to see what came before it.
        for _ in range(RACES_BEFORE_TURN if self._has_isolation else 0):
            planned = self._planned(session, trial.batches, wanted, known)
            told = self._surely(partial(self._call, session, planned, wanted, trial), trial)
            if told.first is not None:
                return self._stored(session, planned, told)
            known = self._corrected(session, planned.known, wanted, told)
        return self._in_turn(lambda *given: self._settled(*given)[0], session, trial)

    def _in_turn(self, work: Work[T], session: ServerSession, trial: Trial) -> T:
        """What some work answers, stored while nobody else writes; an error ends the session."""
        session.execute(BEGIN)
        session.run("take_turn", self._tenant)
        answer = work(session, trial)
        self._surely(partial(_committed, session), trial)
        return answer

    def _settled(self, session: ServerSession, trial: Trial) -> tuple[list[Outcome], Plan, Told]:
        """Plan and store in turn: what is told of the log then still holds."""
        wanted = trial.wanted
        known = self._believed(session, wanted, trial)
        for _ in range(CORRECTIONS_MAX):
            planned = self._planned(session, trial.batches, wanted, known)
            told = self._call(session, planned, wanted, trial)
            if told.first is not None:
                return self._stored(session, planned, told), planned, told
            known = self._corrected(session, planned.known, wanted, told)
        raise Corrupt(f"{self._address.shown} contradicts itself; run `refold doctor`")

    def _all_beside(self, beside: Beside, session: ServerSession, trial: Trial) -> list[Outcome]:
        tables = TableStatements(session, self._tenant)
        self._log_head = queries.log_head(session, self._tenant)
        beside.begin(tables, after=self._log_head)
        outcomes = [
            self._stored_beside(
                session, trial._replace(batches=[batch], wanted=needs([batch])), tables, beside
            )
            for batch in trial.batches
        ]
        beside.end(tables, position=self._log_head)
        return outcomes

    def _stored_beside(
        self, session: ServerSession, trial: Trial, tables: TableStatements, beside: Beside
    ) -> Outcome:
        session.execute("SAVEPOINT append")
        head = self._log_head
        outcomes, planned, told = self._settled(session, trial)
        (now,) = trial.clocks
        clock_at = None if told.recorded_at == now else now
        rows = [place.row(head + 1, told.recorded_at, clock_at) for place in planned.places]
        refusal = beside.add(tables, rows) if rows else None
        if refusal is not None:
            session.execute("ROLLBACK TO append")
            self._versions.clear()
            self._log_head = head
        session.execute("RELEASE append")
        return outcomes[0] if refusal is None else refusal

    # -- what is believed, planned and told -------------------------------------------------------

    def _believed(self, session: ServerSession, wanted: Needs, trial: Trial) -> Known:
        """What is thought of the log: that no key is taken, and no other condition broken."""
        missing = wanted.streams.difference(self._versions)
        if missing:
            for info in queries.heads(session, self._tenant, sorted(missing)):
                self._versions[info.stream] = info.version
        return Known(self._log_head, self._versions, {}, trial.broken)

    def _planned(
        self, session: ServerSession, batches: Sequence[Batch], wanted: Needs, known: Known
    ) -> Plan:
        planned = plan(batches, known)
        # A repeated append fails its expected version: its key has the answer.
        if not known.kept and planned.refuses_a_key(batches):
            kept = queries.kept_under(session, self._tenant, sorted(wanted.keys))
            planned = plan(batches, known._replace(kept=kept))
        return planned

    def _call(self, session: ServerSession, planned: Plan, wanted: Needs, trial: Trial) -> Told:
        known, places = planned.known, planned.places
        turn = self._tenant, self._schema_number, trial.token, trial.clocks[0], self._durable
        one = as_one(planned, wanted)
        if one is not None:
            ((told),) = session.run("append_one", *turn, *one)
            return Told(*told)
        restarts = bool(places) and places[0].write.stream == CLOCK_STREAM
        names = Texts(wanted.streams)
        free = Texts(key for key in wanted.keys if key not in known.kept)
        whole = [one for one in wanted.conditions if one not in known.found]
        # A group plans on where its own events will stand.
        at = known.log_head if whole and len(planned.decisions) > 1 else None
        believed = Numbers(known.heads.get(name, NO_EVENTS) for name in wanted.streams)
        listed = [as_listed(one, max(one.after, trial.holds.get(one, 0))) for one in whole]
        asked = json.dumps(listed) if listed else None
        times: tuple[Numbers | None, Numbers | None] = None, None
        if len(trial.clocks) > 1:
            at, last_at = next(iter(session.run("log_end", self._tenant)), (0, None))
            times = as_times(planned, trial.clocks, last_at)
        beliefs = names, believed, free or None, asked, at
        ((told),) = session.run("append", *turn, restarts, *beliefs, *as_columns(planned), *times)
        return Told(*told)

    def _stored(self, session: ServerSession, planned: Plan, told: Told) -> list[Outcome]:
        if planned.known.kept and not planned.places:
            session.run("lasts", self._durable)  # What is told of stands, and nothing else waits.
        assert told.first is not None
        self._versions.update(planned.heads)
        self._log_head = told.first - 1 + planned.event_count
        if len(self._versions) > STREAMS_CACHED_MAX:
            self._versions.clear()
        return planned.outcomes(told.first, told.recorded_at)

    def _corrected(self, session: ServerSession, known: Known, wanted: Needs, told: Told) -> Known:
        """What is thought of the log now."""
        self._versions.update(json.loads(told.heads or "{}"))
        self._log_head = told.log_head
        kept = {**known.kept}
        if told.taken:
            kept |= queries.kept_under(session, self._tenant, list(told.taken))
        asked = [one for one in wanted.conditions if one not in known.found]
        found = zip(asked, json.loads(told.broken), strict=True) if told.broken else ()
        broken = {one: position for one, position in found if position is not None}
        return Known(told.log_head, self._versions, kept, {**known.found, **broken})

    # -- what became of a commit ------------------------------------------------------------------

    def _surely(self, commit: Callable[[], Told], trial: Trial) -> Told:
        """What a call that commits tells; where the connection was lost, what is found out."""
        try:
            return commit()
        except psycopg.Error as error:
            if not is_lost(error):
                raise
            stands = self._found_out(trial, error)
            if stands is not None:
                return stands
            self._may_come_late = bool(self._address.is_pooled)
            if self._may_come_late and not trial.is_repeatable:
                raise self._unknown(error) from error
            raise

    def _found_out(self, trial: Trial, lost: psycopg.Error) -> Told | None:
        """What a commit came to, when the session that was to make it has ended."""
        seat = self._seat
        self.close()

        def looked() -> list[tuple[Any, ...]]:
            try:
                return self._looked_up(self._connection(), seat, trial)
            except psycopg.Error:
                self.close()
                raise

        try:
            found = repeated(self._address.shown, looked)
        except RefoldError as error:
            self._reached.refuse()  # The server that might know is no more.
            raise self._unknown(lost) from error
        return next((Told(first, at, first - 1, None, None, None) for first, at, _ in found), None)

    def _looked_up(self, session: ServerSession, old: Seat, trial: Trial) -> list[tuple[Any, ...]]:
        """The commit of a token; nothing where it is not made and never will be."""
        if self._seat.system != old.system or self._seat.is_standby:
            raise psycopg.OperationalError("another server answers, or one that only follows")
        if not self._address.is_pooled:
            session.run("end_session", old.pid, old.began)
            if session.run("is_session", old.pid, old.began):
                raise psycopg.OperationalError("the session that was lost does not end")
        values = self._tenant, trial.token, trial.after, self._durable
        return session.run("commit_of", *values)

    def _unknown(self, error: Exception) -> OutcomeUnknown:
        where = self._address.shown
        why = f"the connection to {where} was lost ({str(error).strip()})"
        return OutcomeUnknown(
            f"{why}: the append may or may not be stored; {LOOK_OR_REPEAT}", url=where
        )


def _committed(session: ServerSession) -> Told:
    done = session.execute("COMMIT").statusmessage
    if done != "COMMIT":
        raise Unavailable("the transaction was undone by an earlier error; nothing was written")
    return Told(None, 0, 0, None, None, None)
