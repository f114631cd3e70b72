"""Appending with rows of projections beside, in one transaction."""

from __future__ import annotations

from collections.abc import Sequence

from refold.backends.plan import Plan, row_of_planned
from refold.backends.sqlite.errors import naming_commit_errors
from refold.backends.sqlite.file import transaction
from refold.backends.sqlite.undoing import is_undone, undone_error
from refold.backends.sqlite.writer import Writer
from refold.backends.tables import SqlTransaction
from refold.errors import Corrupt, OutcomeUnknown, RefoldError
from refold.ports import Batch, Beside, Committed


class InlineWriter(Writer):
    """A writer that can also store what projections make of each append."""

    def commit_beside(
        self, batches: Sequence[Batch], *, now: int, beside: Beside
    ) -> list[Committed | RefoldError]:
        """Store batches in order; see :class:`~refold.ports.InlineKeeper`."""
        try:
            with naming_commit_errors(self._path):
                return self._commit_beside(batches, now, beside)
        except OutcomeUnknown as error:
            if not is_undone(self._connection, batches, position=self._first):
                raise
            raise undone_error(error, self._path) from error.__cause__

    def _commit_beside(
        self, batches: Sequence[Batch], now: int, beside: Beside
    ) -> list[Committed | RefoldError]:
        stale = self._begun()
        self._first = self._next_position
        with transaction(self._connection):
            if stale or not self._is_current():
                self._recall()
            self._first = self._next_position
            tables = SqlTransaction(self._connection)
            beside.begin(tables, after=self._first - 1)
            outcomes = [self._stored_beside(batch, now, tables, beside) for batch in batches]
            beside.end(tables, position=self._next_position - 1)
        self._stale = False
        return outcomes

    def _stored_beside(
        self, batch: Batch, now: int, tables: SqlTransaction, beside: Beside
    ) -> Committed | RefoldError:
        recorded_at = max(now, self._recorded_at)
        plan = Plan(self._head_version, self._found_after, self._next_position, recorded_at)
        # Nobody else writes now: what is looked up here still holds when it is stored.
        outcome = self._outcome(plan, batch, batch.key is not None)
        if not plan.rows:
            return outcome
        self._connection.execute("SAVEPOINT append")
        if not self._store(plan):
            raise Corrupt(f"{self._path} was written while it was locked", path=str(self._path))
        refusal = beside.add(tables, [row_of_planned(row, recorded_at) for row in plan.rows])
        if refusal is not None:
            self._connection.execute("ROLLBACK TO append")
            self._recall()
        self._connection.execute("RELEASE append")
        return outcome if refusal is None else refusal
