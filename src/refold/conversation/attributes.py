"""What a conversation is known by: its task and customer, who spoke in it, how it came out.

Of captured, recorded and imported conversations alike: from the events of the vocabulary, from the
metadata of whoever recorded them, and from what importers keep beside.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final, Self

import msgspec

from refold.conversation import events
from refold.core.recorded import Recorded, history_of, parts_of

TAG: Final = "tag"
"""A label of this name is a tag, of which a conversation may have many."""
OUTCOME: Final = "outcome"
REWARD: Final = "reward"
NOTED_MAX: Final = 32
NOTED_CHARS_MAX: Final = 256
"""So many values of metadata are kept, and none that is longer."""

TOLD_BY: Final[dict[str, type]] = {
    "session.started": events.SessionStarted,
    "session.ended": events.SessionEnded,
    "agent.configured": events.AgentConfigured,
    "agent.utterance": events.AgentUtterance,
    "model.response": events.ModelResponse,
    "score.recorded": events.ScoreRecorded,
    "label.recorded": events.LabelRecorded,
}
"""The events that say what a conversation is known by, beside their metadata."""

_LISTS: Final = {
    "agent": "agents", "model": "models", "prompt": "prompts", "version": "versions", TAG: "tags",
}  # fmt: skip
# By these a capture finds a history again: nobody gave them to a conversation.
_NO_TAGS: Final = ("history:", "response:")
# Metadata that has a place of its own, or tells of an event and not of its conversation.
_NOT_NOTED: Final = frozenset(
    {"task", "run", "agent", "subject", "causation", "correlation", "call", "process"}
)


class Attributes(msgspec.Struct, kw_only=True, omit_defaults=True):
    """What a conversation is known by; what nobody said is None, or empty.

    ``task`` is what was to be done, the same in all its trials; ``run`` the run of a program, a
    benchmark or an experiment. ``agents``, ``models``, ``prompts`` (hashes) and ``versions`` (the
    labels of agents and prompts) are all that there were, in the order in which they came.
    ``scores`` and ``labels`` hold the last of each name; ``ended`` is why the session ended,
    ``noted`` what else the metadata of its first event says, and its channel.
    """

    task: str | None = None
    customer: str | None = None
    run: str | None = None
    agents: list[str] = []
    models: list[str] = []
    prompts: list[str] = []
    versions: list[str] = []
    tags: list[str] = []
    ended: str | None = None
    scores: dict[str, float] = {}
    labels: dict[str, str] = {}
    noted: dict[str, str] = {}

    @classmethod
    def of(cls, history: Iterable[Recorded]) -> Self:
        """The attributes of a history, such as ``store.read("call-42")``."""
        made = cls()
        for one in parts_of(history_of(history, call="Attributes.of")):
            cls_ = TOLD_BY.get(one.type)
            made.take(one.to_class(cls_) if cls_ else None, one)
        return made

    @property
    def outcome(self) -> str | None:
        """What somebody labelled it as, else why it ended; None of one that goes on."""
        return self.labels.get(OUTCOME, self.ended)

    @property
    def reward(self) -> float | None:
        """The last score of that name."""
        return self.scores.get(REWARD)

    def by(self, name: str) -> str | None:
        """The one value of a name that conversations are put together by; None: not known.

        ``task``, ``customer``, ``run``, ``outcome`` or ``reward``; the first ``agent``, ``model``,
        ``prompt``, ``version`` or ``tag``; else the label, or the metadata, of that name.
        """
        if name in ("task", "customer", "run", OUTCOME):
            said: str | None = getattr(self, name)
            return said
        if name in _LISTS:
            return next(iter(getattr(self, _LISTS[name])), None)
        if name == REWARD:
            return None if self.reward is None else f"{self.reward:g}"
        return self.labels.get(name, self.noted.get(name))

    def take(self, event: object, recorded: Recorded) -> None:
        """Go on by an event, as its class has it where it is one of the vocabulary."""
        for kind, name in names_in(event, recorded):
            if kind in _LISTS:
                held: list[str] = getattr(self, _LISTS[kind])
                held += [] if name in held else [name]
            elif kind != "party":
                setattr(self, kind, name)
            else:
                self.customer = self.customer or name
        match event:
            case events.SessionStarted(channel=channel):
                self.ended = None
                self.noted["channel"] = channel
            case events.SessionEnded(reason=reason):
                self.ended = reason
            case events.ScoreRecorded(name=name, value=value, at=None):
                self.scores[name] = value
            case events.LabelRecorded(name=name, value=value, at=None) if name != TAG:
                self.labels[name] = value
        if recorded.version == 0:
            self.noted |= dict(_noted_in(recorded.metadata))


def names_in(event: object, recorded: Recorded) -> Iterator[tuple[str, str]]:
    """What an event says that its conversation is known by: ``(kind, name)``.

    The kinds are ``task``, ``customer``, ``run``, ``agent``, ``model``, ``prompt`` (a hash),
    ``version``, ``tag``, and ``party``: a customer where no event says whom it is about.
    """
    found: list[tuple[str, object]] = [("customer", recorded.noted("subject"))]
    if recorded.version == 0 or isinstance(event, events.SessionStarted):
        found += _in_metadata(recorded.metadata)
    match event:
        case events.SessionStarted(parties=parties, initial_state=state):
            found += [("agent", p.name or p.id) for p in parties if p.role == "agent"]
            found += [("party", p.id or p.address) for p in parties if p.role == "customer"]
            if not any(kind == "task" for kind, _ in found):
                found.append(("task", _task_in(state, recorded.metadata)))
        case events.AgentConfigured(prompt=prompt):
            found += [("agent", event.agent or recorded.noted("agent")), ("model", event.model)]
            found += [("version", event.version)]
            found += [("version", prompt.id), ("prompt", prompt.hash)] if prompt else []
        case events.AgentUtterance(party=party):
            found.append(("agent", party))
        case events.ModelResponse(model=model):
            found.append(("model", model))
        case events.LabelRecorded(name=name, value=value, at=None) if name == TAG:
            found.append((TAG, value))
    for kind, said in found:
        if isinstance(said, str | int) and str(said):
            yield kind, str(said)


def _in_metadata(metadata: Mapping[str, Any]) -> Iterator[tuple[str, object]]:
    """The names in the metadata of a conversation's first event."""
    beside = _imported(metadata)
    yield from ((kind, metadata[kind]) for kind in ("task", "agent") if kind in metadata)
    yield "run", metadata.get("run") or beside.get("session_name")
    given = beside.get("tags")
    for tag in [*metadata.get("tags", ()), *(given if isinstance(given, list) else ())]:
        if not str(tag).startswith(_NO_TAGS):
            yield TAG, tag


def _imported(metadata: Mapping[str, Any]) -> Mapping[str, Any]:
    """What an importer of traces or of an eval log kept beside a conversation."""
    match metadata.get("trace"):
        case {"inspect": {"eval": dict(beside)}}:
            return beside
        case {"langfuse": dict(beside)} | {"langsmith": dict(beside)}:
            return beside
    return {}


def _task_in(state: Mapping[str, Any], metadata: Mapping[str, Any]) -> object:
    """The task that was settled before the first word; with its domain, where that is known."""
    match metadata:
        case {"trace": {"inspect": {"sample": {"id": own}, "eval": {"task": str(domain)}}}}:
            return f"{domain}/{own}"
        case {"trace": {"inspect": {"sample": {"id": own}}}}:
            return own
        case {"tau2": {"environment_info": {"domain_name": str(domain)}}} if "task_id" in state:
            return f"{domain}/{state['task_id']}"
    return state.get("task_id")


def _noted_in(metadata: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """What else the metadata says in a word or a number."""
    plain = {name: one for name, one in metadata.items() if isinstance(one, str | int | float)}
    for name, one in list(plain.items())[:NOTED_MAX]:
        if name not in _NOT_NOTED and len(str(one)) <= NOTED_CHARS_MAX:
            yield name, str(one)
