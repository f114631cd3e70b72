"""What words say, as far as it can be told without a model: language, personal data, claims."""

from __future__ import annotations

import re
from typing import Final

_LANGUAGES: Final = {
    "en": "the and is you your of to for that with have this are can not it please would",
    "de": "der die das und ist sie ihr ihre nicht ich wir für mit ein eine den auf bitte",
    "fr": "le la les et est vous votre pas je nous pour avec un une des du dans sur",
    "es": "el los las y es usted su no yo nosotros para con un una del por que está",
    "it": "il gli e è lei suo non io noi per con un una della di che sono questo",
    "pt": "o os as e é você seu não eu nós para com um uma da do que está",
    "nl": "de het en is u uw niet ik wij voor met een van dat op te zijn naar",
}
_FUNCTION_WORDS: Final = {name: frozenset(words.split()) for name, words in _LANGUAGES.items()}
WORDS_MIN: Final = 4
"""So many words that are of a language alone tell it, if no other has half as many."""

_EMAIL: Final = re.compile(r"[\w.+-]+@[\w-]+(?:\.[\w-]+)+")
_PHONE: Final = re.compile(r"(?<![\w+])\+\d(?:[ ()./-]{0,2}\d){8,14}(?!\d)")
_CARD: Final = re.compile(r"(?<![\w-])\d(?:[ -]?\d){12,18}(?![\w-])")
_IBAN: Final = re.compile(r"\b[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,3})?\b")
_SSN: Final = re.compile(r"(?<![\w-])(?!000|666|9)\d{3}-(?!00)\d{2}-(?!0000)\d{4}(?![\w-])")

_DONE: Final = re.compile(
    r"\bI(?:'ve|’ve| have)(?: (?:just|now|already|also|successfully))*"
    r" (?:booked|cancell?ed|refunded|updated|changed|(?:re)?scheduled|sent|transferred|issued"
    r"|deleted|created|reserved|upgraded|removed|placed|ordered|paid)\b",
    re.IGNORECASE,
)


def language_of(text: str) -> str | None:
    """The language of a text by its function words; None where that is not clear.

    It knows English, German, French, Spanish, Italian, Portuguese and Dutch. Of a short text, and
    of one that is mostly names, codes or another language, it says nothing.
    """
    words = re.findall(r"[^\W\d_]+", text.lower())
    counts = sorted(
        ((sum(word in own for word in words), name) for name, own in _FUNCTION_WORDS.items()),
        reverse=True,
    )
    (most, found), (next_most, _) = counts[:2]
    return found if most >= WORDS_MIN and most >= 2 * next_most else None


def personal_data(text: str, heard: str) -> list[str]:
    """The personal data in a text: what no one but the person should be told.

    Numbers of payment cards (Luhn) and accounts (IBAN, ISO 13616) whose check digits are right,
    and US social security numbers; addresses of e-mail, and telephone numbers that begin with +,
    unless they stand in what was ``heard`` from the user. Names and postal addresses are not found.
    """
    own = [m[0] for p in (_EMAIL, _PHONE) for m in p.finditer(text)]
    given = _digits_and_letters(heard) if own else ""
    found = [one for one in own if _digits_and_letters(one) not in given]
    found += [m[0] for m in _CARD.finditer(text) if _is_card(m[0])]
    found += [m[0] for m in _IBAN.finditer(text) if _is_iban(m[0])]
    return found + [m[0] for m in _SSN.finditer(text)]


def claims_done(text: str) -> bool:
    """Whether a text says, in English and the first person, that something was just done."""
    return _DONE.search(text) is not None


def _digits_and_letters(text: str) -> str:
    return re.sub(r"[\W_]+", "", text.lower())


def _is_card(text: str) -> bool:
    """Luhn's check digit (ISO/IEC 7812), and a number that is not one digit over and over."""
    digits = [int(char) for char in text if char.isdigit()][::-1]
    doubled = [sum(divmod(2 * digit, 10)) for digit in digits[1::2]]
    return len(set(digits)) > 1 and (sum(digits[::2]) + sum(doubled)) % 10 == 0


def _is_iban(text: str) -> bool:
    """The check digits of ISO 7064, modulo 97."""
    plain = text.replace(" ", "")
    moved = plain[4:] + plain[:4]
    return int("".join(str(int(char, 36)) for char in moved)) % 97 == 1
