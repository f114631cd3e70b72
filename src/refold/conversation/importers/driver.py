"""The driver of every import: reads sources, appends what is found, reports what was not."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import msgspec

from refold.conversation.chat_export import Loss
from refold.conversation.chat_shapes import read_tools
from refold.conversation.events import Tool
from refold.conversation.importers.importer import Fork, Found, Importer, Options, Problem
from refold.conversation.importers.json_array import Unreadable
from refold.conversation.importers.source import Source, opened, size_bytes
from refold.core.event import check_name
from refold.core.expected import NO_STREAM
from refold.core.recorded import Recorded
from refold.engine.append import Append, Appended
from refold.engine.checks import check_store
from refold.engine.store import Store
from refold.errors import BackendError, Conflict, InvalidEvent, RefoldError, UsageError

LISTED_MAX: Final = 10_000
"""How many problems, and how many losses, a report lists; all are counted."""

Progress = Callable[[int, int | None], None]
"""Called with the bytes read so far and their total, None where that is not known."""


class ImportReport(msgspec.Struct, kw_only=True):
    """What an import did.

    ``imported``, ``unchanged`` and ``failed`` count conversations, ``events`` those stored, and
    ``branches`` the forks kept beside their conversation. ``problems`` and ``loss`` list at most
    10,000 each; ``problem_count`` and ``loss_count`` count all.
    """

    format: str
    imported: int = 0
    unchanged: int = 0
    failed: int = 0
    events: int = 0
    branches: int = 0
    problem_count: int = 0
    loss_count: int = 0
    problems: list[Problem] = []
    loss: list[Loss] = []

    @property
    def ok(self) -> bool:
        """Whether everything was as it should be."""
        return self.problem_count == 0


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
        if set(category) & set("-~"):
            raise UsageError(
                f"a category is text without - and ~, not {category!r}", category=category
            )
        check_name(category, what="a category")
    options = Options(category, () if tools is None else _tools_of(Path(tools)))
    return _Import(store, importer, options, names, progress).run()


def _tools_of(path: Path) -> list[Tool]:
    """The tools of a JSON file; UsageError says what is wrong with it."""
    try:
        tools, unread = read_tools(msgspec.json.decode(path.read_bytes()))
    except OSError as error:
        why = error.strerror or str(error)
        raise UsageError(f"tools file {path}: {why}", path=str(path)) from error
    except (ValueError, RecursionError) as error:
        raise UsageError(f"tools file {path} is not JSON: {error}", path=str(path)) from error
    for one in unread:
        if one.reason:  # Without one it is a field that is not known here.
            where = f" at {one.pointer}" if one.pointer else ""
            raise UsageError(f"tools file {path}: {one.reason}{where}", path=str(path))
    return tools


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
        self._report = ImportReport(format=importer.name)

    def run(self) -> ImportReport:
        for outcome in self._store.append_many(self._appends()):
            self._settle(*self._waiting.popleft(), outcome)
        order = {name: place for place, name in reversed(list(enumerate(self._names)))}
        self._report.problems.sort(key=lambda problem: (order[problem.file], problem.line))
        return self._report

    def _appends(self) -> Iterator[Append]:
        for name in self._names:
            try:
                with opened(name) as source:
                    yield from self._appends_of(source)
            except Unreadable as error:
                self._failed(Problem(name, error.line, error.message))
            except InvalidEvent as error:
                self._failed(Problem(name, 0, error.message))

    def _appends_of(self, source: Source) -> Iterator[Append]:
        item = None
        for item in self._items(source):
            self._tell(source.read_bytes)
            if isinstance(item, Problem):
                self._failed(item)
                continue
            self._waiting.append((source.name, item))
            metadata = {"source": self._importer.name, "origin": "imported", **item.metadata}
            key = f"import:{self._importer.name}:{item.stream}"
            yield Append(item.stream, item.events, NO_STREAM, metadata, key)
        if item is None:
            raise Unreadable("there are no conversations in it")
        self._done_bytes += source.read_bytes
        self._tell(0)

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

    def _settle(self, name: str, found: Found, outcome: Appended | RefoldError) -> None:
        if isinstance(outcome, BackendError):
            raise outcome
        if isinstance(outcome, RefoldError):
            why = _changed(found.stream, outcome) or outcome.message
            self._failed(Problem(name, found.line, why, found.stream))
            return
        if outcome.duplicate:
            self._report.unchanged += 1
        else:
            self._report.imported += 1
            self._report.events += outcome.event_count
        for problem in found.problems:
            self._problem(problem)
        self._report.loss_count += len(found.loss)
        self._report.loss += found.loss[: LISTED_MAX - len(self._report.loss)]
        for fork in found.forks:
            self._keep(name, found, fork)

    def _keep(self, name: str, found: Found, fork: Fork) -> None:
        """Store a fork as a branch, unless it is there already."""
        branch = self._store.branch(fork.of, at=fork.at).adding(*fork.events)
        try:
            saved = self._store.save_branch(branch, fork.stream, variant=fork.variant)
            self._report.branches += 1
            self._report.events += saved.event_count
        except Conflict:
            stored = self._store.read(fork.stream, from_version=fork.at + 2)
            if [_content(e) for e in stored] != [_content(e) for e in branch.events[fork.at + 1 :]]:
                why = f"{fork.stream} is there with other events"
                self._failed(Problem(name, found.line, why, fork.stream))

    def _failed(self, problem: Problem) -> None:
        self._report.failed += 1
        self._problem(problem)

    def _problem(self, problem: Problem) -> None:
        self._report.problem_count += 1
        if len(self._report.problems) < LISTED_MAX:
            self._report.problems.append(problem)

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
