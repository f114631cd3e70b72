"""Time stamps by others over the heads of a log: RFC 3161.

An authority signs that it has seen the hash of a checkpoint at a time. Its answer is looked at
here as far as it says what was asked; whether its signature holds is for who trusts it to check,
with OpenSSL for example.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from datetime import UTC, datetime
from hashlib import sha256
from typing import Final, NamedTuple

from refold.audit import tables
from refold.audit.proving import signed_head
from refold.audit.tables import keeper_of, tables_of
from refold.core.clock import to_us
from refold.engine.store import Store
from refold.errors import ProofError, Rejected, Unavailable
from refold.ports import Begin
from refold.projections.postgres_dialect import dialect_of

ANSWER_BYTES_MAX: Final = 65_536
ANSWER_MAX_S: Final = 15.0
SEQUENCE, INTEGER, OCTETS = 0x30, 0x02, 0x04
_SHA256: Final = bytes.fromhex("300d06096086480165030402010500")
"""AlgorithmIdentifier of SHA-256."""
_ADD: Final = """
INSERT INTO audit_timestamps (size, stamped_at, note, answer) VALUES (?, ?, ?, ?)
ON CONFLICT (size, stamped_at) DO NOTHING"""


class TimeStamp(NamedTuple):
    """A time stamp: of the head of how many events, when (microseconds), the note, the answer."""

    size: int
    stamped_at: int
    note: str
    answer: bytes


def timestamped(
    store: Store, url: str, *, draw: Callable[[], int] = lambda: secrets.randbits(63)
) -> TimeStamp:
    """Have an authority stamp the newest signed head of a log, and keep what it answers.

    Raises :class:`~refold.errors.Rejected` where it refuses, :class:`~refold.errors.Unavailable`
    where nobody answers, :class:`~refold.errors.ProofError` for an answer to something else.
    """
    head, nonce = signed_head(tables_of(store)), draw()
    note = str(head.note)
    digest = sha256(note.encode()).digest()
    answer = _asked(url, _request(digest, nonce))
    made = TimeStamp(head.size, stamped_at(answer, digest, nonce), note, answer)
    keeper = keeper_of(store)

    def within(begin: Begin) -> None:
        transaction = begin()
        tables.make_tables(transaction, sql=getattr(keeper, "sql", "sqlite"))
        transaction.execute(_ADD, made)

    keeper.write(within)
    return made


def timestamps(store: Store, *, first: int, last: int) -> list[TimeStamp]:
    """Those of heads of a size from ``first`` to ``last``, the smallest first."""
    keeper = keeper_of(store)
    if not keeper.query(dialect_of(keeper).exists, ("audit_timestamps",)):
        return []
    sql = """SELECT size, stamped_at, note, answer FROM audit_timestamps
    WHERE size >= ? AND size <= ? ORDER BY size, stamped_at"""
    rows = keeper.query(sql, (first, last))
    return [TimeStamp(size, at, note, bytes(answer)) for size, at, note, answer in rows]


def stamped_at(answer: bytes, digest: bytes, nonce: int) -> int:
    """When an answer says that a hash was seen, in microseconds; it must be to what was asked."""
    try:
        (_, said), *_ = parts_of(answer)
        (_, status), *token = parts_of(said)
        granted = int.from_bytes(parts_of(status)[0][1])
        if granted > 1 or not token:
            raise Rejected(f"the authority did not stamp it: status {granted}", status=granted)
        _, (_, content) = parts_of(token[0][1])
        _, _, (_, encapsulated), *_ = parts_of(parts_of(content)[0][1])
        _, (_, octets) = parts_of(encapsulated)
        _, _, (_, imprint), _, (_, when), *more = parts_of(parts_of(parts_of(octets)[0][1])[0][1])
        _, (_, hashed) = parts_of(imprint)
        form = "%Y%m%d%H%M%S.%fZ" if b"." in when else "%Y%m%d%H%M%SZ"
        moment = datetime.strptime(when.decode(), form).replace(tzinfo=UTC)
    except (IndexError, ValueError) as error:
        raise ProofError(f"this is no answer of RFC 3161: {error}", proof="timestamp") from error
    if hashed != digest or (INTEGER, _minimal(nonce)) not in more:
        raise ProofError("the authority stamped something else", proof="timestamp")
    return to_us(moment)


def parts_of(data: bytes) -> list[tuple[int, bytes]]:
    """Tag and content of each element of DER (X.690); ValueError where it is cut off."""
    found, at = list[tuple[int, bytes]](), 0
    while at < len(data):
        tag, length, start = data[at], data[at + 1], at + 2
        if length & 0x80:
            start += length & 0x7F
            length = int.from_bytes(data[at + 2 : start])
        if start + length > len(data):
            raise ValueError("it is cut off")
        found.append((tag, data[start : start + length]))
        at = start + length
    return found


def _request(digest: bytes, nonce: int) -> bytes:
    """A TimeStampReq for a SHA-256, with a nonce and the wish for certificates."""
    imprint = _element(SEQUENCE, _SHA256 + _element(OCTETS, digest))
    version, wish = _element(INTEGER, b"\1"), b"\x01\x01\xff"
    number = _element(INTEGER, _minimal(nonce))
    return _element(SEQUENCE, version + imprint + number + wish)


def _element(tag: int, content: bytes) -> bytes:
    """An element of DER whose content has less than 128 bytes."""
    return bytes([tag, len(content)]) + content


def _minimal(number: int) -> bytes:
    return number.to_bytes(number.bit_length() // 8 + 1)


def _asked(url: str, content: bytes) -> bytes:
    """The authority's answer (RFC 3161 section 3.4)."""
    import httpx2

    headers, said = {"content-type": "application/timestamp-query"}, b""
    try:
        with httpx2.stream(
            "POST", url, content=content, headers=headers, timeout=ANSWER_MAX_S
        ) as answer:
            for piece in answer.iter_bytes():
                said += piece
                if len(said) > ANSWER_BYTES_MAX:
                    raise Unavailable(f"{url} answers with too much", url=url)
            if answer.status_code != 200:
                raise Unavailable(f"{url} answers {answer.status_code}", url=url)
    except (httpx2.HTTPError, httpx2.InvalidURL) as error:
        raise Unavailable(f"{url} does not answer: {error}", url=url) from error
    return said
