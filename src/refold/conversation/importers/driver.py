"""The driver of every import: reads sources, appends what is found, reports what was not."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

from refold.conversation.chat_export import Loss
from refold.conversation.chat_shapes import read_tools
from refold.conversation.events import Tool
from refold.conversation.importers.base import (
    Found,
    FoundFork,
    Importer,
    Options,
    Problem,
    configured,
)
from refold.conversation.importers.elsewhere import hint, is_known
from refold.conversation.importers.fields import worded
from refold.conversation.importers.grown import Growth, growth
from refold.conversation.importers.source import ImportSource, Unreadable, named, size_bytes
from refold.core.encode import copied
from refold.core.event import check_name
from refold.core.expected import NO_STREAM
from refold.core.history import SessionForked
from refold.engine.append import Append, prepared
from refold.engine.store import Store
from refold.engine.store_check import check_store
from refold.errors import BackendError, Conflict, InvalidEvent, RefoldError, UsageError
from refold.jsontext import read
from refold.ports import Appended, Batch

LISTED_MAX: Final = 10_000
"""How many problems, and how many losses, a report lists; all are counted."""

Progress = Callable[[int, int | None], None]
"""Called with the bytes read so far and their total, None where that is not known."""


class Taken(NamedTuple):
    """The format that a file was taken for, and why: what in it says so, or that it was asked."""

    file: str
    format: str
    why: str


class ImportReport(msgspec.Struct, kw_only=True):
    """What an import did.

    ``format`` is the one that was asked for, "" where each file's was found out; ``taken`` tells
    for each file which it was. ``imported``, ``grown``, ``unchanged`` and ``failed`` count
    conversations, the grown ones those that were there and have gone on; ``events`` those stored,
    and ``branches`` the forks kept beside their conversation. ``interrupted`` says that the source
    went away before its end: importing again brings the rest.
    ``problems`` and ``loss`` list at most 10,000 each; ``problem_count`` and ``loss_count`` count
    all.
    """

    format: str
    taken: list[Taken] = []
    imported: int = 0
    grown: int = 0
    unchanged: int = 0
    failed: int = 0
    events: int = 0
    branches: int = 0
    interrupted: bool = False
    problem_count: int = 0
    loss_count: int = 0
    problems: list[Problem] = []
    loss: list[Loss] = []

    @property
    def ok(self) -> bool:
        """Whether everything was as it should be."""
        return self.problem_count == 0

    def count(self, stored: Appended) -> None:
        """Count a conversation by the first append of it."""
        is_new = stored.event_count == stored.version + 1
        self.unchanged += stored.duplicate
        self.imported += is_new and not stored.duplicate
        self.grown += not is_new and not stored.duplicate

    def fail(self, problem: Problem) -> None:
        """Count a conversation that failed."""
        self.failed += 1
        self.tell([problem])

    def tell(self, problems: Sequence[Problem]) -> None:
        """List problems."""
        self.problem_count += len(problems)
        self.problems += problems[: LISTED_MAX - len(self.problems)]

    def lose(self, loss: Iterable[Loss]) -> None:
        """List losses."""
        told = list(loss)
        self.loss_count += len(told)
        self.loss += told[: LISTED_MAX - len(self.loss)]


def import_files(
    store: Store,
    format: str | Importer | None,
    paths: Iterable[str | os.PathLike[str]],
    *,
    category: str | None = None,
    tools: str | os.PathLike[str] | None = None,
    agent: str | None = None,
    model: str | None = None,
    progress: Progress | None = None,
) -> ImportReport:
    """Import conversations: each whole or not at all, and again without changing anything.

    ``format`` is one of :meth:`Importer.names`, an importer itself, or None: then that of each
    file is found out by what stands in its first MiB. ``-`` among ``paths`` is the standard input.
    ``category`` begins the names of the streams; a - in it becomes _. ``tools`` is a JSON file of
    the tools that the agent was offered, with their effects. ``agent`` and ``model`` say which
    they were where the input does not.
    ``progress`` is called with the bytes read and their total, None where it is not known.

    What is broken is in the report with its file and line, and the rest goes on. A conversation
    that is already there is unchanged; of one that has gone on since, what is new is added; one
    that is there with other content is a problem.
    Raises :class:`~refold.errors.UsageError` for an unknown format, no paths or a broken tools
    file, and a :class:`~refold.errors.BackendError` when the store fails: importing again then
    does what is left.
    """
    check_store(
        store,
        call="import_files",
        instead="open it with refold.open; from asyncio, call this in asyncio.to_thread",
    )
    importer = format if isinstance(format, Importer | None) else Importer.named(format)
    if isinstance(paths, str | bytes | os.PathLike):
        raise UsageError(f"paths must be a list of files: give [{paths!r}]", argument="paths")
    names = [os.fspath(path) for path in paths]
    if not names:
        raise UsageError("no files to import: name them, or - for the standard input")
    if category is not None:
        if "~" in category:
            raise UsageError(f"a category holds no ~: {category!r}", category=category)
        check_name(category, what="a category")
        category = category.replace("-", "_")
    said = Options(category, () if tools is None else _tools_of(Path(tools)), agent, model)
    report = ImportReport(format="" if importer is None else importer.name)
    store_found(store, report, _read(importer, said, names, report, progress or (lambda *_: None)))
    order = {name: place for place, name in reversed(list(enumerate(names)))}
    report.problems.sort(key=lambda problem: (order[problem.file], problem.line))
    return report


def store_found(store: Store, report: ImportReport, items: Iterable[Found | Problem]) -> None:
    """Store what is found, each with its format, and report it."""
    waiting: deque[Found] = deque()

    def appends() -> Iterator[Append]:
        for item in items:
            if isinstance(item, Problem):
                report.fail(item)
            else:
                waiting.append(item)
                yield _append_of(item)

    owners: dict[str, str] = {}
    for outcome in store.append_many(appends()):
        found = waiting.popleft()
        is_twice = owners.get(found.stream) == found.file
        owners.setdefault(found.stream, found.file)
        if isinstance(outcome, UsageError) and outcome.code == "key_reused":
            if is_twice:  # That is no conversation that has gone on.
                outcome = UsageError("the file has it twice", code=outcome.code)
            else:
                found, outcome = _gone_on(store, found)
            if isinstance(outcome, RefoldError) and (mark := _mark_of_run(store, owners, found)):
                found = _beside(found, mark)
                (outcome,) = store.append_many([_append_of(found)])
                if getattr(outcome, "code", "") == "key_reused":
                    found, outcome = _gone_on(store, found)
        _settle(store, report, found, outcome)


def _append_of(found: Found) -> Append:
    run = {"run": found.run} if found.run else {}
    metadata = {"source": found.format, "origin": "imported", **run, **found.metadata}
    key = f"import:{found.format}:{found.stream}"
    return Append(found.stream, found.events, NO_STREAM, metadata, key)


def _gone_on(store: Store, found: Found) -> tuple[Found, Appended | RefoldError]:
    """A conversation that was imported before, and what comes of what is new of it."""
    append = _append_of(found)
    kept = store.find(append.key or "")
    more = growth(store, append)
    if more.changed or not kept:
        return found, UsageError(more.changed, code="key_reused")
    found = found._replace(loss=[*found.loss, *_kept(found, more)])
    if not more.new:
        return found, kept[0]
    head = store.head(found.stream)
    key = f"{append.key}:{head + 1}"
    (outcome,) = store.append_many([append._replace(events=more.new, expected=head, key=key)])
    return found, outcome


def _kept(found: Found, more: Growth) -> list[Loss]:
    """What is told of events that stay as they were."""
    why = "the file says other totals, tokens or the like now: the first are kept, in "
    return [Loss(f"{found.file}:{found.line}", why + one) for one in more.kept]


def _tools_of(path: Path) -> list[Tool]:
    """The tools of a JSON file; UsageError says what is wrong with it."""
    try:
        tools, unread = read_tools(read(path.read_bytes()))
    except (OSError, ValueError, RecursionError, UsageError) as error:
        why = getattr(error, "strerror", None) or error
        raise UsageError(f"tools file {path} cannot be read: {why}", path=str(path)) from error
    # Without a reason it is a field that is not known here.
    if odd := next((one for one in unread if one.reason), None):
        where = f" at {odd.pointer}" if odd.pointer else ""
        raise UsageError(f"tools file {path}: {odd.reason}{where}", path=str(path))
    return tools


# -- what is read ---------------------------------------------------------------------------------


def _read(
    asked: Importer | None,
    options: Options,
    names: list[str],
    report: ImportReport,
    progress: Progress,
) -> Iterator[Found | Problem]:
    """What the sources hold, one after the other."""
    total_bytes, done_bytes = size_bytes(names), 0
    for name in names:
        try:
            with ImportSource.opened(name) as source:
                importer, why = (asked, "as asked") if asked else Importer.of(source) or (None, "")
                if importer is None:
                    why = source.broken or "no known format is recognised in it"
                    raise Unreadable(f"{why}{hint(source)}")
                report.taken.append(Taken(name, importer.name, why))
                for item in _found_in(source, importer, options):
                    progress(done_bytes + source.read_bytes, total_bytes)
                    yield item
                done_bytes += source.read_bytes
                progress(done_bytes, total_bytes)
        except (Unreadable, InvalidEvent) as error:
            yield Problem(name, 0, str(error))


def _found_in(
    source: ImportSource, importer: Importer, options: Options
) -> Iterator[Found | Problem]:
    """What the importer finds; a file of another format, where it finds nothing, is one problem."""
    nothing = Problem(source.name, 0, "there are no conversations in it")
    items: Iterator[Found | Problem] = importer.read(source, options)
    first = next(items, nothing)
    # What it looks like takes time to say, and mostly nobody asks.
    if isinstance(first, Problem) and (first is nothing or not importer.is_for(source)):
        more = 0
        for item in items if is_known(source) else ():
            if isinstance(item, Found):
                items = chain([item], items)
                break
            more += 1
        told = f" (and {more:,} problems more)" if more else ""
        message = f"{first.message}{told}{hint(source, importer, options)}"
        first = first._replace(message=message)
    for item in chain([first], items):
        yield _completed(item, importer, options) if isinstance(item, Found) else item


def _completed(item: Found, importer: Importer, options: Options) -> Found:
    """What was found, with the format and what the user says of the agent."""
    given = {k: v for k, v in (("agent", options.agent), ("model", options.model)) if v is not None}
    events = configured(item.events, given) if given else item.events
    return item._replace(format=importer.name, events=events)


# -- what is stored -------------------------------------------------------------------------------


def _settle(
    store: Store, report: ImportReport, found: Found, outcome: Appended | RefoldError
) -> None:
    if isinstance(outcome, BackendError):
        raise outcome
    if isinstance(outcome, RefoldError):
        why = worded(outcome.message)
        if outcome.code == "key_reused":
            why = f"{found.stream} was imported before with other content ({why}): it is left as "
            why += "it is; give another category to import this one beside it"
        elif isinstance(outcome, Conflict):
            why = f"{found.stream} is there already and was not imported: give another category"
        report.fail(Problem(found.file, found.line, why, found.stream))
        return
    report.count(outcome)
    report.events += 0 if outcome.duplicate else outcome.event_count
    report.tell(found.problems)
    report.lose(found.loss)
    for fork in found.forks:
        _keep(store, report, found, fork)


def _mark_of_run(store: Store, owners: dict[str, str], found: Found) -> str:
    """What tells a conversation from that of another run under the same name; "" for nothing.

    It is the run's name where that differs, else, for runs of one name, a hash of what is in it.
    """
    if not found.run:
        return ""
    first = next(iter(store.read(found.stream)), None)
    if first and first.metadata.get("run", found.run) != found.run:
        return named(found.run)
    batch = prepared(_append_of(found), store.registry)
    mark = batch.digest.hex()[:8] if isinstance(batch, Batch) else ""
    is_another = owners[found.stream] != found.file or store.head(f"{found.stream}-{mark}") >= 0
    return mark if is_another else ""


def _beside(found: Found, mark: str) -> Found:
    """A conversation under a name of its own."""
    stream = f"{found.stream}-{mark}"
    forks = [one._replace(of=stream, stream=f"{one.stream}-{mark}") for one in found.forks]
    return found._replace(stream=stream, forks=forks)


def _is_branch(store: Store, fork: FoundFork) -> bool:
    """Whether the stream of a fork's name began where the fork does."""
    first = next(iter(store.read(fork.stream, from_version=fork.at + 1)), None)
    began = first.event if first is not None else None
    place = (fork.of, fork.at)
    return isinstance(began, SessionForked) and (began.from_stream, began.from_version) == place


def _keep(store: Store, report: ImportReport, found: Found, fork: FoundFork) -> None:
    """Store a fork as a branch, or what is new of one that is there already."""
    branch = store.branch(fork.of, at=fork.at).adding(*fork.events)
    try:
        saved = store.save_branch(branch, fork.stream, variant=fork.variant)
        report.branches += 1
        report.events += saved.event_count
    except Conflict:
        append = Append(fork.stream, [*map(copied, branch.events[fork.at + 1 :])])
        is_it = _is_branch(store, fork)
        more = growth(store, append, after=fork.at + 1) if is_it else Growth(changed="another fork")
        if more.changed:
            why = f"{fork.stream} is there with other events ({more.changed})"
            report.fail(Problem(found.file, found.line, why, fork.stream))
        report.lose(_kept(found, more))
        if more.new:
            store.append(fork.stream, more.new, expected=store.head(fork.stream))
            report.events += len(more.new)
