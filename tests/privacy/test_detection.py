"""Personal values in text: what has their form is found, and what only looks like it is not."""

from __future__ import annotations

import random
from collections.abc import Callable
from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from refold.privacy.detection import Detected, find_personal
from refold.privacy.identifiers import IBAN_LENGTHS, card_issuer, is_iban, is_luhn, is_ssn


def found(text: str) -> list[tuple[str, str]]:
    """The kinds and texts of what is found."""
    return [(one.kind, text[one.start : one.end]) for one in find_personal(text)]


def check_digit(digits: str) -> str:
    """The one digit that fits behind these, by trying all of them."""
    (fits,) = [str(last) for last in range(10) if is_luhn(f"{digits}{last}")]
    return fits


PREFIXES = {  # Of cards, by how many digits they have.
    "4": (13, 16, 19),
    "51": (16,),
    "55": (16,),
    "2221": (16,),
    "2720": (16,),
    "34": (15,),
    "37": (15,),
    "6011": (16, 19),
    "65": (16,),
    "3528": (16,),
    "36": (14,),
    "38": (14, 16),
    "62": (16, 19),
    "2200": (16,),
    "6759": (12, 19),
}
GROUPS: dict[str, Callable[[str], list[str]]] = {
    "plain": lambda digits: [digits],
    "fours": lambda digits: [digits[at : at + 4] for at in range(0, len(digits), 4)],
    "spoken": list,
}


@st.composite
def cards(draw: st.DrawFn) -> str:
    """Numbers of cards, without gaps."""
    prefix = draw(st.sampled_from(sorted(PREFIXES)))
    length = draw(st.sampled_from(PREFIXES[prefix]))
    size = length - 1 - len(prefix)
    digits = prefix + draw(st.text("0123456789", min_size=size, max_size=size))
    return digits + check_digit(digits)


@st.composite
def ibans(draw: st.DrawFn) -> str:
    """Account numbers of any country, their check digits found by trying."""
    country = draw(st.sampled_from(sorted(IBAN_LENGTHS)))
    size = IBAN_LENGTHS[country] - 4
    account = draw(st.text("0123456789ABCXYZ", min_size=size, max_size=size))
    tried = (f"{country}{check:02}{account}" for check in range(2, 99))
    return next(one for one in tried if is_iban(one))


around = st.sampled_from(
    [("", ""), ("My number is ", "."), ('{"a":"', '"}'), ("(", "),"), ("é", " ")]
)
separators = st.sampled_from(["", " ", "-", "\u00a0"])


@given(cards(), st.sampled_from(sorted(GROUPS)), separators, around)
@example("4111111111111111", "fours", "-", ("", ""))
@example("378282246310005", "plain", "", ("", ""))
def test_every_card_is_found(
    card: str, grouping: str, separator: str, beside: tuple[str, str]
) -> None:
    """Numbers with an issuer's beginning and length and the right check digit, however grouped."""
    shown = separator.join(GROUPS[grouping](card))
    before, after = beside
    before = before.replace("é", "é ")
    assert found(before + shown + after) == [("card", shown)]


@given(cards(), st.data())
def test_a_card_with_one_digit_off_is_not_found(card: str, data: st.DataObject) -> None:
    """Luhn's check digit notices every single digit that is wrong."""
    place = data.draw(st.integers(0, len(card) - 1))
    other = data.draw(st.sampled_from([one for one in "0123456789" if one != card[place]]))
    wrong = card[:place] + other + card[place + 1 :]
    assert not is_luhn(wrong)
    assert [kind for kind, _ in found(f"card {wrong}")] == []


@given(st.integers(1, 18).flatmap(lambda n: st.text("0123456789", min_size=n, max_size=n)))
def test_the_check_digit_is_the_one_of_the_standard(digits: str) -> None:
    """As ISO/IEC 7812-1 spells it out: from the right, every second digit doubled."""
    total = 0
    for index, digit in enumerate(reversed(digits)):
        value = int(digit) * (2 if index % 2 == 0 else 1)
        total += value // 10 + value % 10
    assert check_digit(digits) == str(-total % 10)


@given(ibans(), st.sampled_from(["", " "]), st.booleans())
@example("GB82WEST12345698765432", " ", False)
@example("DE89370400440532013000", "", True)
def test_every_iban_is_found(iban: str, separator: str, lower: bool) -> None:
    """Of each country of the registry, in groups of four or without gaps, in any case."""
    shown = separator.join(iban[at : at + 4] for at in range(0, len(iban), 4))
    shown = shown.lower() if lower else shown
    assert found(f"to {shown}, please") == [("iban", shown)]


@given(ibans(), st.data())
def test_an_iban_with_one_digit_off_is_not_found(iban: str, data: st.DataObject) -> None:
    """97 is prime: a single digit that is wrong never fits."""
    places = [at for at, character in enumerate(iban) if character.isdigit()]
    place = data.draw(st.sampled_from(places))
    other = data.draw(st.sampled_from([one for one in "0123456789" if one != iban[place]]))
    wrong = iban[:place] + other + iban[place + 1 :]
    assert not [kind for kind, _ in found(wrong) if kind == "iban"]
    longer, shorter = found(f"{iban}0"), found(iban[:-1])
    assert not [kind for kind, _ in longer + shorter if kind == "iban"]


areas = st.integers(1, 899).filter(lambda area: area != 666)


@given(areas, st.integers(1, 99), st.integers(1, 9999))
def test_every_social_security_number_is_found(area: int, group: int, serial: int) -> None:
    """Written with dashes or spaces, or as nine digits where it is said what they are."""
    shown = f"{area:03}-{group:02}-{serial:04}"
    bare = shown.replace("-", "")
    if not is_ssn(bare):  # It stood in an advertisement.
        assert bare in ("078051120", "219099999")
        return
    assert found(f"it is {shown}.") == [("us_ssn", shown)]
    assert found(f"my SSN is {bare}") == [("us_ssn", bare)]
    assert found(f"social security number: {bare}") == [("us_ssn", bare)]
    assert found(f"order {bare}") == []


@pytest.mark.parametrize(
    "never",
    [
        "000-12-3456",
        "666-12-3456",
        "900-12-3456",
        "987-65-4320",
        "123-00-4567",
        "123-45-0000",
        "078-05-1120",
        "1123-45-6789",
        "123-45-67890",
        "5-123-45-6789",
    ],
)
def test_what_was_never_issued_is_no_social_security_number(never: str) -> None:
    """Areas 000, 666 and from 900 on, group 00, serial 0000; nor a part of a longer number."""
    assert found(f"SSN {never}") == []


@pytest.mark.parametrize(
    ("text", "phone"),
    [
        ("call +14155550123 now", "+14155550123"),
        ("+1 (415) 555-0123", "+1 (415) 555-0123"),
        ("+44 20 7946 0958", "+44 20 7946 0958"),
        ("+49 (0)30 901820, thanks", "+49 (0)30 901820"),
        ("+33 1 99 00 12 34.", "+33 1 99 00 12 34"),
        ("on +44 7700 900123 2026-01-02", "+44 7700 900123"),
        ("(212) 555-0187", "(212) 555-0187"),
        ("212-555-0187", "212-555-0187"),
        ("212.555.0187.", "212.555.0187"),
        ("1-800-555-0199", "1-800-555-0199"),
        ("212 555 0187", "212 555 0187"),
        ("020 7946 0958", "020 7946 0958"),
        ("07700 900123", "07700 900123"),
        ("0161 496 0123", "0161 496 0123"),
        ("01 99 00 12 34", "01 99 00 12 34"),
        ("01.99.00.12.34", "01.99.00.12.34"),
        ("030/23125000", "030/23125000"),
        ("(tel: 030 23125000)", "030 23125000"),
        ("03-5550-0123", "03-5550-0123"),
        ("02 5550 1234", "02 5550 1234"),
        ("0491 570 156", "0491 570 156"),
        ("my cell 4155550123", "4155550123"),
        ("my number is 4155550123", "4155550123"),
    ],
)
def test_a_phone_number_is_found(text: str, phone: str) -> None:
    """International (E.164) with its gaps, and as people in several countries write them."""
    assert found(text) == [("phone", phone)]


@given(st.sampled_from(["44", "49", "358", "91", "55"]), st.integers(10**8, 10**9 - 1))
def test_every_international_number_is_found(code: str, rest: int) -> None:
    """A plus, a code that was given out, and up to 15 digits in all."""
    assert found(f"<tel:+{code}{rest}>") == [("phone", f"+{code}{rest}")]


@pytest.mark.parametrize(
    ("text", "email"),
    [
        ("write to ann.lee+x@mail.example.com.", "ann.lee+x@mail.example.com"),
        ("mailto:a@example.org?subject=x", "a@example.org"),
        ("'o'neil@example.com'", "o'neil@example.com"),
        ("<jürgen@müller.example>", "jürgen@müller.example"),
        ("a@b@example.com", "b@example.com"),
        ("{'to': 'x_1@example.co.uk'}", "x_1@example.co.uk"),
    ],
)
def test_an_address_is_found(text: str, email: str) -> None:
    """With what stands around it in prose, links and code."""
    assert found(text)[-1:] == [("email", email)]


local = st.from_regex(r"[a-z0-9_]([a-z0-9_.+-]{0,20}[a-z0-9_])?", fullmatch=True)
domain = st.from_regex(
    r"([a-z0-9]([a-z0-9-]{0,9}[a-z0-9])?\.){1,3}(com|org|test|de)", fullmatch=True
)


@given(local, domain)
def test_every_usual_address_is_found(name: str, host: str) -> None:
    """Whatever its name and however deep its domain."""
    assert ("email", f"{name}@{host}") in found(f"to {name}@{host}: hello")


@pytest.mark.parametrize(
    "text",
    [
        "order 4111-1111-1111-1112",
        "order 10023456789012345",
        "ORD4111111111111111X",
        "invoice 2026-0042-1234",
        "1764475762000000 us, 1764475762000 ms, 1764475762 s",
        "2026-11-30T04:09:22.123456Z",
        "30.11.2026 04:09",
        "550e8400-e29b-41d4-a716-446655440000",
        "12345678-1234-1234-1234-123456789012",
        "00000000-4111-1111-1111-111111111111",
        "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
        "$1,299.00 and 1.299.000,50 EUR",
        "0.4111111111111111",
        "4111111111111111.5",
        "1 Z 999 AA1 01 2345 6784",
        "192.168.100.200, 10.0.0.1:8080",
        "v1.22.333.4444",
        "icon@2x.png and lodash@4.17.21",
        "user@localhost",
        "@ann said: see @bob",
        "+1 555",
        "+999123456789",
        "2 + 415555012",
        "911-555-0123",
        "100-200-3000",
        "ZZ89370400440532013000",
        "ISBN 978-3-16-148410-0",
        "flight LH1234 seat 12A at 10:45",
        "lat 52.520008, lon 13.404954",
        "call_0123456789",
        "9400 1000 0000 0000 0000 00",
        "",
    ],
)
def test_what_only_looks_like_one_is_left_alone(text: str) -> None:
    """Order numbers, times, UUIDs, hashes, prices, versions, places, tracking numbers."""
    assert found(text) == []


def test_a_card_is_found_between_other_numbers() -> None:
    """With the date and the code that are said after it, and a number before it."""
    text = "2 cards: 4111 1111 1111 1111 12 27 123 and 3782 822463 10005"
    assert found(text) == [("card", "4111 1111 1111 1111"), ("card", "3782 822463 10005")]


def test_what_is_found_is_in_order_and_apart() -> None:
    """Of two that overlap the surer one stays."""
    text = "a@example.com, DE89 3704 0044 0532 0130 00, 212-555-0187, 123-45-6789"
    told = find_personal(text)
    assert [one.kind for one in told] == ["email", "iban", "phone", "us_ssn"]
    assert all(first.end <= second.start for first, second in pairwise(told))
    assert told[1] == Detected(
        "iban", 15, 42, "high", "the length is that of its country, and the check digits fit"
    )


@given(st.text(max_size=200))
def test_any_text_is_taken(text: str) -> None:
    """Spans lie inside the text, in order, and are not empty."""
    ends = [0]
    for one in find_personal(text):
        assert ends[-1] <= one.start < one.end <= len(text)
        ends.append(one.end)


@pytest.mark.parametrize(
    "piece", ["1", "a", "1 ", "@", "a@", "a.", "+1", "0", "(1", "DE89", "-1", "a1"]
)
def test_the_work_grows_with_the_text_and_not_faster(piece: str) -> None:
    """No text makes an expression go over it again and again: counted in calls, not in time."""
    assert isinstance(find_personal(piece * (200_000 // len(piece))), list)


def test_random_numbers_are_seldom_a_card() -> None:
    """Of numbers of 16 digits that begin as any, an issuer's and a fitting check digit are few."""
    draw = random.Random(1)
    numbers = ["".join(draw.choices("0123456789", k=16)) for _ in range(4_000)]
    taken = [one for one in numbers if found(one)]
    assert all(card_issuer(one) and is_luhn(one) for one in taken)
    assert 0.01 < len(taken) / len(numbers) < 0.05
