"""The elements of a JSON array, whole files and damaged ones."""

import json
from collections.abc import Callable
from io import BytesIO
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from refold.conversation.importers import json_array
from refold.conversation.importers.json_array import Value, elements


def scanned(text: bytes) -> list[Value]:
    return list(elements(BytesIO(text).read))


def trickling(text: bytes, size_bytes: int) -> Callable[[int], bytes]:
    """A reader that gives a few bytes at a time, whatever it is asked for."""
    stream = BytesIO(text)
    return lambda _: stream.read(size_bytes)


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=8,
)


@given(st.lists(values, max_size=5), st.sampled_from([None, 0, 2]), st.integers(1, 7))
def test_every_element_comes_whole(array: list[Any], indent: int | None, size_bytes: int) -> None:
    """Any array, however laid out and however it arrives, gives its elements, in order."""
    text = json.dumps(array, indent=indent).encode()
    found = list(elements(trickling(text, size_bytes)))
    assert [json.loads(element.raw) for element in found] == array
    assert [element.number for element in found] == list(range(1, len(array) + 1))


def test_an_element_knows_its_line() -> None:
    """The line is that on which an element begins."""
    assert [e.line for e in scanned(b'\n[\n  {"a": 1},\n\n {"a":\n 2}, {"a": 3}\n]')] == [3, 5, 6]


def test_lines_stay_right_in_a_long_file(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was read and forgotten is still counted."""
    monkeypatch.setattr(json_array, "CHUNK_BYTES", 64)
    text = json.dumps([{"a": "x" * 30} for _ in range(50)], indent=1).encode()
    assert [e.line for e in scanned(text)] == list(range(2, 152, 3))


WHOLE = [{"id": n, "b": {"c": [n, "x, {y}"], "d": 'say "hi"'}} for n in range(5)]


@pytest.mark.parametrize("indent", [None, 2])
def test_a_lost_byte_costs_no_more_than_its_element(indent: int | None) -> None:
    """Whichever byte of an element is lost, the other elements are all there."""
    text = json.dumps(WHOLE, indent=indent).encode()
    others = [json.dumps(WHOLE[n]) for n in (0, 1, 3, 4)]
    start = text.index(b'{"id": 2' if indent is None else b'{\n    "id": 2')
    end = text.index(b"}}" if indent is None else b"}\n  }", start)
    for lost in range(start, end + 2):
        found = scanned(text[:lost] + text[lost + 1 :])
        whole = [json.dumps(json.loads(e.raw)) for e in found if not e.error]
        assert [raw for raw in whole if raw in others] == others, lost


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text.replace(b'"id": 2', b'"id": "2'),
        lambda text: text.replace(b'"id": 2', b'"id": }'),
        lambda text: text.replace(b'"id": 2', b'"id": [2'),
        lambda text: text.replace(b'"id": 2', b'"id": 2}}}'),
        lambda text: text.replace(b'"id": 2', b'"id": 2]]'),
        lambda text: text.replace(b'"id": 2,', b'"id": 2 2,'),
        lambda text: text.replace(b'"id": 2', b'"id": nul'),
    ],
)
@pytest.mark.parametrize("indent", [None, 2])
def test_damage_is_found_on_its_line(indent: int | None, damage: Callable[[bytes], bytes]) -> None:
    """A damaged element is told with its line, and the elements after it are whole."""
    text = json.dumps(WHOLE, indent=indent).encode()
    line = text[: text.index(b'"id": 2')].count(b"\n") + (0 if indent else 1)
    found = scanned(damage(text))
    assert found[2].error
    assert found[2].line == line
    assert [json.loads(e.raw) for e in found if not e.error] == [*WHOLE[:2], *WHOLE[3:]]


def test_a_file_cut_short_keeps_what_is_whole() -> None:
    """The elements before the cut come, the one it goes through is broken."""
    text = json.dumps(WHOLE).encode()
    found = scanned(text[: text.index(b'"id": 3')])
    assert [bool(e.error) for e in found] == [False, False, False, True]


@pytest.mark.parametrize("text", [b"", b"{}", b'{"a": [1]}', b"nonsense", b"12", b'"a"'])
def test_what_is_not_an_array_is_refused(text: bytes) -> None:
    """An object, a number or no JSON at all is not taken for an empty array."""
    [found] = scanned(text)
    assert "array" in found.error


@pytest.mark.parametrize("text", [b"[]", b" [ \n ] "])
def test_an_empty_array_has_no_elements(text: bytes) -> None:
    """Nothing between the brackets is nothing, not a broken element."""
    assert scanned(text) == []


def test_text_after_the_array_is_told() -> None:
    """What follows the closing bracket is reported and what came before is kept."""
    found = scanned(b'[{"a": 1}] tail')
    assert [(e.raw, bool(e.error)) for e in found] == [(b'{"a": 1}', False), (b"", True)]


@pytest.mark.parametrize("text", [b"[1,,2]", b"[1,2,]"])
def test_an_empty_place_is_broken(text: bytes) -> None:
    """Two commas, or one before the end, do not count as an element."""
    assert any(e.error for e in scanned(text))


def test_broken_elements_are_bounded() -> None:
    """A file of nothing but broken elements is given up after 1,000 of them."""
    found = scanned(b"[" + b'{"a": },' * 3000 + b"1]")
    assert len(found) == json_array.BROKEN_MAX
    assert "nothing after it is read" in found[-1].error
    assert "nothing after it is read" not in found[-2].error


def test_an_element_over_the_limit_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """An element is held in memory, so its size has a bound; the next one is read."""
    monkeypatch.setattr(json_array, "VALUE_BYTES_MAX", 500)
    monkeypatch.setattr(json_array, "CHUNK_BYTES", 100)
    text = json.dumps([{"a": 1}, {"a": "x" * 900}, {"a": 2}]).encode()
    assert [bool(e.error) for e in scanned(text)] == [False, True, False]


@pytest.mark.parametrize(
    ("text", "place"),
    [
        (b'[{"a": 1},\n {"b" 2}]', "line 2, column 7"),
        (b'[{"a": 1}, {"b" 2}]', "line 1, column 17"),
        (b'[{"a": "\xc3\xa9"}, {"b" 2}]', "line 1, column 19"),
        (b'[{"a": 1} {"a": 2}]', "line 1, column 11"),
        (b'[{"a": 1,\n"b": tru}]', "line 2, column 6"),
    ],
)
def test_what_is_broken_is_told_with_its_place(text: bytes, place: str) -> None:
    """By line and column of the file, in characters."""
    errors = [one.error for one in scanned(text) if one.error]
    assert errors[0].startswith(f"not JSON: {place}: ")


def test_an_element_that_reads_wrong_is_told_with_its_place() -> None:
    """Its own column counts from where it begins."""
    value = scanned(b'[{"a": 1}, {"a": NaN}]')[1]
    assert value.column == 12
    with pytest.raises(ValueError, match="NaN is no JSON number"):
        value.read()


@given(st.lists(values, min_size=1, max_size=5), st.integers(1, 40))
def test_elements_that_begin_alike_come_as_they_are(array: list[Any], size_bytes: int) -> None:
    """Wherever a beginning comes again: inside an element, in a text, cut by what is read."""
    held = [{"id": one, "in": [{"id": one}], "text": '{"id": '} for one in array]
    text = json.dumps(held).encode()
    assert [json.loads(one.raw) for one in elements(trickling(text, size_bytes))] == held
