"""The fields of a stranger's object, each read by itself: times, amounts, tokens and the rest."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from functools import partial
from typing import Any, Final, TypeVar

import msgspec

from refold.conversation import events
from refold.conversation.amounts import read_amount
from refold.conversation.chat_shapes import Unread, as_said
from refold.conversation.openai_chat import read_messages
from refold.conversation.tokens import read_usage
from refold.core.clock import to_us
from refold.core.event import Event
from refold.errors import InvalidEvent, UsageError

T = TypeVar("T")

TIMES: Final = "timestamp created created_at create_time"
"""Where a conversation or a message may say when it was; the first that is a time holds."""
TOKENS: Final = {
    "input_tokens": "input_tokens prompt_tokens input prompt",
    "output_tokens": "output_tokens completion_tokens output completion",
    "cached_tokens": (
        "cache_read.input_tokens cache_read_input_tokens input_tokens_cache_read"
        " input_token_details.cache_read prompt_details.cache_read input_cache_read"
        " input_cached_tokens cached_input_tokens prompt_tokens_details.cached_tokens"
        " input_tokens_details.cached_tokens"
    ),
    "cache_write_tokens": (
        "cache_creation.input_tokens cache_creation_input_tokens input_tokens_cache_write"
        " input_token_details.cache_creation"
    ),
    "reasoning_tokens": (
        "reasoning.output_tokens reasoning_tokens output_token_details.reasoning"
        " completion_details.reasoning output_reasoning reasoning_output_tokens"
        " completion_tokens_details.reasoning_tokens output_tokens_details.reasoning_tokens"
    ),
}
"""Where a usage has what it counts: by OpenAI's names, OpenTelemetry's, Langfuse's, LangChain's."""
_OF_JSON: Final = {
    "str": "text", "int": "a whole number", "float": "a number", "bool": "true or false",
    "object": "an object", "array": "a list", "null": "null", "decimal": "a number",
}  # fmt: skip
_TYPES: Final = re.compile(rf"`((?:{'|'.join(_OF_JSON)})(?: \| (?:{'|'.join(_OF_JSON)}))*)`")


class FieldReader:
    """An object of a source, its fields read one by one: one that is odd voids itself alone.

    It counts as not given, and ``unread`` notes it by its JSON Pointer. ``at`` is that of the
    object.
    """

    def __init__(self, holder: Any, unread: list[Unread], at: str = "") -> None:
        self.holder, self.unread, self.at = holder, unread, at

    def read(self, place: str, how: Callable[[Any], T]) -> T | None:
        """A field as ``how`` understands it, which raises ValueError where it does not.

        ``place`` is its key, or leads to it as ``key/key/0/key``.
        """
        value = self.at_place(place)
        try:
            found = None if value is None else how(value)
            if isinstance(found, float) and isinstance(value, int | Decimal) and found != value:
                raise ValueError(f"{value} has more digits than are kept of it")
            return found
        except (ValueError, ArithmeticError, UsageError) as error:
            self.lose(place, reason_of(error))
            return None

    def at_place(self, place: str) -> Any:
        """What stands at a place; None where nothing does."""
        value = self.holder
        for key in place.split("/"):
            if isinstance(value, list):
                value = {str(number): one for number, one in enumerate(value)}
            value = value.get(key) if isinstance(value, dict) else None
        return value

    def typed(self, key: str, kind: type[T]) -> T | None:
        """A field that must be of a type."""
        return self.read(key, partial(msgspec.convert, type=kind))

    def first(self, places: str, how: Callable[[Any], T]) -> T | None:
        """The first of some fields that is there and understood."""
        found = (self.read(place, how) for place in places.split())
        return next((one for one in found if one is not None), None)

    def inside(self, key: str) -> FieldReader:
        """The fields of a field that must be an object; none where it is not."""
        return FieldReader(self.typed(key, dict[str, Any]) or {}, self.unread, f"{self.at}/{key}")

    def each(self, key: str) -> Iterator[FieldReader]:
        """The fields of each of a list of objects; of none where it is no such list."""
        for number, one in enumerate(self.typed(key, list[dict[str, Any]]) or ()):
            yield FieldReader(one, self.unread, f"{self.at}/{key}/{number}")

    def time(self, places: str = TIMES) -> int | None:
        """The first of some fields that is a time, as :func:`time_us` has it; None for none."""
        times = [self.read(place, time_us) for place in places.split()]
        return next(filter(None, times), None)  # None of them is 0: they are later than 1973.

    def amount(self, places: str) -> Decimal | None:
        """The first of some fields that is an amount of money, to the last digit."""
        return self.first(places, amount)

    def usage(self, place: str) -> events.Usage | None:
        """The tokens that a field counts; None where nobody counted them."""
        odd: list[Unread] = []
        found = read_usage(self.at_place(place), [], odd, TOKENS)
        self.note(place, odd)
        return found

    def messages(self, key: str, agent: events.AgentConfigured) -> list[Event]:
        """The events of the chat messages in a field; InvalidEvent where there can be none."""
        try:
            chat = read_messages(self.holder[key], agent)
        except InvalidEvent as error:
            raise InvalidEvent(error.reason, path=f"/{key}{error.path}") from error
        self.note(key, chat.unread)
        return chat.events

    def note(self, key: str, unread: Iterable[Unread]) -> None:
        """Note what is not understood of a field."""
        at = f"{self.at}/{key}" if key else self.at
        self.unread += [one._replace(pointer=at + one.pointer) for one in unread]

    def lose(self, key: str, reason: str) -> None:
        """Note that a field is not kept, and why."""
        self.note(key, [Unread("field", "", reason)])


def reason_of(error: Exception) -> str:
    """What is wrong with a value of a stranger, as JSON calls it and not as Python does."""
    match error:
        case KeyError(args=[key]):
            return f"there is no {key!r}, which its format has"
        case TypeError() | LookupError() | AttributeError():
            return f"a value in it is of another kind than its format has ({type(error).__name__})"
    return worded(str(error))


def worded(said: str) -> str:
    """What a reader of JSON says of a value, the types by the names that JSON has for them."""
    return _TYPES.sub(lambda of: " or ".join(_OF_JSON[one] for one in of[1].split(" | ")), said)


def time_us(value: Any) -> int:
    """Microseconds UTC of a time as logs write it; ValueError for what is none.

    It is ISO 8601 text, in UTC where it names no zone, or a number since 1970, its unit known by
    its size: seconds, milliseconds, microseconds or nanoseconds, from 1973 on.
    """
    try:
        number = Decimal(str(value))
        size = number.adjusted() - 8
        if number > 0 and 0 <= size < 12:
            return to_us(int(number.scaleb(6 - size // 3 * 3)))
    except InvalidOperation:
        if isinstance(value, str):
            with suppress(ValueError):
                moment = datetime.fromisoformat(value)
                return to_us(moment if moment.tzinfo else moment.replace(tzinfo=UTC))
    raise ValueError(f"{as_said(value)} is not a time")


def amount(said: object) -> Decimal:
    """An amount of money, to the last digit; ValueError for what is none."""
    if (found := read_amount(said)) is None:
        raise ValueError(f"{as_said(said)} is not an amount")
    return found
