"""What a feed reads: where it is, and how its pages and transactions are told."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Final, NamedTuple

import msgspec

from refold.core.clock import EARLIEST_US, rfc3339, to_us
from refold.core.event import check_name
from refold.errors import Unavailable, UsageError, refuse_unless
from refold.feeds.reading import readable

ID_BYTES_MAX: Final = 120
NAME_BYTES_MAX: Final = 60
_canonical = msgspec.json.Encoder(order="deterministic", decimal_format="number").encode


@dataclass(frozen=True)
class Transaction:
    """What the service says happened: its ``id``, ``type`` and time, and all of it in ``data``.

    Numbers with a point are :class:`~decimal.Decimal`, never floats. ``at_us`` is microseconds
    UTC by the service's clock; None where it says no time that can be read. ``unread`` says which
    part of it cannot be had, such as ``NaN``, and is text in ``data``; "" where there is none.
    """

    id: str
    type: str
    at_us: int | None
    data: Mapping[str, Any]
    unread: str = ""

    @cached_property
    def text(self) -> str:
        """The transaction as canonical JSON: members in the order of their names."""
        return _canonical(self.data).decode()

    @cached_property
    def digest(self) -> str:
        """SHA-256 over :attr:`text`, in hexadecimal."""
        return hashlib.sha256(self.text.encode()).hexdigest()


class Page(NamedTuple):
    """The transactions of an answer as they came, and the token of the next page, if any."""

    items: Sequence[Any]
    next: str | None = None


def read_page(answer: Any) -> Page:
    """``{"transactions": [...], "next": token or null}``; raises ValueError for anything else."""
    if not isinstance(answer, dict) or not isinstance(answer.get("transactions"), list):
        raise ValueError("no list of transactions")
    token = answer.get("next")
    return Page(answer["transactions"], None if token is None else str(token))


def read_transaction(item: Any) -> Transaction:
    """``{"id", "type", "at", ...}``, where ``at`` is RFC 3339 text.

    What has no usable id is known by its digest, and what has no type has the type "".
    """
    data = _as_data(item)
    given, kind = data.get("id"), data.get("type")
    return Transaction(
        str(given) if isinstance(given, str | int) and given != "" else _name_of(data),
        kind if isinstance(kind, str) else "",
        _time(data.get("at")),
        data,
    )


@dataclass(frozen=True, kw_only=True)
class Source:
    """A list of transactions that a service gives for ``GET path``, in any order.

    ``name`` names the feed for ever: its stream is ``feed-<name>``. ``params`` go with every
    request. ``since`` and ``page`` are the parameters that ask for transactions from a time on
    (RFC 3339, that time included) and for a further page. ``read_page`` takes an answer apart,
    ``read_transaction`` one of its items. What the first raises means that the page cannot be read,
    what the second raises that the item cannot: it is kept as unrecognized.
    """

    name: str
    path: str = ""
    params: Mapping[str, str] = field(default_factory=dict, repr=False)
    since: str = "since"
    page: str = "page"
    read_page: Callable[[Any], Page] = read_page
    read_transaction: Callable[[Any], Transaction] = read_transaction

    def __post_init__(self) -> None:
        check_name(self.name, what="a feed's name", bytes_max=NAME_BYTES_MAX)
        refuse_unless(isinstance(self.params, Mapping), "a mapping of text", params=self.params)
        if "~" in self.name:
            raise UsageError(f"a feed's name has no ~, which is for branches: {self.name!r}")
        if "/" in self.name:
            raise UsageError(f"a feed's name has no /, where its keys go on: {self.name!r}")

    @property
    def stream(self) -> str:
        """The stream of the feed itself."""
        return f"feed-{self.name}"

    def read(
        self, answer: Any, token: str | None, *, where: str
    ) -> tuple[list[Transaction], str | None]:
        """The transactions of the page that was asked for by a token, and the next one's token.

        ``where`` is the address, for messages. Raises :class:`~refold.errors.Unavailable`
        (``garbage``) for what cannot be read, and UsageError where a function of this source gives
        something else than it should.
        """
        with self._reading(token, where):
            page: Any = self.read_page(answer)
        if not isinstance(page, Page) or not isinstance(page.next, str | None):
            advice = "give Page(items, next), where next is the next page's token, or None"
            raise self._refusal(f"read_page gave {page!r:.200}: {advice}")
        with self._reading(token, where):
            if page.next is not None and page.next == token:
                raise ValueError("it names itself as the next")
            items = list(page.items)
        return [self.transaction(item) for item in items], page.next

    def transaction(self, item: Any) -> Transaction:
        """The transaction of an item; one that cannot be read is all in its ``data``, no more."""
        unread: list[str] = []
        item = readable(item, unread)
        try:
            given: Any = self.read_transaction(item)
            if isinstance(given, Transaction):
                # Raises for what could not be stored: here, that is this one's alone.
                _ = given.digest, self.key(given.id), given.type.encode()
        except Exception as error:
            unread.append(f"{type(error).__name__}: {error}")
            data = _as_data(item)
            given = Transaction(_name_of(data), "", None, data)
        if not isinstance(given, Transaction):
            advice = "give Transaction(id, type, at_us, data)"
            raise self._refusal(f"read_transaction gave {given!r:.200}: {advice}")
        return replace(given, unread="; ".join(unread)) if unread else given

    def _refusal(self, why: str) -> UsageError:
        return UsageError(f"feed {self.name!r}: {why}", feed=self.name)

    @contextmanager
    def _reading(self, token: str | None, where: str) -> Iterator[None]:
        """The page cannot be read: whatever a function raises for a shape it did not expect."""
        try:
            yield
        except Exception as error:
            name = "the first page" if token is None else f"page {token!r}"
            said = str(error) if type(error) is ValueError else f"{type(error).__name__}: {error}"
            why = f"{where}: {name} of the feed {self.name!r} cannot be read: {said}"
            raise Unavailable(why, code="garbage", feed=self.name, page=token) from error

    def key(self, transaction_id: str) -> str:
        """The append key of a transaction: one for each id, whatever the id is made of.

        No id has a ``/`` there, so that what follows one is of the feed.
        """
        if len(transaction_id.encode(errors="replace")) > ID_BYTES_MAX or (
            "/" in transaction_id or not transaction_id.isprintable()
        ):
            hashed = hashlib.sha256(transaction_id.encode(errors="surrogatepass")).hexdigest()
            transaction_id = f"sha256/{hashed}"
        return f"feed/{self.name}/{transaction_id}"

    def query(self, since_us: int | None, token: str | None) -> dict[str, str]:
        """The parameters of a request."""
        asked = dict(self.params)
        if since_us is not None:
            # A service may give the year 1 to what has no time: nothing is before that.
            asked[self.since] = rfc3339(max(since_us, EARLIEST_US))
        if token is not None:
            asked[self.page] = token
        return asked


def _name_of(data: Mapping[str, Any]) -> str:
    """The id of what has none."""
    return f"sha256:{Transaction('', '', None, data).digest}"


def _as_data(item: Any) -> dict[str, Any]:
    return item if isinstance(item, dict) else {"value": item}


def _time(said: Any) -> int | None:
    try:
        return to_us(said) if isinstance(said, str) else None
    except UsageError:
        return None
