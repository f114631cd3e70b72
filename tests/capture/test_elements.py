"""Requests in linear space: whatever the bytes, they come back, and no element is kept twice."""

import hashlib
import json
import random
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from refold.capture import elements
from refold.capture.elements import (
    ELEMENT_BYTES_MIN,
    RECENT_MAX,
    KnownElements,
    answer_bytes,
    answer_kept,
    digest_of,
    elements_of,
    encode_form,
    joined,
    read_form,
    taken_apart,
)
from refold.capture.events import WireRequest
from refold.core.payload import encode_payload
from refold.errors import Corrupt

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)
LISTS = st.dictionaries(
    st.sampled_from(["messages", "tools", "input", "system", "metadata"]),
    st.lists(VALUES | st.sampled_from([{"role": "user", "content": "x" * 80}, "y" * 80])) | VALUES,
)
INDENTS = st.sampled_from([None, 0, 2, "\t"])


class Stream:
    """The requests of one stream, as they are kept."""

    def __init__(self) -> None:
        self.known = KnownElements()
        self.stored: list[bytes] = []

    def keep(self, body: bytes) -> WireRequest:
        """Keep one more request; its form."""
        form = taken_apart(body, self.known)
        self.stored.append(encode_form(form))
        encode_payload(form)
        self.known.learn(len(self.stored) - 1, form)
        return form

    def restart(self) -> None:
        """Know only what the stored forms say, as a new process does."""
        self.known = KnownElements()
        for version in range(len(self.stored)):
            self.known.learn(version, self.form_at(version))

    def form_at(self, version: int) -> WireRequest:
        """The form that was stored."""
        return read_form(self.stored[version])

    def body_at(self, version: int) -> bytes:
        """The bytes of a request, from what was stored alone."""
        return joined(self.form_at(version), elements_of(version, self.form_at))


def kept_and_back(bodies: Sequence[bytes]) -> Stream:
    stream = Stream()
    for body in bodies:
        assert stream.keep(body).hash == hashlib.sha256(body).hexdigest()
    assert [stream.body_at(version) for version in range(len(bodies))] == list(bodies)
    return stream


@given(st.lists(st.binary(max_size=200), max_size=4))
def test_any_bytes_come_back(bodies: list[bytes]) -> None:
    """What is no JSON is kept whole, in text or base64."""
    kept_and_back(bodies)


@given(st.lists(st.tuples(LISTS | VALUES, INDENTS, st.booleans()), max_size=5))
def test_any_json_comes_back(values: list[tuple[Any, Any, bool]]) -> None:
    """In whatever white space and escapes it was written."""
    kept_and_back(
        [
            json.dumps(value, indent=indent, ensure_ascii=plain).encode("utf-8", "surrogatepass")
            for value, indent, plain in values
        ]
    )


@given(st.data())
def test_json_with_a_byte_changed_comes_back(data: st.DataObject) -> None:
    """Broken JSON is no exception."""
    body = bytearray(json.dumps(data.draw(LISTS)).encode())
    at = data.draw(st.integers(0, len(body) - 1))
    body[at] = data.draw(st.integers(0, 255))
    kept_and_back([bytes(body), bytes(body)])


LONG = b'"' + b"z" * ELEMENT_BYTES_MIN + b'"'
ODD = {
    "the same key twice": b'{"a":%b,"b":%b,"a":"%b"}' % (LONG, LONG[:-1] + b'x"', b"w" * 99),
    "white space everywhere": b' {\n"messages" :\t[ %b , %b\r\n] } \n' % (LONG, LONG),
    "a lone surrogate": b'{"messages":[%b,"\\ud800"]}' % LONG,
    "a number out of range": b'{"messages":[%b,1e999]}' % LONG,
    "a great whole number": b'{"messages":[%b,%b]}' % (LONG, b"9" * 400),
    "no number of JSON": b'{"messages":[%b,NaN]}' % LONG,
    "the word NaN and a null": b'{"messages":[%b,"NaN null Infinity",null]}' % LONG,
    "a mark at the start": b'\xef\xbb\xbf{"messages":[%b]}' % LONG,
    "no UTF-8 inside": b'{"messages":[%b,"\xff"]}' % LONG,
    "an array": b"[%b,%b]" % (LONG, LONG),
    "nothing": b"",
    "zeros": b"\0\0",
    "nested without end": b'{"messages":[%b%b]}' % (b"[" * 2_000, b"]" * 2_000),
    "nested deeper than an event may": b'{"messages":[%b1%b,%b]}' % (b"[" * 127, b"]" * 127, LONG),
    "an element inside another": b'{"a":["%b","b"],"b":["b","%b"]}' % (b"b" * 70, b"b" * 70),
}


@pytest.mark.parametrize("body", ODD.values(), ids=ODD)
def test_odd_requests_come_back(body: bytes) -> None:
    """Each, and once more when all of it was seen."""
    kept_and_back([body, body])


def messages(count: int) -> list[dict[str, str]]:
    return [{"role": "user", "content": f"message {n} " + "m" * 90} for n in range(count)]


def new_of(stream: Stream) -> list[int]:
    return [len(read_form(raw).new) for raw in stream.stored]


def test_elements_of_any_earlier_request_are_not_kept_again() -> None:
    """Two that take turns do not make each other's elements new."""
    mine, other = (
        messages(9),
        [{"role": "user", "content": f"other {n} " + "o" * 90} for n in "xyz"],
    )
    bodies = [json.dumps({"messages": mine[:n]}).encode() for n in range(1, 10)]
    between = json.dumps({"messages": other}).encode()
    stream = kept_and_back([one for body in bodies for one in (body, between)])
    assert new_of(stream) == [1, 3] + [1, 0] * 8
    assert all(len(stream.form_at(version).runs) <= 2 for version in range(18))


def test_words_said_again_and_again_do_not_break_the_runs() -> None:
    """The many elements that are the same cost no run each."""
    same = {"role": "user", "content": "yes"}
    said = [each for n in range(60) for each in (messages(60)[n], same)]
    stream = kept_and_back([json.dumps({"messages": said[: 2 * n]}).encode() for n in range(1, 61)])
    assert sum(new_of(stream)) == 61
    assert max(len(stream.form_at(version).runs) for version in range(60)) <= 4


def test_after_a_restart_nothing_is_kept_again() -> None:
    """What is known of the elements is made again from what is stored."""
    stream = Stream()
    for count in range(1, 30):
        if count % 7 == 0:
            stream.restart()
        stream.keep(json.dumps({"messages": messages(count), "tools": messages(3)}).encode())
    assert sum(new_of(stream)) == 29


def test_the_elements_that_come_first_are_forgotten_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever their digests: every process that reads a stream knows the same of it."""
    monkeypatch.setattr(elements, "KNOWN_MAX", 4)
    known = KnownElements()
    known.take(1, [digest_of(bytes([n])) for n in range(40)])
    for version in range(2, 2 + RECENT_MAX):
        known.take(version, [])
    runs = [known.run([digest_of(bytes([n]))], 0) for n in range(40)]
    assert runs == [None] * 36 + [[n, 1, 1] for n in range(36, 40)]


def clocked(turns: int) -> Iterator[bytes]:
    """The workload: a usual agent with 14 tools, the clock in its prompt."""
    rng = random.Random(3)
    words = [f"w{n}" for n in range(3_000)]

    def text(count: int) -> str:
        return " ".join(rng.choice(words) for _ in range(count))

    function = {"type": "object"}
    tools = [
        {"type": "function", "function": {"name": f"t{n}", "description": text(20), "p": function}}
        for n in range(14)
    ]
    policy, said = text(700), [{"role": "system", "content": ""}]
    for turn in range(turns):
        said[0] = {"role": "system", "content": f"It is {turn // 60:02}:{turn % 60:02}. {policy}"}
        said.append({"role": "user", "content": text(30)})
        yield json.dumps({"messages": said, "model": "m", "tools": tools}).encode()
        said.append({"role": "assistant", "content": text(40)})


def test_a_thousand_turns_take_little_more_than_their_new_elements() -> None:
    """At most 1.1 times the bytes of elements that the stream had not seen, and all come back."""
    stream, seen, hashes = Stream(), dict[str, int](), []
    for body in clocked(1_000):
        stream.keep(body)
        hashes.append(hashlib.sha256(body).hexdigest())
        request = json.loads(body)
        for element in (request["messages"][0], *request["messages"][-2:], *request["tools"]):
            text = json.dumps(element)
            seen[text] = len(text)
    assert sum(map(len, stream.stored)) <= 1.1 * sum(seen.values())
    whole: dict[int, list[bytes]] = {}
    for version, expected in enumerate(hashes):
        whole = {version: elements_of(version, stream.form_at, whole)}
        body = joined(stream.form_at(version), whole[version])
        assert hashlib.sha256(body).hexdigest() == expected


@pytest.mark.parametrize(
    "form",
    [
        WireRequest(runs=[[0, 1, 1]], gaps=[("", 2)]),
        WireRequest(runs=[[0, 1, 2]], gaps=[("", 2)]),
        WireRequest(runs=[[5, 1, 0]], gaps=[("", 2)]),
        WireRequest(runs=[[5, 1]], gaps=[("", 2)]),
        WireRequest(runs=[[0, 10**12, 0]], gaps=[("", 2)]),
    ],
)
def test_a_run_that_leads_nowhere_is_told(form: WireRequest) -> None:
    """As it may in a store that was changed by hand; it takes no time to find out."""
    forms = [WireRequest(runs=[[0, 1]], new=[], gaps=[("", 2)]), form]
    stored = [encode_form(one) for one in forms]
    with pytest.raises(Corrupt):
        elements_of(1, lambda version: read_form(stored[version]))


@given(st.lists(st.binary(max_size=20) | st.text(max_size=20).map(str.encode), max_size=6))
def test_answers_in_any_pieces_come_back(pieces: list[bytes]) -> None:
    """Each piece by itself, text or not."""
    assert [answer_bytes(answer_kept(piece)) for piece in pieces] == pieces


@given(st.text(alphabet="aé漢🎈", max_size=12), st.data())
def test_a_text_cut_anywhere_stays_text(text: str, data: st.DataObject) -> None:
    """Only the character that was cut in two is not readable."""
    raw = text.encode()
    cut = data.draw(st.integers(0, len(raw)))
    kept = [answer_kept(raw[:cut]), answer_kept(raw[cut:])]
    assert b"".join(map(answer_bytes, kept)) == raw
    assert len("".join(one.text for one in kept)) >= len(text) - 1
