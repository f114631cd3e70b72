"""Traces out of sources, and the conversations that they tell."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from refold.conversation.importers.base import ODD, Found, Options, Problem, losses
from refold.conversation.importers.source import named
from refold.conversation.importers.spans import Trace
from refold.conversation.importers.telling import Telling


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
        loss = losses(f"{source_name}:{trace.line}", [*trace.unread, *told.unread])
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
