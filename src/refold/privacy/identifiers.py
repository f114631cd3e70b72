"""Which digits can be a card, a bank account or a social security number: check digits and ranges.

All arguments are text without separators.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

_ISSUERS: Final = (
    # Ranges by the first six digits (ISO/IEC 7812-1) and the lengths that they are issued with.
    ("Visa", ((400000, 499999),), {13, 16, 19}),
    ("Mastercard", ((510000, 559999), (222100, 272099)), {16}),
    ("American Express", ((340000, 349999), (370000, 379999)), {15}),
    ("Discover", ((601100, 601199), (644000, 659999)), {16, 17, 18, 19}),
    ("JCB", ((352800, 358999),), {16, 17, 18, 19}),
    ("Diners Club", ((300000, 305999), (309500, 309599), (360000, 369999)), {14, 16, 17, 18, 19}),
    ("Diners Club", ((380000, 399999),), {14, 16, 17, 18, 19}),
    ("UnionPay", ((620000, 629999), (810000, 817199)), {16, 17, 18, 19}),
    ("Mir", ((220000, 220499),), {16, 17, 18, 19}),
    ("RuPay", ((508200, 508999), (606900, 608499), (652100, 653199)), {16}),
    ("Maestro", ((501800, 501899), (502000, 502099), (503800, 503899)), set(range(12, 20))),
    ("Maestro", ((589300, 589399), (630400, 630499), (675900, 676399)), set(range(12, 20))),
)
_IBAN: Final = (
    "AD24 AE23 AL28 AT20 AZ28 BA20 BE16 BG22 BH22 BI27 BR29 BY28 CH21 CR22 CY28 CZ24 DE22 DJ27 "
    "DK18 DO28 EE20 EG29 ES24 FI18 FK18 FO18 FR27 GB22 GE22 GI23 GL18 GR27 GT28 HN28 HR21 HU28 "
    "IE22 IL23 IQ23 IS26 IT27 JO30 KW30 KZ20 LB28 LC32 LI21 LT20 LU20 LV21 LY25 MC27 MD24 ME22 "
    "MK19 MN20 MR27 MT31 MU30 NI28 NL18 NO15 OM23 PK24 PL28 PS29 PT25 QA29 RO24 RS22 RU33 SA24 "
    "SC31 SD18 SE24 SI19 SK24 SM27 SO23 ST25 SV28 TL23 TN24 TR26 UA29 VA22 VG24 XK20 YE30"
)
IBAN_LENGTHS: Final[Mapping[str, int]] = {one[:2]: int(one[2:]) for one in _IBAN.split()}
"""Characters of an IBAN by country, from the IBAN registry of SWIFT."""
COUNTRY_CODE: Final = re.compile(
    "1|7|2[07]|3[0-469]|4[013-9]|5[1-8]|6[0-6]|8[1246]|9[0-58]"
    "|2[1-69][0-9]|3[578][0-9]|42[0-9]|5[09][0-9]|6[789][0-9]|8[0578][0-9]|9[67][0-9]|99[2-68]"
)
"""The calling codes that ITU-T E.164 has given out, or kept for a use."""
_NOBODYS: Final = frozenset({"078051120", "219099999"})
"""Numbers that stood in advertisements, and were taken out of use."""


def is_luhn(digits: str) -> bool:
    """Whether the last digit is the check digit of the others (ISO/IEC 7812-1, annex B)."""
    doubled = [2 * int(digit) for digit in digits[-2::-2]]
    return (sum(map(int, digits[::-2])) + sum(n - 9 * (n > 9) for n in doubled)) % 10 == 0


def card_issuer(digits: str) -> str | None:
    """Who issues cards that begin so and are so long; None where nobody does."""
    if not 12 <= len(digits) <= 19:
        return None
    first = int(digits[:6])
    for name, ranges, lengths in _ISSUERS:
        if len(digits) in lengths and any(low <= first <= high for low, high in ranges):
            return name
    return None


def is_iban(text: str) -> bool:
    """Whether it is as long as its country says and fits its check digits (ISO 13616, mod 97)."""
    text = text.upper()
    if len(text) != IBAN_LENGTHS.get(text[:2]) or not (text.isascii() and text.isalnum()):
        return False
    return (
        text[2:4].isdigit() and int("".join(str(int(c, 36)) for c in text[4:] + text[:4])) % 97 == 1
    )


def is_ssn(digits: str) -> bool:
    """Whether nine digits can be a US social security number.

    The areas 000, 666 and 900 to 999, the group 00 and the serial 0000 were never issued
    (ssa.gov/employer/randomization.html).
    """
    area, group, serial = digits[:3], digits[3:5], digits[5:]
    never = area in ("000", "666") or area[0] == "9" or group == "00" or serial == "0000"
    return len(digits) == 9 and not never and digits not in _NOBODYS
