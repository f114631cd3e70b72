"""Passages of text are found again wherever they are repeated, and nothing else is."""

import json
from hashlib import sha256
from itertools import pairwise
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from refold.privacy.passages import Passage, apply, edits, of_span, of_value

SECRET = "Zoë Quux’s card is 4242"
TEXTS = st.text(st.characters(codec="utf-8"), max_size=12)
SECRETS = TEXTS.map(lambda said: f"Qx7 {said} 7xQ").filter(lambda said: len(said) > 11)
BESIDE = st.sampled_from(
    ["", "hello ", 'say "', "C:\\new\\", "\\", "line\n", "\\u00e9 ", "{", '["']
)


def without(text: str, passages: list[Passage], **how: Any) -> str:
    """A text after the edits."""
    return apply(text, edits(text, passages, **how))


def nested(value: Any, wrappings: list[tuple[bool, str]]) -> str:
    """A JSON text, put into a member of another as a string, as often as is said.

    Each time with non-ASCII characters escaped or not.
    """
    text = json.dumps(value, ensure_ascii=wrappings[0][0])
    for is_ascii, name in wrappings[1:]:
        wrapped = {"before": "x", name: text, "after": [1, "y"]}
        text = json.dumps(wrapped, ensure_ascii=is_ascii, separators=(",", ":"))
    return text


@given(
    secret=SECRETS,
    before=BESIDE,
    after=BESIDE,
    wrappings=st.lists(
        st.tuples(st.booleans(), st.sampled_from(["content", "arguments"])), min_size=1, max_size=4
    ),
)
def test_a_text_goes_at_any_depth_of_escapes(
    secret: str, before: str, after: str, wrappings: list[tuple[bool, str]]
) -> None:
    """JSON in strings, escaped any number of times by any writer: all else stays to the byte."""
    said = nested({"role": "user", "content": f"{before}{secret.strip()}{after}"}, wrappings)
    due = nested({"role": "user", "content": f"{before}[redacted]{after}"}, wrappings)
    assert without(said, of_value(secret)) == due


@given(
    value=st.dictionaries(
        st.sampled_from(["name", "phone", "note", "amount"]),
        st.sampled_from(["Ann Example", "555-0100", 'said "no"', 20, None, True, 1.5]),
        min_size=1,
    ),
    wrappings=st.lists(st.tuples(st.booleans(), st.just("parsed")), min_size=1, max_size=3),
    is_compact=st.booleans(),
)
def test_an_object_goes_as_a_value_and_as_text(
    value: dict[str, Any], wrappings: list[tuple[bool, str]], is_compact: bool
) -> None:
    """What stands in its place is JSON again, at each level that was JSON."""
    separators = (",", ":") if is_compact else (", ", ": ")
    text = json.dumps(value, separators=separators, ensure_ascii=False)
    for is_ascii, name in wrappings:
        inner = text if wrappings[0][0] else json.dumps(text, ensure_ascii=is_ascii)
        text = f'{{"{name}":{inner},"z":1}}'
    found: Any = without(text, of_value(value))
    for _ in wrappings:
        found = (json.loads(found) if isinstance(found, str) else found)["parsed"]
    assert found == "[redacted]"


@pytest.mark.parametrize(
    ("said", "passages", "due"),
    [
        ('{"a":"yes","b":"yes sir"}', of_value("yes"), '{"a":"[redacted]","b":"yes sir"}'),
        ('{"yes":1,"a":["yes"]}', of_value("yes"), '{"yes":1,"a":["[redacted]"]}'),
        ('["Ann, Anne, ann, Ann."]', of_span("Ann"), '["[redacted], Anne, ann, [redacted]."]'),
        ('[123456,"123456!",1234567]', of_value(123456), '["[redacted]","[redacted]!",1234567]'),
        ('{"count":20}', of_value(20), '{"count":20}'),
        ('{"text":"a b","role":"user"}', of_value(""), '{"text":"a b","role":"user"}'),
        ('["C:\\\\nina","nina"]', of_span("nina"), '["C:\\\\[redacted]","[redacted]"]'),
        ('{"text":"one\\newer two"}', of_span("newer"), '{"text":"one\\newer two"}'),
    ],
)  # fmt: skip
def test_a_short_passage_must_be_a_word_or_a_value(
    said: str, passages: list[Passage], due: str
) -> None:
    """What many say by chance goes only where it is that, by itself."""
    assert without(said, passages) == due


def test_terms_of_a_format_stay() -> None:
    """Of an object that goes, its texts go elsewhere too, but no roles and states."""
    passages = of_value({"role": "assistant", "state": "completed", "name": "Ann Example"})
    said = '{"role":"assistant","state":"completed","said":"to Ann Example: yes"}'
    assert without(said, passages) == said.replace("Ann Example", "[redacted]")


def test_the_digest_of_a_text_goes_with_it() -> None:
    """Who has a hash without salt can try all phone numbers."""
    digest = sha256(SECRET.encode()).hexdigest()
    assert without(f'{{"hash":"{digest}"}}', of_value(SECRET)) == '{"hash":"[redacted]"}'


@given(cuts=st.sets(st.integers(1, len(SECRET) - 1), min_size=1))
def test_a_text_split_over_deltas_goes(cuts: set[int]) -> None:
    """A streamed answer holds it token by token; what stands around the tokens stays."""
    places = [0, *sorted(cuts), len(SECRET)]
    tokens = ["Well: ", *(SECRET[low:high] for low, high in pairwise(places)), " Bye."]
    lines = [json.dumps({"id": "m1", "delta": {"content": token}}) for token in tokens]
    said = "".join(f"event: delta\ndata: {line}\n\n" for line in lines)
    found = without(said, of_span(SECRET), is_json=False)
    left = [json.loads(line[6:]) for line in found.split("\n") if line.startswith("data: ")]
    told = [one["delta"]["content"] for one in left]
    assert (told[0], told[-1], {one["id"] for one in left}) == ("Well: ", " Bye.", {"m1"})
    assert set(told[1:-1]) <= {"[redacted]", " "}


def test_the_words_of_a_transcript_go() -> None:
    """Each word of a spoken number stands by itself beside the text."""
    words = [
        {"text": one, "start_ms": at} for at, one in enumerate(["it", "is", "555", "0100", "okay"])
    ]
    said = json.dumps({"text": "it is 555 0100 okay", "words": words})
    found = json.loads(without(said, of_span("555 0100")))
    assert found["text"] == "it is [redacted] okay"
    assert [one["text"] for one in found["words"]] == [
        "it", "is", "[redacted]", "[redacted]", "okay",
    ]  # fmt: skip


def test_what_was_heard_of_a_turn_goes_with_it() -> None:
    """The played part of an utterance is a part of its text."""
    passages = of_value("Your number is 555 0100, is that right?")
    said = '{"played":"Your number is 555 01","reason":"barge in"}'
    assert without(said, passages) == '{"played":"[redacted]","reason":"barge in"}'


@given(text=st.text(max_size=60), passage=st.text(min_size=1, max_size=5))
def test_any_json_is_json_afterwards(text: str, passage: str) -> None:
    """Whatever is sought, a payload can be read, and a second time nothing is found."""
    payload = msgspec.json.encode({"a": [text, {"b": text}], passage: len(text)}).decode()
    passages = [*of_span(passage), *of_value(text), *of_value({"b": text})]
    found = without(payload, passages)
    msgspec.json.decode(found)
    assert (
        without(found, passages) == found
        or "[redacted]" in f"{text}{passage}"
        or any(one.text in "[redacted]" for one in passages)
    )
