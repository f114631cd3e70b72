"""The driver of every import: reads sources, appends what is found, reports what was not."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from refold.conversation.chat_export import Loss
from refold.conversation.importers.importer import (
    LISTED_MAX,
    Fork,
    Found,
    Importer,
    ImportReport,
    Options,
    Problem,
    Progress,
)
from refold.conversation.importers.json_array import Unreadable
from refold.conversation.importers.source import Source, opened, size_bytes
from refold.conversation.importers.tools import read_tools
from refold.core.event import check_name
from refold.core.expected import NO_STREAM
from refold.core.recorded import Recorded
from refold.engine.append import Append, Appended
from refold.engine.checks import check_store
from refold.engine.store import Store
from refold.errors import BackendError, Conflict, InvalidEvent, RefoldError, UsageError


def import_files(
    store: Store,
    format: str | Importer,
    paths: Iterable[str | os.PathLike[str]],
    *,
    category: str | None = None,
    tools: str | os.PathLike[str] | None = None,
    progress: Progress | None = None,
) -> ImportReport:
    """Import conversations: each whole or not at all, and again without changing anything.

    ``format`` is ``tau-bench``, ``openai-chat``, the name of a plug-in's format, or an importer
    itself; ``-`` among ``paths`` is the standard input. ``category`` begins the names of the
    streams. ``tools`` is a JSON file of the tools that the agent was offered, with their effects.
    ``progress`` is called with the bytes read and their total, None where it is not known.

    What is broken is in the report with its file and line, and the rest goes on. A conversation
    that is already there is unchanged; one that is there with other content is a problem.
    Raises :class:`~refold.errors.UsageError` for an unknown format, no paths or a broken tools
    file, and a :class:`~refold.errors.BackendError` when the store fails: importing again then
    does what is left.
    """
    check_store(
        store,
        call="import_files",
        instead="open it with refold.open; from asyncio, call this in asyncio.to_thread",
    )
    importer = format if isinstance(format, Importer) else Importer.named(format)
    if isinstance(paths, str | bytes | os.PathLike):
        raise UsageError(f"paths must be a list of files: give [{paths!r}]", argument="paths")
    names = [os.fspath(path) for path in paths]
    if not names:
        raise UsageError("no files to import: name them, or - for the standard input")
    if category is not None:
        _check_category(category)
    options = Options(category, () if tools is None else read_tools(Path(tools)))
    return _Import(store, importer, options, names, progress).run()


def _check_category(category: str) -> None:
    if set(category) & set("-~"):
        raise UsageError(f"a category is text without - and ~, not {category!r}", category=category)
    check_name(category, what="a category")


class _Import:
    """One run: what was read and is not yet stored, and the report as it grows."""

    def __init__(
        self,
        store: Store,
        importer: Importer,
        options: Options,
        names: list[str],
        progress: Progress | None,
    ) -> None:
        self._store = store
        self._importer = importer
        self._options = options
        self._names = names
        self._progress = progress
        self._total_bytes = size_bytes(names)
        self._done_bytes = 0
        self._waiting: deque[tuple[str, Found]] = deque()
        self._order = {name: place for place, name in reversed(list(enumerate(names)))}
        self.report = ImportReport(format=importer.name)

    def run(self) -> ImportReport:
        for outcome in self._store.append_many(self._appends()):
            self._settle(*self._waiting.popleft(), outcome)
        self.report.problems.sort(key=lambda problem: (self._order[problem.file], problem.line))
        return self.report

    def _appends(self) -> Iterator[Append]:
        for name in self._names:
            try:
                with opened(name) as source:
                    some = False
                    for item in self._items(source):
                        some = True
                        self._tell(source.read_bytes)
                        if isinstance(item, Problem):
                            self._failed(item)
                        else:
                            self._waiting.append((name, item))
                            yield self._append(item)
                    if not some:
                        raise Unreadable("there are no conversations in it")
                    self._done_bytes += source.read_bytes
                    self._tell(0)
            except Unreadable as error:
                self._failed(Problem(name, error.line, error.message))
            except InvalidEvent as error:
                self._failed(Problem(name, 0, error.message))

    def _items(self, source: Source) -> Iterator[Found | Problem]:
        """What the importer finds; of a file that it finds nothing in, which importer fits."""
        items = self._importer.read(source, self._options)
        try:
            first = next(items, None)
        except Unreadable as error:
            raise Unreadable(f"{error.message}{self._hint(source)}", line=error.line) from error
        if isinstance(first, Problem) and (hint := self._hint(source)):
            raise Unreadable(f"{first.message}{hint}", line=first.line)
        if first is not None:
            yield first
            yield from items

    def _hint(self, source: Source) -> str:
        """Which other format finds something in the start of the source."""
        for name in Importer.names():
            # One that cannot be loaded, or read anything here, is no hint.
            with suppress(RefoldError, Unreadable):
                if name != self._importer.name:
                    items = Importer.named(name).read(source.start(), self._options)
                    if any(isinstance(item, Found) for item in items):
                        return f"; this looks like {name}: import it as that"
        return ""

    def _append(self, found: Found) -> Append:
        metadata = {"source": self.report.format, "origin": "imported", **found.metadata}
        key = f"import:{self.report.format}:{found.stream}"
        return Append(found.stream, found.events, NO_STREAM, metadata, key)

    def _settle(self, name: str, found: Found, outcome: Appended | RefoldError) -> None:
        if isinstance(outcome, BackendError):
            raise outcome
        if isinstance(outcome, RefoldError):
            why = _changed(found.stream, outcome) or outcome.message
            self._failed(Problem(name, found.line, why, found.stream))
            return
        if outcome.duplicate:
            self.report.unchanged += 1
        else:
            self.report.imported += 1
            self.report.events += outcome.event_count
        for problem in found.problems:
            self._problem(problem)
        self._lost(found.loss)
        for fork in found.forks:
            self._keep(name, found, fork)

    def _keep(self, name: str, found: Found, fork: Fork) -> None:
        """Store a fork as a branch, unless it is there already."""
        branch = self._store.branch(fork.of, at=fork.at).adding(*fork.events)
        try:
            saved = self._store.save_branch(branch, fork.stream, variant=fork.variant)
            self.report.branches += 1
            self.report.events += saved.event_count
        except Conflict:
            stored = self._store.read(fork.stream, from_version=fork.at + 2)
            if [_content(e) for e in stored] != [_content(e) for e in branch.events[fork.at + 1 :]]:
                why = f"{fork.stream} is there with other events"
                self._failed(Problem(name, found.line, why, fork.stream))

    def _failed(self, problem: Problem) -> None:
        self.report.failed += 1
        self._problem(problem)

    def _problem(self, problem: Problem) -> None:
        self.report.problem_count += 1
        if len(self.report.problems) < LISTED_MAX:
            self.report.problems.append(problem)

    def _lost(self, loss: Iterable[Loss]) -> None:
        for one in loss:
            self.report.loss_count += 1
            if len(self.report.loss) < LISTED_MAX:
                self.report.loss.append(one)

    def _tell(self, read_bytes: int) -> None:
        if self._progress is not None:
            self._progress(self._done_bytes + read_bytes, self._total_bytes)


def _changed(stream: str, error: RefoldError) -> str | None:
    if error.code == "key_reused":
        return (
            f"{stream} was imported before with other content: it is left as it is; "
            "give another category to import this one beside it"
        )
    if isinstance(error, Conflict):
        return f"{stream} is there already and was not imported: give another category"
    return None


def _content(recorded: Recorded) -> tuple[Any, ...]:
    return recorded.stored_kind, recorded.raw, recorded.occurred_at_us, recorded.metadata
