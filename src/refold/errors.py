"""Every error refold raises.

    RefoldError(code, retry)
    ├ UsageError                    never      the call itself is wrong
    ├ InvalidEvent                  never      an event that cannot be recorded
    ├ StoreClosed                   never
    ├ NotFound                      never      stream, event or file
    ├ Conflict                      redecide   another append came first
    ├ Rejected                      never      the domain said no
    ├ OutsideRefused                never      a replay without the world was to reach it
    ├ Overloaded                    later      the append queue is full
    ├ BackendError
    │   ├ Unavailable               later      locked, full, or not reachable
    │   ├ OutcomeUnknown            check      append again with the same key
    │   └ Corrupt                   never
    ├ CodecError
    │   ├ UnknownEventType          never
    │   └ UpcastFailed              never
    └ ProofError                    never      names the proof, expected and computed

``code`` is a stable slug for programs; ``retry`` says what a caller can do:
``never``, ``redecide`` (read again and decide again), ``later``, or ``check``
(the outcome is not known: repeat with the same key, or look). Facts are attributes.
"""

from __future__ import annotations

import copy
from typing import Any, ClassVar, Final, Literal

Retry = Literal["never", "redecide", "later", "check"]


class RefoldError(Exception):
    """Base of every refold error; ``facts`` holds what the message is about."""

    code: str = "refold_error"
    retry: ClassVar[Retry] = "never"

    def __init__(self, message: str, *, code: str | None = None, **facts: Any) -> None:
        super().__init__(message)
        self.message = message
        self.facts = facts
        if code is not None:
            self.code = code

    def __reduce__(self) -> tuple[Any, ...]:
        """Errors cross process borders and are copied whole, whatever their constructor takes."""
        return _rebuilt, (type(self), self.message, self.code, self.facts)

    def __getattr__(self, name: str) -> Any:
        """A fact by its name: ``error.stream``."""
        try:
            return self.__dict__["facts"][name]
        except KeyError:
            raise AttributeError(name) from None


def _rebuilt(
    kind: type[RefoldError], message: str, code: str, facts: dict[str, Any]
) -> RefoldError:
    error = kind.__new__(kind, message)
    RefoldError.__init__(error, message, code=code, **facts)
    return error


def shown(value: object) -> str:
    """A value as a message shows it, in at most 99 characters, whatever it is."""
    try:
        return f"{value!r:.99}"
    except Exception:  # Such as of a number of thousands of digits.
        return f"a {type(value).__name__}"


def copied(error: RefoldError) -> RefoldError:
    """An error for each of several callers, so that their tracebacks do not mix."""
    own = copy.copy(error)
    own.__cause__ = error.__cause__
    return own


class UsageError(RefoldError):
    """The call is wrong; the message says what to call instead."""

    code = "usage"


def is_number(value: object, *, least: float = 0) -> bool:
    """Whether a value is a number, whole or not, and not below another."""
    return isinstance(value, int | float) and value >= least


def wrong_argument(wanted: str, /, **given: object) -> UsageError:
    """The error for an argument, given by its name, that is not what is wanted."""
    ((name, value),) = given.items()
    return UsageError(f"{name}={shown(value)} is not {wanted}", argument=name)


def refuse_unless(right: object, wanted: str, /, **given: object) -> None:
    """Refuse an argument where it is not right; see :func:`wrong_argument`."""
    if not right:
        raise wrong_argument(wanted, **given)


class InvalidEvent(RefoldError):
    """An event that cannot be recorded; ``path`` is a JSON Pointer into its payload."""

    code = "invalid_event"

    def __init__(self, message: str, *, path: str = "", **facts: Any) -> None:
        where = f" at {path}" if path else ""
        super().__init__(f"{message}{where}", reason=message, path=path, **facts)


class StoreClosed(RefoldError):
    """The store was used after ``close()``."""

    code = "store_closed"


class NotFound(RefoldError):
    """A stream, event or file that is not there."""

    code = "not_found"


class Conflict(RefoldError):
    """Another append came first: read again, decide again, append.

    The stream is not at the version the caller expected; or an event came that was not to come:
    then ``expected`` is the position after which there should be none that matches ``query``, and
    ``actual`` that of the append that holds one (the last of its positions).
    """

    code = "conflict"
    retry = "redecide"

    def __init__(
        self,
        *,
        stream: str,
        expected: object,
        actual: int,
        query: str | None = None,
        advice: str = "read again and decide again",
    ) -> None:
        if query is not None:
            what = f"an event of {query} was appended after position {expected}, at {actual}"
        else:
            now = f"its last version is {actual}" if actual >= 0 else "it does not exist"
            at = shown(expected) if isinstance(expected, int) else expected
            what = f"stream {stream!r} was expected at {at}, but {now}"
        facts: dict[str, Any] = {"stream": stream, "expected": expected, "actual": actual}
        facts |= {} if query is None else {"query": query}
        super().__init__(f"{what}; {advice}", **facts)


class Rejected(RefoldError):
    """The domain refused a command; ``reason`` is for the caller to show.

    As text, a reason of one word is told with its facts; a sentence says them itself.
    """

    code = "rejected"

    def __init__(self, reason: str, **facts: Any) -> None:
        super().__init__(reason, reason=reason, **facts)

    def __str__(self) -> str:
        facts = [f"{name} {value}" for name, value in self.facts.items() if name != "reason"]
        is_word = self.message.isidentifier() and facts
        return f"{self.message}: {', '.join(facts)}" if is_word else self.message


class OutsideRefused(RefoldError):
    """A connection or a program that a replay may not have: ``to`` what, from ``where``."""

    code = "outside_refused"


class Overloaded(RefoldError):
    """The append queue is full; nothing was written."""

    code = "overloaded"
    retry = "later"


class BackendError(RefoldError):
    """The storage failed; the driver's own error is ``__cause__``."""

    code = "backend"


def log_went_back(position: int, head: int, where: str = "the log") -> BackendError:
    """The error for a position that was read of a log, or told, and that it has no more as it was.

    A server took over that lagged behind the one before, or a backup was restored. The log ends at
    ``head`` now, perhaps with other events where the lost ones stood.
    """
    behind = f"{where} went back behind position {shown(position)}"
    why = f"{behind}, and ends at {head}: open it anew, rebuild"
    return BackendError(why, code="log_went_back", position=position, head=head)


class Unavailable(BackendError):
    """The storage or service cannot answer now; nothing was written."""

    code = "unavailable"
    retry = "later"


LOOK_OR_REPEAT: Final = "append again with its key; if it had none, look first whether it is there"
"""What to do where it is not known whether an append is stored."""


class OutcomeUnknown(BackendError):
    """A commit failed in a way that may still have stored it, and nothing could be found out.

    Append again with the same key. If there was none, look whether the events are there before
    that: once the store can be read and written again, that answer holds.
    """

    code = "outcome_unknown"
    retry = "check"


AWAY: Final = (Unavailable, OutcomeUnknown)
"""What may be gone on from by whoever looks first how far it has come."""


class Corrupt(BackendError):
    """What is stored cannot be right; ``refold doctor`` says more."""

    code = "corrupt"


class CodecError(RefoldError):
    """Stored bytes cannot be turned into an event."""

    code = "codec"


class UnknownEventType(CodecError):
    """No class is registered for a stored or named event type."""

    code = "unknown_event_type"


class UpcastFailed(CodecError):
    """An old event cannot be brought to the current schema."""

    code = "upcast_failed"


class ProofError(RefoldError):
    """A proof does not hold; says which, what was expected and what was computed."""

    code = "proof"
