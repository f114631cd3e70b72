"""A request's exact bytes in linear space: each element of its lists is kept once a stream.

A request to a model holds the whole conversation again, so that N turns kept whole cost N² bytes,
and a clock in the system prompt spoils a common front. Here a request is what stands between its
elements and the runs of elements of earlier requests that fill it. An element is a value of a list
at the top level (``messages``, ``tools``, …), or any other value there that is not short. What
this makes is read back before it is used: what would not come back exactly is kept whole.
"""

from __future__ import annotations

import hashlib
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import chain, groupby, islice, zip_longest
from typing import Any, Final

import msgspec

from refold.capture.events import COUNT_MAX, WireAnswer, WirePiece, WireRequest
from refold.core.payload import encode_payload, read_back
from refold.errors import Corrupt, InvalidEvent
from refold.privacy.envelope import is_withheld

ELEMENT_BYTES_MIN: Final = 64
"""A shorter value at the top level stays where it is: to name it would cost more."""
RECENT_MAX: Final = 8
"""How many of the last requests are looked through for runs."""
KNOWN_MAX: Final = 100_000
"""How many elements of a stream are known again; the oldest are forgotten, and then kept anew."""
PIECE_BYTES_MAX: Final = 4 * 1024 * 1024
"""The most of a form that goes into one event; half of what an event may hold, as it is quoted."""
TRAIL_BYTES_MAX: Final = 3
"""The most bytes of a cut character that stand before the next whole one."""

Split = tuple[list[bytes], list[bytes]]
"""What stands before, between and after elements, and these."""

decode_top: Final = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
decode_list: Final = msgspec.json.Decoder(list[msgspec.Raw]).decode
_decode_form: Final = msgspec.json.Decoder(WireRequest).decode
encode_form: Final = msgspec.json.Encoder().encode


class KnownElements:
    """The elements that a stream holds, by digest, so that they need not be kept again.

    It follows from the forms of the stream alone, oldest first: whoever reads them knows the same.
    """

    def __init__(self) -> None:
        # Where each element stood first, the version and the place, and which one stood there.
        self._first: dict[bytes, tuple[int, int]] = {}
        self._at: dict[tuple[int, int], bytes] = {}
        # Of the last requests, newest first: the version, the digests, and where each stands.
        self._recent: list[tuple[int, Sequence[bytes], Mapping[bytes, int]]] = []

    def __len__(self) -> int:
        """How many digests it holds, those of each recent request by themselves."""
        return len(self._first) + sum(len(digests) for _, digests, _ in self._recent)

    def learn(self, version: int, form: WireRequest) -> None:
        """Note the newest request, which stands at a version."""
        recent = {version: digests for version, digests, _ in self._recent}
        digests: list[bytes] = []
        for first, count, *earlier in form.runs:
            places = range(first, first + count)
            if not earlier:
                digests += (digest_of(bytes(form.new[place])) for place in places)
            elif earlier[0] in recent:
                digests += recent[earlier[0]][first : first + count]
            else:
                digests += (self._at.get((earlier[0], place), b"") for place in places)
        self.take(version, digests)

    def take(self, version: int, digests: Sequence[bytes]) -> None:
        """Note the elements of the newest request; of one that is not known, no digest."""
        places = dict(zip(digests, range(len(digests)), strict=True))
        # In order: what is forgotten first must not hang on hashes.
        new = {one: (version, at) for one, at in places.items() if one and one not in self._first}
        self._first |= new
        self._at |= {place: one for one, place in new.items()}
        for digest in [*islice(self._first, max(len(self._first) - KNOWN_MAX, 0))]:
            del self._at[self._first.pop(digest)]
        self._recent = [(version, digests, places), *self._recent[: RECENT_MAX - 1]]

    def run(self, digests: Sequence[bytes], at: int) -> list[int] | None:
        """A run that elements go on with from a place; None where the first of them is new."""
        for version, known, places in self._recent:
            first = places.get(digests[at])
            if first is not None:
                pairs = zip(known[first:], digests[at:], strict=False)
                other = (count for count, (one, two) in enumerate(pairs) if one != two)
                return [first, next(other, min(len(known) - first, len(digests) - at)), version]
        version, place = self._first.get(digests[at], (-1, 0))
        return None if version < 0 else [place, 1, version]


def digest_of(element: bytes) -> bytes:
    """What an element is known by."""
    return hashlib.blake2b(element, digest_size=16).digest()


def taken_apart(body: bytes, known: KnownElements) -> WireRequest:
    """The linear form of a request; pure."""
    exact = hashlib.sha256(body).hexdigest()
    try:
        gaps, elements = _split(body)
        form = linear(exact, (gaps, elements), [*map(digest_of, elements)], known)
        raw = encode_form(form)
        (encode_payload if len(raw) <= PIECE_BYTES_MAX else read_back)(msgspec.Raw(raw))
        if joined(_decode_form(raw), elements) == body:
            return form
    except (ValueError, RecursionError, InvalidEvent):
        pass  # No JSON object, or one that cannot be stored as it is.
    try:
        return WireRequest(hash=exact, text=body.decode())
    except UnicodeDecodeError:
        return WireRequest(hash=exact, base64=b64encode(body).decode())


def linear(exact: str, split: Split, digests: Sequence[bytes], known: KnownElements) -> WireRequest:
    """The form of what was split; ``exact`` is the hash of all of it, ``digests`` the elements'."""
    gaps, elements = split
    runs, fresh = _runs(digests, known)
    by_digest = dict(zip(digests, elements, strict=True))
    told = [(gap.decode(), len(list(same))) for gap, same in groupby(gaps)]
    return WireRequest(exact, told, runs, [msgspec.Raw(by_digest[digest]) for digest in fresh])


def _split(body: bytes) -> Split:
    """What stands before, between and after the elements, and the elements, as they stand."""
    gaps: list[bytes] = []
    elements: list[bytes] = []
    end = gap = 0
    for value in map(bytes, decode_top(body).values()):
        is_list = value[:1] == b"["
        for element in map(bytes, decode_list(value)) if is_list else (value,):
            if len(value) >= ELEMENT_BYTES_MIN:
                # Mostly behind as much as the last; to search for a long text takes longer.
                near = body.startswith(element, end + gap)
                start = end + gap if near else body.index(element, end)
                gap = start - end
                gaps.append(body[end:start])
                elements.append(element)
                end = start + len(element)
    return [*gaps, body[end:]], elements


def _runs(digests: Sequence[bytes], known: KnownElements) -> tuple[list[list[int]], list[bytes]]:
    """The runs of a request, and the elements that must be kept with it."""
    runs: list[list[int]] = []
    fresh: dict[bytes, int] = {}
    at = 0
    while at < len(digests):
        run = known.run(digests, at) or [fresh.setdefault(digests[at], len(fresh)), 1]
        at += run[1]
        if runs and len(run) == len(runs[-1]) == 2 and run[0] == sum(runs[-1]):
            runs[-1][1] += 1
        else:
            runs.append(run)
    return runs, [*fresh]


def in_events(form: WireRequest) -> list[WireRequest | WirePiece]:
    """A form as one event, or with pieces before it where it is too large for that."""
    raw = encode_form(form)
    if len(raw) <= PIECE_BYTES_MAX:
        return [form]
    pieces = in_pieces(raw.decode())
    return [*pieces, WireRequest(pieces=len(pieces))]


def in_pieces(text: str) -> list[WirePiece]:
    """A JSON text in events, each of which may be stored; characters take up to four bytes."""
    size = PIECE_BYTES_MAX // 4
    return [WirePiece(text[at : at + size]) for at in range(0, len(text), size)]


# -- back to bytes --------------------------------------------------------------------------------


def read_form(raw: bytes) -> WireRequest:
    """A form from its JSON text; :class:`~refold.errors.Corrupt` where it is none."""
    try:
        return _decode_form(raw)
    except (ValueError, RecursionError) as error:
        raise Corrupt(f"a recorded request cannot be read: {error}") from error


def elements_of(
    version: int,
    form_at: Callable[[int], WireRequest],
    whole: Mapping[int, Sequence[bytes]] | None = None,
) -> list[bytes]:
    """The elements of the request at a version, from its own form and those that it leads to.

    ``whole`` has the elements of some requests at hand. Each request on the way is looked at
    once, newest first. Raises :class:`~refold.errors.Corrupt` where a run leads nowhere.
    """
    size = sum(run[1] for run in form_at(version).runs)
    found: list[bytes | None] = [None] * min(size, COUNT_MAX)
    pending = {version: [(0, size, 0)]}
    while pending:
        at = max(pending)
        wanted = pending.pop(at)
        if whole is not None and at in whole:
            for first, count, place in wanted:
                found[place : place + count] = whole[at][first : first + count]
            continue
        form, begin = form_at(at), 0
        for start, length, *earlier in form.runs:
            for first, count, place in wanted:
                low, high = max(first, begin), min(first + count, begin + length)
                if low >= high:
                    continue
                source, to = start + low - begin, place + low - first
                if not earlier:
                    part = map(bytes, form.new[source : source + high - low])
                    found[to : to + high - low] = part
                elif earlier[0] < at:
                    pending.setdefault(earlier[0], []).append((source, high - low, to))
            begin += length
    if len(found) != size or None in found:
        raise Corrupt(f"an element of the request at version {version} is missing", version=version)
    return [element for element in found if element is not None]


def joined(form: WireRequest, elements: Iterable[bytes]) -> bytes:
    """The bytes of a request from its form and its elements."""
    if not form.gaps:
        return form.text.encode() or _bytes(form.base64)
    gaps = chain.from_iterable([text.encode()] * count for text, count in form.gaps)
    pairs = zip_longest(gaps, elements, fillvalue=b"")
    return b"".join(chain.from_iterable(pairs))


# -- answers --------------------------------------------------------------------------------------


def answer_kept(data: bytes, **end: Any) -> WireAnswer:
    """Bytes of an answer as an event: text as far as they are UTF-8, the rest as base64."""
    lead = 0
    while lead < min(TRAIL_BYTES_MAX, len(data)) and data[lead] & 0xC0 == 0x80:
        lead += 1
    try:
        text, rest = data[lead:].decode(), b""
    except UnicodeDecodeError as error:
        cut = lead + error.start
        text, rest = data[lead:cut].decode(), data[cut:]
    return WireAnswer(text, b64encode(data[:lead]).decode(), b64encode(rest).decode(), **end)


def answer_bytes(kept: WireAnswer) -> bytes:
    """The bytes of an answer that an event holds."""
    return _bytes(kept.lead) + kept.text.encode() + _bytes(kept.rest)


def _bytes(base64: str) -> bytes:
    """What a text in base64 is of; one that was taken out says so itself."""
    return base64.encode() if is_withheld(base64) else b64decode(base64)
