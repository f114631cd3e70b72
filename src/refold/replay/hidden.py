"""What of a conversation cannot be read: withheld from who reads, or gone for good.

Nobody is asked as if somebody had said ``[withheld]``, ``[redacted]`` or ``[erased]``. What is
withheld is refused, before anything is paid: who may read it can. What is gone nobody can read
again: a decision that was made on it is *excluded*, and counted with that reason. In a store that
never hid anything these are words that somebody said.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from refold.core.expected import NO_EVENTS
from refold.core.recorded import Recorded
from refold.engine.store import Store
from refold.errors import UsageError
from refold.privacy.decisions import STREAM
from refold.privacy.envelope import ERASED, REDACTED, WITHHELD, holds_envelopes
from refold.privacy.stored import as_stored, has_keys, stored_backend
from refold.replay.decision import Action, Decision, is_of_answer
from refold.replay.journal import StoredAnswer

GONE: Final = "withheld"
"""Why a decision is excluded: what led to it, or it itself, cannot be read."""
_GONE: Final = tuple(mark.encode() for mark in (REDACTED, ERASED))
_SENT: Final = frozenset({"agent.configured", "user.utterance", "tool.result", "tool.relayed"})
"""Types of what a model is told, beside the agent's own answers."""


class Hidden:
    """What a store hides from who reads it, as it was when this was made."""

    def __init__(self, store: Store) -> None:
        self._store, self._has_keys = store, has_keys(stored_backend(store))
        self.is_any = self._has_keys or store.head(STREAM) != NO_EVENTS

    def read(self, stream: str, last: int | None = None) -> list[Recorded]:
        """A conversation up to a version, of which nothing that a model is told is withheld.

        Raises :class:`~refold.errors.UsageError` (``withheld``) with the event and what to do.
        """
        history = list(self._store.read(stream, to_version=last))
        self.check(history)
        return history

    def check(self, history: Iterable[Recorded]) -> None:
        """Refuse what is withheld."""
        for recorded in history if self._has_keys else ():
            if (
                is_told(recorded)
                and WITHHELD.encode() in recorded.raw
                and self._is_closed(recorded)
            ):
                raise UsageError(
                    f"{recorded.id} ({recorded.type}) is withheld: {WITHHELD} would stand in the "
                    "place of what was said. Say who reads, and by which keys: "
                    "--actor NAME --keyring FILE (or [privacy] of refold.toml), "
                    "refold.open(…, privacy=Privacy(keyring, actor=…))",
                    code="withheld",
                    id=recorded.id,
                    stream=recorded.stream,
                )

    def _is_closed(self, recorded: Recorded) -> bool:
        """Whether a value of it is under a key, and not just what somebody said."""
        (stored,) = as_stored(self._store).read(
            recorded.stream, from_version=recorded.version, to_version=recorded.version
        )
        return holds_envelopes(stored.raw) and _has_leaf(recorded.data, WITHHELD)

    def is_in(self, recorded: Recorded) -> bool:
        """Whether something that a model would be told of an event is gone for good."""
        return self.is_any and is_told(recorded) and any(mark in recorded.raw for mark in _GONE)

    def led_to(self, history: Iterable[Recorded], made: Iterable[Decision]) -> set[str]:
        """The decisions, by where they are at, that were made on what is gone, or are gone."""
        first = next((one.version for one in history if self.is_in(one)), None)
        return set() if first is None else {one.at for one in made if one.version >= first}

    def answers(
        self,
        history: Iterable[Recorded],
        made: Sequence[Decision],
        stored: Mapping[str, StoredAnswer],
    ) -> Mapping[str, StoredAnswer]:
        """The answers, with :data:`GONE` for what cannot be compared.

        Either side is hidden, or nobody was asked as what led to it is.
        """
        if not self.is_any:
            return stored
        found = dict(stored)
        for at in self.led_to(history, made):
            found.setdefault(at, StoredAnswer("", None, GONE))
        for one in made:
            answer = found.get(one.at)
            if answer is not None and (
                self._is_marked(one.action) or self._is_marked(answer.action or Action())
            ):
                found[one.at] = StoredAnswer(answer.id, None, GONE)
        return found

    def marks_text(self, text: str) -> bool:
        """Whether a text has something hidden in it."""
        return self.is_any and any(mark in text for mark in (REDACTED, ERASED, WITHHELD))

    def _is_marked(self, action: Action) -> bool:
        texts = [action.text, *(call.arguments for call in action.calls), str(action.parts)]
        return any(map(self.marks_text, texts))


def is_told(recorded: Recorded) -> bool:
    """Whether a model is told of an event, by its type."""
    return recorded.type in _SENT or is_of_answer(recorded)


def _has_leaf(value: Any, leaf: str) -> bool:
    match value:
        case dict():
            return any(_has_leaf(own, leaf) for own in value.values())
        case list():
            return any(_has_leaf(own, leaf) for own in value)
    return bool(value == leaf)
