"""What a store is told of personal data: which values are, under whose keys, who reads them."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence

from refold.engine.store import Store
from refold.errors import refuse_unless
from refold.privacy.access import Policy, Reading
from refold.privacy.detecting import Detect
from refold.privacy.fields import FieldTable
from refold.privacy.keyring import Keyring


class Privacy:
    """How a store keeps personal values: ``refold.open(url, privacy=Privacy(...))``.

    ``fields`` maps types of events (or ``"*"``) to the JSON Pointers of their personal values;
    :data:`refold.privacy.CONVERSATION` is the table for conversations. They are encrypted under a
    key of their subject, which ``keyring`` wraps; without one they are not encrypted, and can be
    redacted all the same. The subject is what the metadata of the event, or of its append, names as
    ``subject``; else ``subject`` of the stream's name, by default that name (of a branch, its
    root's).

    Who reads is ``actor``, for a ``purpose``, and is recorded before a key is used: in the log
    itself, or in the one of ``journal`` (an open store, or its URL), with the ``destination`` of
    what leaves the program. Without an actor, and where ``allow`` says no, values are withheld.

    ``detect`` says what is looked for in payloads that are appended, and what is done about it.
    """

    def __init__(
        self,
        keyring: Keyring | None = None,
        fields: Mapping[str, Sequence[str]] | None = None,
        *,
        subject: Callable[[str], str] | None = None,
        journal: str | os.PathLike[str] | Store | None = None,
        actor: str | None = None,
        purpose: str = "",
        destination: str | None = None,
        allow: Policy | None = None,
        detect: Detect | None = None,
    ) -> None:
        wraps = keyring is None or callable(getattr(keyring, "unwrap", None))
        refuse_unless(wraps, "a keyring such as refold.privacy.load_keyring gives", keyring=keyring)
        refuse_unless(actor is None or (isinstance(actor, str) and actor), "a name", actor=actor)
        refuse_unless(isinstance(purpose, str), "text", purpose=purpose)
        refuse_unless(subject is None or callable(subject), "a function", subject=subject)
        is_detect = isinstance(detect, Detect | None)
        refuse_unless(is_detect, "a refold.privacy.Detect", detect=detect)
        self.detect = detect
        self.keyring, self.fields = keyring, FieldTable(fields or {})
        self.subject, self.journal = subject, journal
        self.reading, self.allow = Reading(actor, purpose, destination), allow

    @property
    def records_beside(self) -> bool:
        """Whether who reads is recorded in the store that is read."""
        return self.journal is None and self.keyring is not None and bool(self.reading.actor)
