"""What importers take and give, and which there are."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from difflib import get_close_matches
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Final, NamedTuple, ParamSpec, Self, TypeVar

import msgspec

from refold.conversation.chat_export import Loss
from refold.conversation.chat_shapes import Unread
from refold.conversation.events import AgentConfigured, Tool
from refold.conversation.importers.detection import FORMATS, known
from refold.conversation.importers.fields import FieldReader, reason_of
from refold.conversation.importers.json_array import Value, checked
from refold.conversation.importers.source import ImportSource
from refold.core.event import Event
from refold.errors import InvalidEvent, UsageError

T = TypeVar("T")
P = ParamSpec("P")

ODD: Final = (
    InvalidEvent, UsageError, ValueError, ArithmeticError, RecursionError, TypeError, LookupError,
    AttributeError,
)  # fmt: skip
"""What the values of strangers raise where they are not as their format has them."""
GROUP: Final = "refold.importers"
"""The entry points of plug-ins: a format's name, and where the function that reads it is."""
BUILT_IN: Final = {
    name: EntryPoint(name, f"refold.conversation.importers.{place}", GROUP)
    for name, place in FORMATS.items()
}


class Problem(NamedTuple):
    """Something in the input that is not as it should be; ``line`` counts from 1, 0: the file.

    ``stream`` names the conversation it is about, where it has come to have a name.
    """

    file: str
    line: int
    message: str
    stream: str | None = None


class FoundFork(NamedTuple):
    """A history that leaves another: events after version ``at`` of the stream ``of``."""

    stream: str
    of: str
    at: int
    events: Sequence[Any]
    variant: Mapping[str, Any]


class Found(NamedTuple):
    """A conversation as an importer found it: one stream, appended whole or not at all.

    ``run`` names the run that it is of, where a stream's name does not: the same task in another
    run is kept beside it. The driver says the ``format``.
    """

    stream: str
    events: Sequence[Any]
    file: str = ""
    line: int = 0
    metadata: Mapping[str, Any] = {}
    problems: Sequence[Problem] = ()
    loss: Sequence[Loss] = ()
    forks: Sequence[FoundFork] = ()
    run: str = ""
    format: str = ""


Conversations = Iterator[Found | Problem]
"""The conversations of a source in its order; a problem by itself is one that failed."""


class Options(NamedTuple):
    """What the user says: the start of the streams' names, the tools offered, agent and model.

    ``agent`` and ``model`` hold where an input does not name its own.
    """

    category: str | None = None
    tools: Sequence[Tool] = ()
    agent: str | None = None
    model: str | None = None


def _never(_values: Sequence[Any], /) -> str:
    return ""


class Importer(NamedTuple):
    """A format: how it is read, and what ``refold import NAME`` says of it.

    ``read`` gives the conversations of a source in its order, read as far as they are asked for;
    a :class:`Problem` by itself is one that failed. Its docstring is the help of the command, the
    last paragraph the example. ``looks_like`` says by what the first values of an input (lines,
    elements, or the one document; the last may be cut) are known to be of this format, as in "its
    lines have a sessionId"; "" where they are not.
    """

    name: str
    read: Callable[[ImportSource, Options], Conversations]
    looks_like: Callable[[Sequence[Any]], str] = _never

    @staticmethod
    def names() -> list[str]:
        """The formats that can be imported: the built-in ones, then those of plug-ins."""
        return list(_points())

    @classmethod
    def named(cls, name: str) -> Self:
        """The importer of a format, loaded now; UsageError where there is none that loads."""
        points = _points()
        if name not in points:
            near = " or ".join(get_close_matches(name, points))
            said = f"did you mean {near}? There are" if near else "give"
            raise UsageError(f"no format {name!r}: {said} {', '.join(points)}", format=name)
        try:
            found = points[name].load()
        except Exception as error:  # A plug-in is anyone's code.
            place = points[name].value
            raise UsageError(f"the importer {place} cannot be had: {error!r}") from error
        # An entry point is the function that reads, or a whole importer.
        return found._replace(name=name) if isinstance(found, cls) else cls(name, found)

    def is_for(self, source: ImportSource) -> bool:
        """Whether a source looks like this format and no other, or nobody can say."""
        if found := Importer.of(source):
            return found[0].name == self.name
        return self.looks_like is _never and self.name not in BUILT_IN

    @classmethod
    def of(cls, source: ImportSource) -> tuple[Self, str] | None:
        """The importer that an input seems to be for, and by what; None where none says so.

        Plug-ins are asked before chat messages, the most general format.
        """
        found = known(source.sample)
        if found is None or found[0] == [*FORMATS][-1]:
            for name in _points().keys() - BUILT_IN.keys():
                # A plug-in that cannot be had, or fails here, is for no input.
                with suppress(Exception):
                    importer = cls.named(name)
                    if why := importer.looks_like(source.sample):
                        return importer, why
        return None if found is None else (cls.named(found[0]), found[1])


def read_all(
    source: ImportSource,
    read: Callable[[Value], Iterable[T | Problem]],
    values: Iterable[Value] | None = None,
) -> Iterator[T | Problem]:
    """What ``read`` gives for each of the values of a source, or of ``values``, one by one.

    A value that is broken, or that ``read`` refuses with one of :data:`ODD`, is a problem; what
    it gave before stays.
    """
    for value in source.values() if values is None else values:
        try:
            yield from read(value)
        except ODD as error:
            yield problem_of(source, value, error)


def tried(
    source: ImportSource, line: int, read: Callable[P, T], *args: P.args, **kwargs: P.kwargs
) -> Iterator[T | Problem]:
    """What ``read`` gives; a problem of the line where it refuses with one of :data:`ODD`."""
    try:
        yield read(*args, **kwargs)
    except ODD as error:
        yield Problem(source.name, line, reason_of(error))


def read_parts(
    source: ImportSource, value: Value, parts: Iterable[Any], at: str, read: Callable[[Any, str], T]
) -> Iterator[T | Problem]:
    """What ``read`` gives for each of the parts of a document and its place; one alone may fail.

    ``at`` is the JSON Pointer of the list that they stand in.
    """
    for number, part in enumerate(parts):
        place = f"{at}/{number}"
        try:
            yield read(checked(part), place)
        except ODD as error:
            yield problem_of(source, value, error, f"{place}: ")


def problem_of(source: ImportSource, value: Value, error: Exception, at: str = "") -> Problem:
    """What is wrong with a value, or with the part of it that ``at`` names."""
    return Problem(source.name, value.line, f"{value.place}{at}{reason_of(error)}")


def read_each(
    source: ImportSource, values: Iterable[Value], convert: Callable[[FieldReader, Value], Found]
) -> Conversations:
    """The conversations of values, one each; a value that is none fails alone.

    ``convert`` raises :class:`~refold.errors.InvalidEvent` or ValueError for what is no
    conversation. What it notes as unread becomes the loss of its conversation.
    """

    def read(value: Value) -> Iterator[Found]:
        unread: list[Unread] = []
        found = convert(FieldReader(value.read_whole(), unread), value)
        if "~" in found.stream:
            raise ValueError(f"{found.stream!r} cannot name a stream here: ~ names a branch")
        where = f"{source.name}:{value.line}"
        yield found._replace(file=source.name, line=value.line, loss=losses(where, unread))

    return read_all(source, read, values)


def losses(where: str, unread: Iterable[Unread]) -> list[Loss]:
    """What is unread of a conversation that begins at ``where``, as the report lists it."""
    return [Loss(where, one.why, one.pointer) for one in unread]


def configured(events: Sequence[Any], given: Mapping[str, str]) -> list[Event]:
    """Events whose agent has what is ``given`` of it, wherever its configuration does not say."""
    made = [one if isinstance(one, Event) else Event.of(one) for one in events]
    if not any(isinstance(one.data, AgentConfigured) for one in made):
        made.insert(1, Event.of(AgentConfigured(), occurred_at=made[0].occurred_at))
    for index, one in enumerate(made):
        if isinstance(one.data, AgentConfigured):
            own = {key: getattr(one.data, key) or value for key, value in given.items()}
            made[index] = dataclasses.replace(one, data=msgspec.structs.replace(one.data, **own))
    return made


def _points() -> dict[str, EntryPoint]:
    """By name; a plug-in does not take the place of a built-in format."""
    return BUILT_IN | {point.name: point for point in entry_points(group=GROUP)} | BUILT_IN
