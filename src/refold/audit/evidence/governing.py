"""Which decisions about personal data touch a stream: holds, redactions, erasures, retention."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from refold.core.event import category_of, parse_event_id
from refold.core.recorded import Recorded
from refold.engine.store import Store
from refold.errors import UsageError
from refold.privacy.decisions import STREAM
from refold.privacy.pseudonyms import pseudonyms


def governing(store: Store, history: Sequence[Recorded]) -> Iterator[Recorded]:
    """The decisions that the log has about a history, its category, or the people it is about.

    They name people by pseudonyms, of the stream's name and of what its events call their subject.
    What ends or carries out a decision is of the same hold, redaction or erasure as that.
    """
    if store.head(STREAM) < 0:
        return
    streams = {one.stream for one in history}
    subjects = {*streams, *(str(one.metadata.get("subject", "")) for one in history)} - {""}
    wanted = {called for name in subjects for called in pseudonyms(store, name)}
    wanted |= {*streams, category_of(history[-1].stream)}
    for recorded in store.read(STREAM):
        said = recorded.data
        about = {said.get("subject"), said.get("category"), _stream_of(said.get("event"))}
        ids = {said.get(name) for name in ("hold", "redaction", "erasure")} - {None, ""}
        if (about | ids) & wanted:
            wanted |= ids
            yield recorded


def _stream_of(event: object) -> str | None:
    """The stream of an event's id."""
    try:
        return parse_event_id(event)[0] if isinstance(event, str) else None
    except UsageError:
        return None
