"""How far one answer is from another, level by level."""

import json
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from refold.core import jsonvalue, patch
from refold.replay import Action, Call
from refold.replay.actions import Level, arguments_of, compare_actions
from refold.replay.normalising import NOTHING_IGNORED, normal_arguments

WORDS = Action(text="At gate 4.")
LOOKUP = Action(calls=(Call("lookup", '{"id": "B1", "n": 1}', "c1"),))

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


def calls(*names: str, arguments: str = "{}") -> Action:
    return Action(calls=tuple(Call(name, arguments) for name in names))


def image(url: str, text: str = "") -> Action:
    return Action(text=text, parts=({"type": "image_url", "image_url": {"url": url}},))


UNREAD_WORDS = Action(text="x", parts=({"type": "text", "text": "x"}, {"type": "unread words"}))
UNREAD_CALL = Action(parts=({"type": "unread call"},))


@pytest.mark.parametrize(
    ("recorded", "candidate", "level"),
    [
        (WORDS, WORDS, "same"),
        (WORDS, Action(text=" At gate 4.\n"), "same"),
        (WORDS, Action(text="Gate 4."), "words"),
        (LOOKUP, Action(calls=(Call("lookup", '{"n":1.0,"id":"B1"}', "other"),)), "same"),
        (LOOKUP, Action(text="Wait.", calls=LOOKUP.calls), "words"),
        (LOOKUP, Action(calls=(Call("lookup", '{"id": "B2", "n": 1}'),)), "arguments"),
        (LOOKUP, Action(calls=(Call("lookup", '{"id": "B1", "n": true}'),)), "arguments"),
        (LOOKUP, WORDS, "tools"),
        (WORDS, LOOKUP, "tools"),
        (calls("a", "b"), calls("b", "a"), "same"),
        (calls("a"), calls("a", "a"), "tools"),
        (calls("a"), calls("a", arguments=""), "same"),
        (calls("a", arguments="not JSON"), calls("a", arguments="not JSON"), "same"),
        (calls("a", arguments="not JSON"), calls("a"), "arguments"),
        (image("A"), image("A"), "same"),
        (image("A"), image("B"), "words"),
        (image("A", "Here"), Action(text="Here"), "words"),
        (Action(text="Here"), image("A", "Here"), "words"),
        (image("A"), Action(text="[image_url]"), "words"),
        (UNREAD_WORDS, UNREAD_WORDS, "words"),
        (UNREAD_CALL, UNREAD_CALL, "tools"),
        (UNREAD_CALL, Action(text="[unread call]"), "tools"),
    ],
)
def test_the_level_is_the_largest_difference(
    recorded: Action, candidate: Action, level: Level
) -> None:
    """Names and order come before arguments by value, arguments before words; ids never count."""
    assert compare_actions(recorded, candidate).level == level


def test_arguments_are_compared_by_path() -> None:
    """The changes lead from the recorded arguments to the candidate's."""
    other = Action(calls=(Call("lookup", '{"id": "B2", "n": 1, "x": []}'),))
    (pair,) = compare_actions(LOOKUP, other).pairs
    assert [(o.op, o.path) for o in pair.changes] == [("replace", "/id"), ("add", "/x")]
    assert patch.apply({"id": "B1", "n": 1}, pair.changes) == {"id": "B2", "n": 1, "x": []}


def test_calls_without_a_counterpart_are_named_on_their_side() -> None:
    """Matching is by tool and in order, as many as possible."""
    difference = compare_actions(calls("a", "b", "c"), calls("b", "x", "c", "c"))
    assert [pair.recorded.name for pair in difference.pairs] == ["b", "c"]
    assert [call.name for call in difference.only_recorded] == ["a"]
    assert [call.name for call in difference.only_candidate] == ["x", "c"]


def test_thousands_of_calls_are_compared_in_bounded_time() -> None:
    """Past the limit on likeness, those without their like are paired place by place."""
    many = Action(calls=tuple(Call("a", f'{{"n": {n}}}') for n in range(1_500)))
    other = Action(calls=tuple(Call("a", f'{{"n": {n}}}') for n in range(3_000, 1_400, -1)))
    difference = compare_actions(many, Action(calls=(Call("b"), *other.calls)))
    assert len(difference.pairs) == 1_500
    assert sum(not pair.changes for pair in difference.pairs) == 99
    assert len(difference.only_candidate) == 101


@given(json_values)
def test_how_arguments_are_written_does_not_matter(value: Any) -> None:
    """Order of keys, white space and escapes are the writer's business."""
    tight = json.dumps(value, separators=(",", ":"), ensure_ascii=False)
    loose = json.dumps(value, indent=2, sort_keys=True)
    one, other = calls("a", arguments=tight), calls("a", arguments=loose)
    assert compare_actions(one, other).level == "same"


@pytest.mark.parametrize("text", ["", "null", "{}", " "])
def test_no_arguments_are_the_same_however_they_are_written(text: str) -> None:
    """Nothing, null and an empty object all call a tool with no arguments."""
    assert compare_actions(calls("a", arguments=text), calls("a", arguments="{}")).level == "same"


@pytest.mark.parametrize(
    ("one", "other", "level"),
    [
        ("1.000000000000000001", "1.000000000000000002", "arguments"),
        ("9007199254740992.0", "9007199254740993.0", "arguments"),
        ("1e400", "1e401", "arguments"),
        ("1.0", "1", "same"),
        ("1e2", "100.00", "same"),
    ],
)
def test_amounts_are_compared_to_the_last_digit(one: str, other: str, level: str) -> None:
    """By their exact value, not by the float nearest to it."""
    first, second = (calls("bet", arguments=f'{{"stake": {amount}}}') for amount in (one, other))
    assert compare_actions(first, second).level == level


@pytest.mark.parametrize(
    ("one", "other", "level"),
    [("ls", "ls", "same"), ("ls", "pwd", "arguments"), ("1.0", "1", "arguments"),
     ('{"a": 1}', '{"a":1}', "arguments"), ("", "null", "arguments")],
)  # fmt: skip
def test_what_a_custom_tool_is_given_is_text(one: str, other: str, level: str) -> None:
    """Each character of it counts, as it is no JSON."""
    first, second = (Action(calls=(Call("run", text, kind="custom"),)) for text in (one, other))
    assert compare_actions(first, second).level == level


def test_a_custom_tool_is_another_than_a_function_of_its_name() -> None:
    """They take other things, so neither call stands for the other."""
    function, custom = Call("run", "{}"), Call("run", "{}", kind="custom")
    assert compare_actions(Action(calls=(function,)), Action(calls=(custom,))).level == "tools"


def test_a_change_shows_numbers_as_they_are_written() -> None:
    """A float where a float says the same, else a Decimal."""
    one, other = (calls("a", arguments=f"[{number}]") for number in ("1.5", "1.5e-400"))
    (change,) = compare_actions(one, other).pairs[0].changes
    assert (change.before, change.value) == (1.5, Decimal("1.5e-400"))
    assert type(change.before) is float


@given(json_values, json_values)
def test_arguments_differ_exactly_when_there_are_changes(first: Any, second: Any) -> None:
    """No difference goes without a path, and no path without a difference."""
    one, other = calls("a", arguments=json.dumps(first)), calls("a", arguments=json.dumps(second))
    difference = compare_actions(one, other)
    forms = [normal_arguments(call, {}, NOTHING_IGNORED) for call in (*one.calls, *other.calls)]
    alike = jsonvalue.equal(*forms)
    assert (difference.level == "same") == alike == (not difference.pairs[0].changes)


@pytest.mark.parametrize("text", ["{", "NaN", "[" * 5_000, '"\\ud800"', "[" * 300 + "]" * 300])
def test_arguments_that_are_no_usable_json_stand_for_themselves(text: str) -> None:
    """Broken or bottomless text is compared as text, and never raises."""
    assert arguments_of(Call("a", text)) == text
