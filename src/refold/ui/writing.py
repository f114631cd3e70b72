"""Changes made through the pages: by whom, from a form of these pages alone, each form once."""

from __future__ import annotations

import hmac
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from secrets import token_bytes, token_hex
from threading import Lock
from typing import Final, NamedTuple

from starlette.requests import Request

from refold import Store
from refold.errors import NotFound, UsageError, refuse_unless
from refold.privacy.policy import RetentionClass
from refold.replay.candidate import Candidate
from refold.replay.decision import Prices
from refold.ui.starting import StartedReplays

NOT_FROM_HERE: Final = "not_from_here"
SENT_MAX: Final = 10_000
"""So many forms are known to have been sent; what an older one asks is done, if it is sent again.
That adds nothing where it is still so: see the library's own calls."""


@dataclass(frozen=True, kw_only=True)
class Writing:
    """What may be changed through the pages, and in whose name.

    ``actor`` is who did it, as each event says: a name, or what gives that of a request, such as
    who has logged in; who has no name only reads. ``candidate`` answers the replays that are
    started, ``prices`` say what that costs; without one none is started. ``classes`` are rules of
    retention, which redaction heeds. ``unlocked`` is the same store opened with its keyring: it is
    used to take values out alone, of which encrypted ones may be repetitions.
    Forms are signed with ``secret``: processes that serve the same pages are given the same.
    """

    actor: str | Callable[[Request], str]
    candidate: Candidate | None = None
    prices: Prices | None = None
    classes: Mapping[str, RetentionClass] = field(default_factory=dict)
    unlocked: Store | None = None
    secret: bytes = field(default_factory=lambda: token_bytes(32), repr=False)

    def __post_init__(self) -> None:
        named = callable(self.actor) or (isinstance(self.actor, str) and self.actor.strip())
        refuse_unless(named, "who changes what: a name, or a function", actor=self.actor)

    def actor_of(self, request: Request) -> str:
        """Who sends a request; "" where that is not known."""
        name = self.actor(request) if callable(self.actor) else self.actor
        return name.strip() if isinstance(name, str) else ""


class Sent(NamedTuple):
    """A form that was sent: who sends it, its ``key``, and what its fields say, by name."""

    store: Store
    forms: Forms
    actor: str
    key: str
    fields: Mapping[str, str]

    def text(self, name: str, chars_max: int = 200) -> str:
        """What a field says, without the blanks around it; "" where it is empty."""
        return self.typed(name, chars_max).strip()

    def typed(self, name: str, chars_max: int) -> str:
        """What a field says, just so, but for how its lines end."""
        said = self.fields.get(name, "").replace("\r\n", "\n")
        if len(said) > chars_max:
            given = f"{len(said):,} characters, and {chars_max:,} are taken"
            raise UsageError(f"{name}: {given}", argument=name)
        return said

    def needed(self, name: str, chars_max: int = 200) -> str:
        """What a field says; :class:`~refold.errors.UsageError` where it is empty."""
        said = self.text(name, chars_max)
        if not said:
            raise UsageError(f"{name}: fill it in", argument=name)
        return said


class Form(NamedTuple):
    """A form: its title, what its page shows beside its fields, and what is done when it is sent.

    ``do`` gives the address of the page that shows what it did.
    """

    title: str
    shown: Callable[[Store, Mapping[str, str], Writing], Mapping[str, object]]
    do: Callable[[Sent], str]


class Forms:
    """The forms of one application, which of them were sent, and the replays that these started."""

    def __init__(self, writing: Writing) -> None:
        self.writing = writing
        self.started = StartedReplays()
        self._sent: OrderedDict[str, Future[str]] = OrderedDict()
        self._lock = Lock()

    def token(self, actor: str) -> str:
        """What a form of these pages has that one elsewhere cannot know: its key, signed."""
        key = token_hex(16)
        return f"{key}.{self._signed(key, actor)}"

    def key_of(self, token: str, actor: str) -> str:
        """The key of a form; an error where it was not made here, for this person."""
        key, _, signature = token.partition(".")
        if not hmac.compare_digest(signature.encode(), self._signed(key, actor).encode()):
            why = "this form was not made here, or not for you, or too long ago: send it again"
            raise UsageError(why, code=NOT_FROM_HERE)
        return key

    def once(self, key: str, do: Callable[[], str]) -> str:
        """What comes of a form; one that was sent before, or is being done, is not done again."""
        mine: Future[str] = Future()
        with self._lock:
            held = self._sent.setdefault(key, mine)
            if len(self._sent) > SENT_MAX:
                self._sent.popitem(last=False)
        if held is not mine:
            return held.result()
        try:
            mine.set_result(do())
        except BaseException as error:
            with self._lock:
                self._sent.pop(key, None)  # It did nothing, so it may be mended and sent again.
            mine.set_exception(error)
        return mine.result()

    def _signed(self, key: str, actor: str) -> str:
        return hmac.digest(self.writing.secret, f"{key}.{actor}".encode(), "sha256").hex()


class OpenForms(NamedTuple):
    """What a page needs to show forms: who would send them, and a token each."""

    forms: Forms
    actor: str

    def token(self) -> str:
        """A new form's token."""
        return self.forms.token(self.actor)

    def filled(self, **fields: str) -> Mapping[str, str]:
        """What a form's fields begin with; all others are empty."""
        return defaultdict(str, fields)


def shown_to(request: Request) -> OpenForms | None:
    """How forms are shown to who sends a request; None to whom may change nothing."""
    forms: Forms | None = request.app.state.forms
    actor = "" if forms is None else forms.writing.actor_of(request)
    return OpenForms(forms, actor) if forms is not None and actor else None


def allowed(request: Request) -> OpenForms:
    """The forms, and who sends them; :class:`~refold.errors.NotFound` where there are none."""
    shown = shown_to(request)
    if shown is None:
        raise NotFound("these pages only read: `refold ui --write` has forms")
    return shown
