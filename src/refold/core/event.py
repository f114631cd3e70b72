"""Events: what is appended, and the names that go with it."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Final, NamedTuple

from refold.core.clock import Instant
from refold.errors import InvalidEvent, UsageError, shown

NAME_BYTES_MAX: Final = 255
"""The longest stream name or key, in UTF-8 bytes."""
TYPE_BYTES_MAX: Final = 128

_VERSIONED = re.compile(r"(.+)\.v([1-9][0-9]{0,8})")
_VERSION = re.compile(r"[0-9]{1,18}")


class Kind(NamedTuple):
    """An event type and its schema number; ``tag`` is how the pair is stored."""

    type: str
    schema: int = 1

    @property
    def tag(self) -> str:
        """``user.utterance`` for schema 1, ``user.utterance.v2`` for schema 2."""
        return self.type if self.schema == 1 else f"{self.type}.v{self.schema}"

    @classmethod
    def parse(cls, tag: str) -> Kind:
        """The kind of a tag; ``x.v1`` and ``x`` are the same."""
        versioned = _VERSIONED.fullmatch(tag)
        return cls(tag) if versioned is None else cls(versioned[1], int(versioned[2]))


@dataclass(frozen=True, slots=True)
class Event:
    """An event to append, untyped or carrying more than its payload.

    ``type`` is dotted lower-case text (``user.utterance``, or ``user.utterance.v2`` for schema 2);
    ``data`` its JSON payload. ``metadata`` is added to what the append shares. ``occurred_at`` is
    when it happened by the caller's word (default: when the log records it).
    """

    type: str
    data: Any = field(default_factory=dict)
    schema: int = 1
    metadata: Mapping[str, Any] | None = None
    occurred_at: Instant | None = None

    @classmethod
    def of(
        cls,
        event: object,
        *,
        metadata: Mapping[str, Any] | None = None,
        occurred_at: Instant | None = None,
    ) -> Event:
        """A typed event with metadata or a time of its own."""
        return cls("", event, metadata=metadata, occurred_at=occurred_at)


def category_of(stream: str) -> str:
    """The text before a stream's first hyphen; a branch (``~`` in its name) keeps a ``~``.

    ``call-42`` is in ``call``; its branch ``call-42~b`` is in ``call~``, so that a reader of
    ``call`` sees what happened and not what might have.
    """
    category = stream.partition("-")[0].partition("~")[0]
    return f"{category}~" if "~" in stream else category


def event_id(stream: str, version: int) -> str:
    """The id of an event: ``call-42@7``."""
    return f"{stream}@{version}"


def parse_event_id(text: str) -> tuple[str, int]:
    """Stream and version of an id such as ``call-42@7``."""
    stream, _, version = text.rpartition("@") if isinstance(text, str) else ("", "", "")
    if not stream or not _VERSION.fullmatch(version):
        raise UsageError(f"{shown(text)} is not an event id such as call-42@7", id=text)
    return stream, int(version)


def check_name(name: object, *, what: str, bytes_max: int = NAME_BYTES_MAX) -> None:
    """Refuse an empty, over-long or unprintable stream name, key or type."""
    if not isinstance(name, str) or not name:
        raise InvalidEvent(f"{what} must be text that is not empty, not {shown(name)}")
    if not name.isprintable() and {*map(unicodedata.category, name)} & {"Cc", "Cs", "Zl", "Zp"}:
        raise InvalidEvent(f"{what} {name!r} holds a control character")
    size_bytes = len(name.encode())
    if size_bytes > bytes_max:
        raise InvalidEvent(f"{what} {name[:40]!r}… is {size_bytes} bytes, over {bytes_max}")


def checked_tag(type_name: str, schema: int) -> str:
    """The stored tag of an untyped event's type and schema."""
    if not isinstance(type_name, str):
        raise InvalidEvent(f"an event type must be text, not {shown(type_name)}")
    if type(schema) is not int:  # Nor, maybe, what a cache can be asked for.
        checked_kind(type_name, schema)
    return _cached_tag(type_name, schema)


@lru_cache(maxsize=4096, typed=True)  # True is not the schema 1.
def _cached_tag(type_name: str, schema: int) -> str:
    return checked_kind(type_name, schema).tag


def checked_kind(type_name: str, schema: int) -> Kind:
    """The kind of a type and schema; :class:`InvalidEvent` where they cannot be stored."""
    check_name(type_name, what="an event type", bytes_max=TYPE_BYTES_MAX)
    if any(char.isspace() for char in type_name):
        raise InvalidEvent(f"an event type {type_name!r} holds white space")
    if isinstance(schema, bool) or not isinstance(schema, int) or not 1 <= schema < 10**9:
        raise InvalidEvent(f"schema {shown(schema)} of {type_name!r} is not a whole number from 1")
    named = Kind.parse(type_name)
    if Kind.parse(named.type) != Kind(named.type):
        raise InvalidEvent(f"an event type {type_name!r} names two schemas")
    if schema not in (1, named.schema) and named.type != type_name:
        raise InvalidEvent(f"{type_name!r} names schema {named.schema}, schema={schema} another")
    return Kind(named.type, max(named.schema, schema))
