"""Labels and scores that people give to conversations, recorded as events of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isfinite
from typing import Final

from refold.conversation.attributes import TAG, Attributes
from refold.conversation.events import LabelRecorded, ScoreRecorded
from refold.engine.append import STREAMS_PER_APPEND_MAX, Append, batch_of
from refold.engine.store import Store
from refold.engine.store_check import check_store
from refold.errors import NotFound, refuse_unless, shown
from refold.replay.variant import OPENED

LABELLED_MAX: Final = STREAMS_PER_APPEND_MAX - 1
"""Of so many conversations something is said in one append, with a dataset of them."""
Word = LabelRecorded | ScoreRecorded
_CLASSES: Final[dict[str, type[Word]]] = {
    "label.recorded": LabelRecorded,
    "score.recorded": ScoreRecorded,
}


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
    key: str | None = None,
) -> int:
    """Record what someone says of a conversation; how much of it was new.

    What is their last word already, with the same comment, is not, unless somebody else has said
    otherwise since.

    ``labels`` are words by name (``outcome`` says how it came out), ``scores`` numbers by name,
    ``tags`` words; ``at`` is the id of the one event that all of it is about. Under a ``key`` it is
    appended once, as with :meth:`refold.Store.append`. Whoever records the
    conversation at the same time, at the version that they left it at, meets a
    :class:`~refold.Conflict`: label what has ended. Raises :class:`~refold.errors.NotFound` for a
    stream that is not there, and for an ``at`` that is none of its events.
    """
    check_store(store, call="label", instead=OPENED)
    refuse_unless(isinstance(rater, str) and rater, "who says so", rater=rater)
    refuse_unless(not isinstance(tags, str), "a list of tags", tags=tags)
    given = _words(rater, labels or {}, scores or {}, tags, comment=comment, at=at)
    said: dict[tuple[str, ...], Word] = {}
    ids = set()
    for recorded in store.read(stream):
        ids.add(recorded.id)
        if recorded.type in _CLASSES:
            _put(said, recorded.to_class(_CLASSES[recorded.type]))
    if at is not None and at not in ids:
        raise NotFound(f"there is no event {shown(at)} in {stream!r}", stream=stream)
    new = [one for one in given if _is_new(said, one)]
    if new:
        store.append_together([_said_by(rater, stream, new)], key=key)
    return len(new)


def score_in(value: str) -> float | None:
    """The number that a word is; None where it is a label."""
    try:
        number = float(value)
    except ValueError:
        return None
    return number if isfinite(number) else None


def unsaid(
    store: Store,
    stream: str,
    rater: str,
    labels: Mapping[str, str],
    scores: Mapping[str, float],
    tags: Sequence[str],
) -> Append:
    """What someone says of a conversation that it is not known by yet: an append, maybe of nothing.

    Raises what appending it would, such as of a word that is too large.
    """
    known = Attributes.of(store.read(stream))
    words = [one for one in _words(rater, labels, scores, tags) if not _has(known, one)]
    append = _said_by(rater, stream, words)
    if words:
        batch_of(append, store.registry)
    return append


def _words(
    rater: str,
    labels: Mapping[str, str],
    scores: Mapping[str, float],
    tags: Sequence[str],
    *,
    comment: str | None = None,
    at: str | None = None,
) -> list[Word]:
    """What someone says, as events; a tag that is said twice is one."""
    named = dict.fromkeys([*labels.items(), *((TAG, tag) for tag in tags)])
    return [
        *(LabelRecorded(name, value, rater, comment, at) for name, value in named),
        *(ScoreRecorded(name, value, rater, comment, at) for name, value in scores.items()),
    ]


def _said_by(rater: str, stream: str, words: Sequence[Word]) -> Append:
    return Append(stream, words, metadata={"actor": rater, "origin": "recorded"})


def _has(known: Attributes, one: Word) -> bool:
    if isinstance(one, ScoreRecorded):
        return known.scores.get(one.name) == one.value
    return one.value in known.tags if one.name == TAG else known.labels.get(one.name) == one.value


def _put(said: dict[tuple[str, ...], Word], one: Word) -> None:
    """Keep a word as the last of its rater and as the last of all, each on what it is about."""
    said[one.rater, *_place(one)] = said["", *_place(one)] = one


def _is_new(said: Mapping[tuple[str, ...], Word], one: Word) -> bool:
    """Whether it is not the rater's last word already, and that the last of all."""
    own, last = said.get((one.rater, *_place(one))), said.get(("", *_place(one)))
    if own is None or last is None or one.comment not in (None, own.comment):
        return True
    return not own.value == last.value == one.value


def _place(one: Word) -> tuple[str, ...]:
    """What a word is about; a tag is a word by itself."""
    kind = "score" if isinstance(one, ScoreRecorded) else "label"
    tag = (str(one.value),) if kind == "label" and one.name == TAG else ()
    return kind, one.name, one.at or "", *tag
