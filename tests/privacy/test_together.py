"""Many envelopes at once say what each of them says alone."""

from __future__ import annotations

import os

import pytest

from refold.core.stored import SEPARATOR, Row
from refold.errors import Corrupt
from refold.privacy import together
from refold.privacy.envelope import (
    DRAWN_BYTES,
    ERASED,
    REDACTED,
    WITHHELD,
    DataKey,
    Envelope,
    opened,
    parsed,
    place_in,
)
from refold.privacy.locked import cipher_of
from refold.privacy.opening import keys_in, opened_row
from refold.privacy.together import FRAMED_MAX, envelopes_of, values_of

STREAM, KIND = "call-1", "user.utterance"
KEY, OTHER = (DataKey(name * 32, cipher_of(os.urandom(32))) for name in "ab")
KNOWN: dict[str, DataKey | str] = {KEY.id: KEY, OTHER.id: OTHER}
VALUES = [b'"%b"' % (b"x" * length) for length in (0, 1, 29, 30, 31, 62, 63, 64, 300, 5_000)]
PLACE = place_in(KIND, b"/text")


def closed(values: list[bytes], key: DataKey | None = KEY) -> list[Envelope]:
    """Some values of one place in their envelopes."""
    drawn = os.urandom(DRAWN_BYTES * len(values))
    made = envelopes_of(STREAM, key, values, [PLACE] * len(values), drawn)
    return [found for one in made if (found := parsed(one)) is not None]


def values_in(envelopes: list[Envelope]) -> list[bytes] | None:
    """What is in some envelopes, opened together."""
    _, commitments, secrets = zip(*envelopes, strict=True)
    return values_of(STREAM, KEY, commitments, secrets, [PLACE] * len(envelopes))


def test_values_of_every_length_come_back_together_and_alone() -> None:
    """Of each remainder that base64 and the padding can leave."""
    envelopes = closed(VALUES)
    assert values_in(envelopes) == VALUES
    assert [opened(one, STREAM, PLACE, KEY).value for one in envelopes] == VALUES


@pytest.mark.parametrize("part", ["commitment", "secret"])
def test_one_that_was_changed_lets_none_of_them_be_given(part: str) -> None:
    """In its commitment, or anywhere in its secret: nonce, length, value, padding, tag."""
    first, last = closed([b'"first"', b'"last"'])
    whole: bytes = getattr(first, part)
    for at in range(len(whole)):
        other = b"B" if whole[at : at + 1] != b"B" else b"C"
        odd = first._replace(**{part: whole[:at] + other + whole[at + 1 :]})
        assert values_in([odd, last]) is None
        assert values_in([last, odd]) is None


@pytest.mark.parametrize(
    "other",
    [
        lambda secret: secret.replace(b"-", b"+").replace(b"_", b"/"),
        lambda secret: b"\\u00%02x" % secret[0] + secret[1:],
        lambda secret: secret + b"A",
        lambda secret: secret + b"=",
        lambda secret: secret[:-1],
        lambda secret: b" " + secret,
    ],
)
def test_base64url_in_another_spelling_is_refused(other: object) -> None:
    """The same bytes written otherwise are a change that no seal sees: so there is one spelling."""
    assert callable(other)
    value = next(one for one in closed([b'"a"'] * 99) if {*b"-_"} & {*one.secret})
    assert values_in([value._replace(secret=other(value.secret))]) is None


def test_a_last_character_with_bits_that_nobody_reads_is_refused() -> None:
    """Where base64 leaves bits over they are zeros."""
    (one,) = closed([b'"%b"' % (b"x" * 38)])
    assert len(one.secret) % 4 == 3
    odd = bytes([one.secret[-1] + 1])
    assert values_in([one._replace(secret=one.secret[:-1] + odd)]) is None


def test_what_long_values_take_is_not_kept() -> None:
    """What is kept of lengths has a bound in bytes too: the zeros of 8 MB are not."""
    kept = together._kept_frame
    before = kept.cache_info().currsize
    long = b'"%b"' % (b"y" * FRAMED_MAX)
    assert values_in(closed([long, b'"short one"'])) == [long, b'"short one"']
    assert kept.cache_info().currsize == before
    kept_bytes = max(len(kept(FRAMED_MAX - less).zeros) for less in range(600))
    entries_max = kept.cache_info().maxsize
    assert entries_max is not None
    assert kept_bytes * entries_max <= 2 * 1024 * 1024


def test_a_page_holds_values_of_all_sorts() -> None:
    """Under two keys, of none, redacted, erased, withheld, inside others: each as it is alone."""
    first, second = closed([b'"one"', b'{"in": 2}'])
    (other,), (plain,) = closed([b'"three"'], OTHER), closed([b'"four"'], None)
    gone = second._replace(secret=b"")
    erased, withheld = (first._replace(key=name * 32) for name in (b"c", b"d"))
    nested = closed_at([b'"five"'], b"/list/1")
    bodies = [
        b'[["user.utterance",{"text":%b}],["user.utterance",{ "text" :%b}]]',
        b'[["user.utterance",{"text":%b},7],["user.utterance",{"text":%b},null,{"a":1}]]',
        b'[["user.utterance",{"list":[0,%b],"text":%b}],["x","none"]]',
        b'[["user.utterance",{"text":%b}]]',
        b'[["user.utterance",{"text":%b}]]',
    ]
    stored = [first, second, other, plain, nested, gone, erased, withheld]
    body = SEPARATOR.join(bodies) % tuple(one.json for one in stored)
    row = Row(1, STREAM, 0, 10, 1, None, body, joined=True)
    assert keys_in(row) == {name * 32 for name in "abcd"}
    known = {**KNOWN, "c" * 32: ERASED, "d" * 32: WITHHELD}
    shown = [b'"one"', b'{"in": 2}', b'"three"', b'"four"', b'"five"']
    shown += [b'"%b"' % one.encode() for one in (REDACTED, ERASED, WITHHELD)]
    assert opened_row(row, known).body == SEPARATOR.join(bodies) % tuple(shown)


def closed_at(values: list[bytes], pointer: bytes) -> Envelope:
    """A value of another place."""
    drawn = os.urandom(DRAWN_BYTES)
    found = parsed(envelopes_of(STREAM, KEY, values, [place_in(KIND, pointer)], drawn)[0])
    assert found is not None
    return found


def test_the_one_of_a_page_that_was_changed_is_named() -> None:
    """By its event; those beside it are not."""
    envelopes = closed([b'"%d"' % n for n in range(40)])
    odd = envelopes[23]._replace(commitment=envelopes[22].commitment)
    bodies = [
        b'[["user.utterance",{"text":%b}]]' % one.json
        for one in [*envelopes[:23], odd, *envelopes[24:]]
    ]
    row = Row(1, STREAM, 0, 40, 1, None, SEPARATOR.join(bodies), joined=True)
    with pytest.raises(Corrupt) as raised:
        opened_row(row, KNOWN)
    assert (raised.value.stream, raised.value.version) == (STREAM, 23)
