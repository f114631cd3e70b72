"""What is done about personal values in a payload before it is stored."""

from __future__ import annotations

import json
from base64 import b64encode
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from refold.core import jsonvalue
from refold.errors import UsageError
from refold.privacy.detecting import Detect, looked_into
from refold.privacy.detection import Detected, find_personal

CARD, OTHER = "4111 1111 1111 1111", "5555555555554444"


def redacted(payload: Any) -> Any:
    """A payload as it is stored where values are redacted."""
    text = msgspec.json.encode(payload)
    return json.loads(looked_into(text, Detect(do="redact")).payload)


def test_what_is_found_is_counted_by_kind_and_nothing_changed() -> None:
    """Marking changes no byte, and looks into strings, lists and names of members."""
    payload = (
        b'{"text" : "a@example.com, a@example.com", "to": ["212-555-0187"], "b@example.org": 1}'
    )
    looked = looked_into(payload, Detect())
    assert looked.payload == payload
    assert looked.counts == {"email": 3, "phone": 1}
    assert looked.pointers == ()


def test_values_are_replaced_by_their_kind() -> None:
    """The same value is the same label, another value another one."""
    said = f"{CARD} or {OTHER}? {CARD}!"
    assert redacted({"text": said}) == {"text": "[card] or [card 2]? [card]!"}
    assert redacted({"a": [CARD], "b": "a@example.com"}) == {"a": ["[card]"], "b": "[email]"}
    assert redacted({"a@example.com": 1, "b@example.com": 2}) == {"[email]": 1, "[email 2]": 2}


def test_all_other_bytes_stay() -> None:
    """White space, escapes, odd numbers and the order of members are as they were given."""
    payload = (
        b'{ "n":1.0e5,\t"u":"\\u00e9 \\/", "t":"x\\"y 4111111111111111 \\u0040","z":12345678901.50}'
    )
    looked = looked_into(payload, Detect(do="redact"))
    before = payload.partition(b'"t":"')[0]
    assert looked.payload.startswith(before + b'"t":')
    assert looked.payload.endswith(b',"z":12345678901.50}')
    assert json.loads(looked.payload)["t"] == 'x"y [card] @'
    assert looked.counts == {"card": 1}


@pytest.mark.parametrize(
    ("arguments", "left"),
    [
        ('{"card": 4111111111111111, "n": 2}', '{"card": "[card]", "n": 2}'),
        ('{"card": "4111111111111111"}', '{"card": "[card]"}'),
        ("[4111111111111111,1]", '["[card]",1]'),
        ('{"a": "{\\"card\\": \\"4111111111111111\\"}"}', '{"a": "{\\"card\\": \\"[card]\\"}"}'),
        ("{card: 4111111111111111", "{card: [card]"),
    ],
)
def test_json_in_a_string_stays_json(arguments: str, left: str) -> None:
    """The verbatim arguments of a tool can be read as before; what was no JSON is not mended."""
    assert redacted({"arguments": arguments}) == {"arguments": left}


def test_a_number_is_looked_into_where_its_name_says_what_it_is() -> None:
    """A card in the parsed arguments of a tool is one; a long id that happens to fit is none."""
    assert redacted({"cardNumber": 4111111111111111}) == {"cardNumber": "[card]"}
    assert redacted({"cards": [4111111111111111, 12]}) == {"cards": ["[card]", 12]}
    assert redacted({"ssn": 123456789}) == {"ssn": "[us_ssn]"}
    assert redacted({"id": 4111111111111111}) == {"id": 4111111111111111}
    assert redacted({"cents": 123456789, "at": -4111111111111111}) == {
        "cents": 123456789,
        "at": -4111111111111111,
    }


def test_the_name_of_a_member_says_what_its_digits_are() -> None:
    """As a person who reads it would take them."""
    assert redacted({"phoneNumber": "4155550123"}) == {"phoneNumber": "[phone]"}
    assert redacted({"ssn": "123456789"}) == {"ssn": "[us_ssn]"}
    assert redacted({"order": "4155550123"}) == {"order": "4155550123"}


def test_the_values_to_protect_are_pointed_at() -> None:
    """Whole values, by JSON Pointers; a name has no room for protection and is replaced."""
    payload = {
        "text": f"it is {CARD}",
        "a/b": [{"to": "a@example.com"}, "nothing"],
        "c@example.com": {"ssn": 123456789},
    }
    looked = looked_into(msgspec.json.encode(payload), Detect(do="protect"))
    stored = json.loads(looked.payload)
    assert set(looked.pointers) == {"/text", "/a~1b/0/to", "/[email]/ssn"}
    assert [jsonvalue.resolve(stored, one) for one in sorted(looked.pointers)] == [
        123456789, "a@example.com", f"it is {CARD}",
    ]  # fmt: skip
    assert looked.counts == {"card": 1, "email": 2, "us_ssn": 1}


def test_kinds_and_confidence_choose() -> None:
    """Only what is asked for counts."""
    payload = msgspec.json.encode({"text": f"{CARD}, a@example.com, 212 555 0187, (212) 555-0187"})
    assert looked_into(payload, Detect(kinds=["email"])).counts == {"email": 1}
    assert looked_into(payload, Detect(least="medium")).counts == {
        "card": 1,
        "email": 1,
        "phone": 1,
    }
    assert looked_into(payload, Detect(least="high")).counts == {"card": 1, "email": 1}


def test_another_detector_can_be_given() -> None:
    """Any function of a text: its kinds are the labels."""

    def names(text: str) -> list[Detected]:
        at = text.find("Ann")
        return [] if at < 0 else [Detected("name", at, at + 3, "low", "it is hers")]

    looked = looked_into(b'{"text":"I am Ann."}', Detect(do="redact", find=names))
    assert (looked.payload, looked.counts) == (b'{"text":"I am [name]."}', {"name": 1})


@pytest.mark.parametrize("odd", [{"do": "hide"}, {"least": "sure"}, {"find": "cards"}])
def test_an_odd_setting_is_refused(odd: dict[str, Any]) -> None:
    """When it is made, and not at the first event."""
    with pytest.raises(UsageError):
        Detect(**odd)


values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text()
    | st.sampled_from([CARD, OTHER, "a@example.com", f'{{"card": {OTHER}}}', f'["{CARD}", 1]']),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(values)
def test_any_payload_is_redacted_to_json_in_which_nothing_is_found(payload: Any) -> None:
    """What is left is JSON of the same form, and looking again finds nothing."""
    text = msgspec.json.encode(payload)
    first = looked_into(text, Detect(do="redact"))
    assert _shape(json.loads(first.payload)) == _shape(json.loads(text))
    assert looked_into(first.payload, Detect(do="redact")) == (first.payload, {}, ())
    assert bool(first.counts) == (first.payload != text)


@given(values)
def test_what_is_pointed_at_is_all_that_is_found(payload: Any) -> None:
    """Without the values that are protected nothing is found any more."""
    looked = looked_into(msgspec.json.encode(payload), Detect(do="protect"))
    stored = json.loads(looked.payload)
    for pointer in looked.pointers:
        *above, last = jsonvalue.parse_pointer(pointer) or ("",)
        parent = jsonvalue.walk([stored] if pointer == "" else stored, above)
        if pointer == "":
            stored = ""
        elif isinstance(parent, list):
            parent[int(last)] = ""
        else:
            parent[last] = ""
    assert looked_into(msgspec.json.encode(stored), Detect()).counts == {}


SAMPLES = [
    "4111-1111-1111-1111",
    "4111\u00a01111\u00a01111\u00a01111",
    "DE89 3704 0044 0532 0130 00",
    "123\u201145\u20116789",
    "030 12345",
    "+4912345678",
    "(212) 555-0187",
    "a@example.com",
    "x 4155550123 y",
]


@given(
    st.sampled_from(["", "phone", "ssn", "a"]),
    st.lists(st.sampled_from(SAMPLES) | st.text("1 -+@.aE0(", max_size=12), max_size=3),
    st.booleans(),
)
def test_what_is_passed_over_at_once_holds_nothing(
    name: str, pieces: list[str], is_ascii: bool
) -> None:
    """A payload in which nothing can be is not taken apart: the same is found as without that."""
    payload = json.dumps({name: " ".join(pieces)}, ensure_ascii=is_ascii).encode()
    slowly = Detect(do="redact", find=lambda text: find_personal(text))
    assert looked_into(payload, Detect(do="redact")) == looked_into(payload, slowly)


def _shape(value: Any) -> Any:
    if isinstance(value, dict):
        return ["object", *map(_shape, value.values())]
    return ["list", *map(_shape, value)] if isinstance(value, list) else "leaf"


def test_the_labels_are_not_found_again() -> None:
    """Or a second pass would count them."""
    assert find_personal("[card] [card 2] [email] [us_ssn 12] [phone] [iban 3]") == []


def test_what_is_packed_is_not_looked_into() -> None:
    """Base64, as of a body that was sent compressed, is text without a form: the page says so."""
    packed = b64encode(f"it is {CARD}, {OTHER}".encode()).decode()
    assert looked_into(msgspec.json.encode({"base64": packed}), Detect()).counts == {}
