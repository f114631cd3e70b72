"""Labels and scores that people give to conversations, recorded as events of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from refold.conversation.attributes import TAG
from refold.conversation.events import LabelRecorded, ScoreRecorded
from refold.engine.store import Store
from refold.engine.store_check import check_store
from refold.errors import refuse_unless
from refold.replay.variant import OPENED


def label(
    store: Store,
    stream: str,
    *,
    rater: str,
    labels: Mapping[str, str] | None = None,
    scores: Mapping[str, float] | None = None,
    tags: Sequence[str] = (),
    comment: str | None = None,
    at: str | None = None,
) -> int:
    """Record what someone says of a conversation; how much of it they had not said already.

    ``labels`` are words by name (``outcome`` says how it came out), ``scores`` numbers by name,
    ``tags`` words; ``at`` is the id of the one event that all of it is about. Whoever records the
    conversation at the same time, at the version that they left it at, meets a
    :class:`~refold.Conflict`: label what has ended. Raises :class:`~refold.errors.NotFound` for a
    stream that is not there.
    """
    check_store(store, call="label", instead=OPENED)
    refuse_unless(isinstance(rater, str) and rater, "who says so", rater=rater)
    refuse_unless(not isinstance(tags, str), "a list of tags", tags=tags)
    named = [*(labels or {}).items(), *((TAG, tag) for tag in tags)]
    given: list[LabelRecorded | ScoreRecorded] = [
        *(LabelRecorded(name, value, rater, comment, at) for name, value in named),
        *(ScoreRecorded(name, value, rater, comment) for name, value in (scores or {}).items()),
    ]
    # The last word of each on each name; a tag is a word by itself.
    said = dict(_said(store, stream))
    new = [one for one in given if said.get(_place(one)) != one.value]
    if new:
        store.append(stream, new, metadata={"actor": rater, "origin": "recorded"})
    return len(new)


def _said(store: Store, stream: str) -> Iterator[tuple[tuple[str, ...], str | float]]:
    """What was said of a conversation so far: by whom, of what, and the value."""
    classes = {"label.recorded": LabelRecorded, "score.recorded": ScoreRecorded}
    for recorded in store.read(stream):
        if recorded.type in classes:
            one = recorded.to_class(classes[recorded.type])
            yield _place(one), one.value


def _place(one: LabelRecorded | ScoreRecorded) -> tuple[str, ...]:
    if isinstance(one, ScoreRecorded):
        return "score", one.name, one.rater
    tag = (one.value,) if one.name == TAG else ()
    return "label", one.name, one.rater, one.at or "", *tag
