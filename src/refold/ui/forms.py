"""What can be changed through the pages: a form each, and the call of the library that does it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from refold import Store
from refold.errors import RefoldError, UsageError
from refold.privacy.redaction import redact
from refold.privacy.removing import Removal
from refold.privacy.stored import is_open
from refold.replay import Variant, replay, select
from refold.replay.control import control_of
from refold.replay.datasets import Dataset
from refold.replay.labels import label, score_in
from refold.replay.plan import answered_by
from refold.ui.conversations import BESIDE
from refold.ui.pages import place, queried
from refold.ui.writing import Form, Sent, Writing

NAME_CHARS_MAX: Final = 1_000
EVENT_CHARS_MAX: Final = 1_100
WORDS_CHARS_MAX: Final = 4_000
PROMPT_CHARS_MAX: Final = 100_000
STREAMS_CHARS_MAX: Final = 400_000
CHANGES_SHOWN_MAX: Final = 100


def _nothing(_store: Store, _fields: Mapping[str, str], _: Writing) -> Mapping[str, object]:
    return {}


# -- words on a conversation ----------------------------------------------------------------------


def _label(sent: Sent) -> str:
    stream, at = (
        _conversation(sent.needed("stream", NAME_CHARS_MAX)),
        sent.text("at", EVENT_CHARS_MAX),
    )
    name, value = sent.text("name"), sent.text("value", WORDS_CHARS_MAX)
    if bool(name) != bool(value):
        raise UsageError(f"{'value' if name else 'name'}: fill it in too, or leave both empty")
    tag, note = sent.text("tag"), sent.text("note", WORDS_CHARS_MAX)
    labels = {"note": note} if note else {}
    scores = dict[str, float]()
    if name and (number := score_in(value)) is not None:
        scores[name] = number
    elif name:
        labels[name] = value
    if not labels and not scores and not tag:
        raise UsageError("say what it is: a name with a value, a tag or a note")
    of: Any = {"labels": labels, "scores": scores, "tags": [tag] if tag else []}
    label(sent.store, stream, rater=sent.actor, at=at or None, key=sent.key, **of)
    return f"/events/{place(at)}" if at else f"/conversations/{place(stream)}"


def _conversation(stream: str) -> str:
    if stream.startswith(BESIDE):
        raise UsageError(f"{stream} is no conversation: it is what refold keeps for itself")
    return stream


# -- datasets -------------------------------------------------------------------------------------


def _conversations(text: str) -> list[str]:
    """The conversations that are named, one a line, each once."""
    lines = dict.fromkeys(line.strip() for line in text.split("\n"))
    return [_conversation(line) for line in lines if line]


def _dataset(sent: Sent) -> str:
    name, streams = sent.needed("name"), _conversations(sent.needed("stream", STREAMS_CHARS_MAX))
    made = Dataset.make(sent.store, name, streams, chosen_by={"marked": "by hand"}, by=sent.actor)
    return f"/write/dataset{queried(name=made.name)}"


def _datasets(store: Store, _fields: Mapping[str, str], _: Writing) -> Mapping[str, object]:
    return {"datasets": Dataset.all(store)}


# -- replays --------------------------------------------------------------------------------------


def _replay(sent: Sent) -> str:
    store, writing = sent.store, sent.forms.writing
    candidate = writing.candidate
    if candidate is None:
        raise UsageError("no endpoint is known that could answer")
    typed = sent.typed("prompt", PROMPT_CHARS_MAX)
    prompt, model = typed if typed.strip() else None, sent.text("model") or None
    if prompt is None and model is None:
        raise UsageError("say what is to be changed: a prompt, or a model")
    variant = Variant(prompt=prompt, model=model, label=sent.text("label") or None)
    streams = _asked(sent)
    variant = answered_by(store, variant, getattr(candidate, "url", None))
    control = control_of(store, [*streams], variant) if sent.text("control") else None
    how: Any = {"max_cost": sent.text("max_cost") or None, "actor": sent.actor}
    how |= {"control": control, "prices": writing.prices}
    sent.forms.started.start(
        variant.id,
        len(streams),
        lambda tell: replay(store, streams, variant, candidate, progress=tell, **how),
    )
    return "/write/replay"


def _asked(sent: Sent) -> dict[str, int | None]:
    """The conversations to ask, each up to its version in the dataset, or whole."""
    named, dataset = sent.text("stream", STREAMS_CHARS_MAX), sent.text("dataset")
    if bool(named) == bool(dataset):
        raise UsageError("say which conversations: a dataset, or one a line")
    if dataset:
        return dict(Dataset.named(sent.store, dataset).versions)
    return dict.fromkeys(select(sent.store, streams=_conversations(named)))


# -- redaction ------------------------------------------------------------------------------------


def _redact(sent: Sent) -> str:
    event = sent.needed("event", EVENT_CHARS_MAX)
    what = _what(sent.text("field"), sent.text("match"))
    why = Removal(sent.needed("reason", WORDS_CHARS_MAX), sent.actor, sent.forms.writing.classes)
    store = sent.forms.writing.unlocked or sent.store
    _check_open(store)
    told = redact(store, [event], **what, wanted=why)
    if left := [one for one in told.checks if not one.good]:
        parts = "; ".join(f"{one.name}: {one.detail}" for one in left)
        said = f"it is gone from the events, but a part of the storage may hold it still: {parts}"
        raise RefoldError(said)
    return f"/events/{place(event)}"


def _going(store: Store, fields: Mapping[str, str], writing: Writing) -> Mapping[str, object]:
    """The members that an event has, and what goes with the one that is asked for."""
    store = writing.unlocked or store
    event = store.event(fields.get("event", ""))
    said = event.data if isinstance(event.data, dict) else {}
    what = _what(fields.get("field", ""), fields.get("match", ""))
    going: Sequence[Any] = ()
    problem = ""
    if what["field"] or what["match"]:
        try:
            _check_open(store)
            going = redact(store, [event.id], **what, wanted=_LOOKING, dry_run=True).changes
        except RefoldError as error:
            problem = error.message
    return {"members": [*said], "going": going, "going_max": CHANGES_SHOWN_MAX, "why_not": problem}


def _check_open(store: Store) -> None:
    """Refuse where a repetition could stay, encrypted and not looked into."""
    if not is_open(store):
        raise UsageError(
            "this store holds encrypted values, and what repeats this may be among them: start "
            "these pages with --keyring, or take it out with `refold redact --keyring`"
        )


def _what(field: str, match: str) -> dict[str, Any]:
    return {"field": field, "match": match or None}


_LOOKING: Final = Removal("to see what would go")
FORMS: Final = {
    "label": Form("Say something of it", _nothing, _label),
    "replay": Form("Ask another prompt or model", _datasets, _replay),
    "dataset": Form("Keep as a dataset", _datasets, _dataset),
    "redact": Form("Take a value out", _going, _redact),
}
"""What can be changed, by the last part of its address."""
