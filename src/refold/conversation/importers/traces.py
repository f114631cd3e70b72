"""Traces out of sources, and the conversations that they tell."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from refold.conversation.chat_export import Loss
from refold.conversation.importers.base import Found, Options, Problem
from refold.conversation.importers.json_array import Value
from refold.conversation.importers.source import ImportSource, named
from refold.conversation.importers.spans import ODD, Trace
from refold.conversation.importers.telling import Telling


def traces_in(
    source: ImportSource, read: Callable[[Value], Iterable[Trace]]
) -> Iterator[Trace | Problem]:
    """The traces of each value of a source; a value of which ``read`` refuses is a problem."""
    for value in source.values():
        try:
            if value.error:
                raise ValueError(value.error)
            yield from read(value)
        except ODD as error:
            yield Problem(source.name, value.line, f"{value.place}{error}")


def read_traces(
    source_name: str, category: str, options: Options, traces: Iterable[Trace | Problem]
) -> Iterator[Found | Problem]:
    """The conversations of traces; a trace that holds none is a problem by itself."""
    for trace in traces:
        if isinstance(trace, Problem):
            yield trace
            continue
        try:
            told = Telling(trace, options)
            told.tell()
        except ODD as error:
            yield Problem(source_name, trace.line, f"trace {trace.id}: {error}")
            continue
        base = f"{options.category or trace.category or category}-{named(trace.id)}"
        where = f"{source_name}:{trace.line}"
        loss = [Loss(where, one.reason, one.pointer) for one in [*trace.unread, *told.unread]]
        for number, talk in enumerate(told.talks):
            stream = f"{base}.{number + 1}" if number else base
            made = talk.said if number else [*talk.said, *trace.scores]
            yield Found(
                stream,
                made,
                file=source_name,
                line=trace.line,
                metadata=trace.metadata,
                loss=() if number else loss,
                run=trace.run,
            )
