"""Events, their names and ids, and the registry of their classes."""

from __future__ import annotations

from functools import partial
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from refold.core.event import (
    Event,
    Kind,
    category_of,
    check_name,
    checked_tag,
    event_id,
    parse_event_id,
)
from refold.core.registry import Registry, Upcaster
from refold.errors import InvalidEvent, UnknownEventType, UpcastFailed, UsageError
from tests.support.reloading import reloaded

NAMES = st.text(
    st.characters(exclude_categories=["Cc", "Cs", "Zl", "Zp", "Zs"]), min_size=1, max_size=40
)


@given(NAMES, st.integers(1, 999_999_999))
def test_a_stored_tag_says_which_kind_it_is(type_name: str, schema: int) -> None:
    """Type and schema become one tag and come back from it, for every type that is accepted."""
    try:
        tag = checked_tag(type_name, schema)
    except InvalidEvent:
        assert "v" in type_name  # only a type that itself ends like a schema is refused
        return
    kind = Kind.parse(tag)
    assert kind.tag == tag
    assert Kind.parse(kind.tag) == kind
    if kind.type == type_name:
        assert kind.schema == schema


@pytest.mark.parametrize(
    ("type_name", "schema", "tag"),
    [
        ("user.utterance", 1, "user.utterance"),
        ("user.utterance", 2, "user.utterance.v2"),
        ("user.utterance.v2", 1, "user.utterance.v2"),
        ("user.utterance.v2", 2, "user.utterance.v2"),
        ("user.utterance.v1", 1, "user.utterance"),
        (".v2", 1, ".v2"),
        ("user.v0", 1, "user.v0"),
        ("user.v02", 3, "user.v02.v3"),
        ("übung", 1, "übung"),
    ],
)
def test_a_schema_may_stand_in_the_type_or_beside_it(type_name: str, schema: int, tag: str) -> None:
    """Schema 1 is not written; a number that is no schema belongs to the name."""
    assert checked_tag(type_name, schema) == tag


@pytest.mark.parametrize(
    ("type_name", "schema"),
    [
        ("", 1),
        ("a b", 1),
        ("a\tb", 1),
        ("a\u2028b", 1),
        ("a\x00", 1),
        ("\x7f", 1),
        ("a\ud800", 1),
        ("x" * 129, 1),
        ("é" * 65, 1),
        (None, 1),
        (5, 1),
        (b"bytes", 1),
        ("user.said", 0),
        ("user.said", -1),
        ("user.said", True),
        ("user.said", 1.0),
        ("user.said", "2"),
        ("user.said", 10**9),
        ("user.said.v2", 3),
        ("user.said.v1", 3),
        ("user.said.v2.v1", 1),
        ("user.said.v2.v3", 1),
    ],
)
def test_a_type_that_cannot_be_recorded_is_refused(type_name: Any, schema: Any) -> None:
    """Empty, over 128 bytes, unprintable or not text; no schema, or two that differ.

    Also after the right tag was made: as keys of a cache, 1 and True were once the same.
    """
    assert checked_tag("user.said", 1) == "user.said"
    with pytest.raises(InvalidEvent):
        checked_tag(type_name, schema)


@pytest.mark.parametrize(
    "name", ["", None, 7, "a\nb", "a\x00b", "\x85", "\u2029", "x\ud800", "x" * 256, "é" * 128]
)
def test_a_name_that_cannot_be_recorded_is_refused(name: Any) -> None:
    """Streams and keys are 1 to 255 bytes of printable text."""
    with pytest.raises(InvalidEvent):
        check_name(name, what="a stream name")


@pytest.mark.parametrize(
    "name", ["x" * 255, "é" * 127, " a b ", "call-42~b@7", "日本-1", "a/b%c'\""]
)
def test_any_printable_text_is_a_name(name: str) -> None:
    """Up to 255 bytes, in any script, with any punctuation."""
    check_name(name, what="a stream name")


@pytest.mark.parametrize(
    ("stream", "category"),
    [
        ("call-42", "call"),
        ("call-42-7", "call"),
        ("call", "call"),
        ("-42", ""),
        ("call-42~b", "call~"),
        ("call-42~b~c", "call~"),
        ("call~b", "call~"),
        ("call~b-1", "call~"),
        ("~", "~"),
    ],
)
def test_a_category_is_the_text_before_the_first_hyphen(stream: str, category: str) -> None:
    """A branch is in a category of its own, so that it is not read with what happened."""
    assert category_of(stream) == category


@given(NAMES, st.integers(0, 10**18 - 1))
def test_an_event_id_says_stream_and_version(stream: str, version: int) -> None:
    """Whatever the stream's name, also with an ``@`` in it."""
    assert parse_event_id(event_id(stream, version)) == (stream, version)


@pytest.mark.parametrize(
    "text",
    ["", "call", "call@", "@1", "call@-1", "call@1.0", "call@٣", "call@x", f"a@{10**18}", None],
)
def test_what_is_no_event_id_is_refused(text: Any) -> None:
    """A version is 1 to 18 ASCII digits after the last ``@``."""
    with pytest.raises(UsageError):
        parse_event_id(text)


def test_a_class_states_its_type_and_schema() -> None:
    """The registry gives the kind of an event and of a class, and the class of a kind."""
    registry = Registry()

    @registry.event("money.paid", schema=2)
    class Paid(msgspec.Struct):
        amount: int

    assert registry.kind_of(Paid(1)) == registry.kind_of_class(Paid) == Kind("money.paid", 2)
    assert registry.class_of(Kind("money.paid", 2)) is Paid
    assert registry.kinds() == [Kind("money.paid", 2)]
    assert registry.has_class(Kind("money.paid", 2))
    assert not registry.has_class(Kind("money.paid"))
    with pytest.raises(UnknownEventType) as caught:
        registry.class_of(Kind("money.paid"))
    assert (caught.value.type, caught.value.schema) == ("money.paid", 1)


def test_a_subclass_is_not_its_parents_event() -> None:
    """An event class is registered itself: a subclass would be stored under a name not its own."""
    registry = Registry()

    @registry.event("a.b")
    class Parent(msgspec.Struct):
        pass

    class Child(Parent):
        pass

    for stranger in (Child(), {"a": 1}, "text", Event("a.b"), Parent):
        with pytest.raises(InvalidEvent):
            registry.kind_of(stranger)
    with pytest.raises(UsageError):
        registry.kind_of_class(Child)


def test_two_classes_cannot_share_a_name() -> None:
    """The second is refused, whichever schema is free; each schema has its own class."""
    registry = Registry()

    @registry.event("a.b")
    class First(msgspec.Struct):
        pass

    class Second(msgspec.Struct):
        pass

    with pytest.raises(UsageError) as caught:
        registry.event("a.b")(Second)
    assert caught.value.type == "a.b"
    registry.event("a.b", schema=2)(Second)
    assert registry.class_of(Kind("a.b")) is First
    assert registry.class_of(Kind("a.b", 2)) is Second


def test_a_module_may_be_loaded_again() -> None:
    """The same class defined anew takes its old place: a notebook cell is run more than once."""
    registry = Registry()

    def define() -> type:
        @registry.event("a.b")
        class Said(msgspec.Struct):
            pass

        return Said

    define()
    again = define()
    assert registry.class_of(Kind("a.b")) is again


def noting(schema: int) -> Upcaster:
    """An upcaster that writes down from which schema it was run."""
    return lambda data: {"path": [*data.get("path", []), schema]}


def chained(*schemas: int) -> Registry:
    """A registry with upcasters from these schemas, each to the next."""
    registry = Registry()
    for schema in schemas:
        registry.upcast("a.b", schema=schema)(noting(schema))
    return registry


def test_upcasters_run_one_after_the_other() -> None:
    """From whatever schema an event has, up to the newest that is known."""
    registry = chained(2, 1)
    assert registry.current(Kind("a.b")) == Kind("a.b", 3)
    for start, path in ((1, [1, 2]), (2, [2])):
        assert registry.upcast_data(Kind("a.b", start), {}, event_id="x@0") == {"path": path}
    assert registry.upcast_data(Kind("a.b", 3), {}, event_id="x@0") == {}


@pytest.mark.parametrize(("stored", "missing"), [(1, 3), (3, 3)])
def test_a_gap_in_the_chain_is_an_error(stored: int, missing: int) -> None:
    """It says from which schema no upcaster leads on."""
    with pytest.raises(UpcastFailed) as caught:
        chained(1, 2, 4).upcast_data(Kind("a.b", stored), {}, event_id="x@7")
    assert (caught.value.id, caught.value.type, caught.value.schema) == ("x@7", "a.b", missing)
    whole = chained(1, 2, 4).upcast_data(Kind("a.b", 4), {}, event_id="x@7")
    assert whole == {"path": [4]}


def test_one_function_leads_on_from_a_schema() -> None:
    """A second is refused, and the first stays; the same one of a module loaded again is taken."""
    registry = Registry()
    again = reloaded("cents", lambda data: {"n": 1})
    registry.upcast("a.b", schema=1)(again)
    registry.upcast("a.b", schema=1)(again)
    registry.upcast("a.b", schema=1)(reloaded("cents", lambda data: {"n": 2}))
    refused: list[Any] = [
        lambda: registry.upcast("a.b", schema=1)(reloaded("euros", lambda data: {})),
        lambda: registry.upcast("a.b", schema=1, into=["c"])(lambda data: []),
    ]
    for register in refused:
        with pytest.raises(UsageError) as caught:
            register()
        assert (caught.value.type, caught.value.schema) == ("a.b", 1)
    assert registry.upcast_data(Kind("a.b"), {}, event_id="x@0") == {"n": 2}
    nameless: Any = partial(dict, n=3)
    registry.upcast("c", schema=1)(nameless)
    registry.upcast("c", schema=1)(nameless)
    with pytest.raises(UsageError):
        registry.upcast("c", schema=1)(partial(dict, n=4))


def test_an_upcaster_that_fails_is_the_cause() -> None:
    """Its own error is kept, and the event is named."""
    registry = Registry()

    @registry.upcast("a.b", schema=1)
    def _(data: dict[str, Any]) -> dict[str, Any]:
        return {"x": data["missing"]}

    with pytest.raises(UpcastFailed) as caught:
        registry.upcast_data(Kind("a.b"), {}, event_id="x@7")
    assert caught.value.id == "x@7"
    assert isinstance(caught.value.__cause__, KeyError)


def test_an_upcaster_that_forgets_to_return_is_found() -> None:
    """Changing the payload in place and returning nothing would lose it."""
    registry = Registry()

    @registry.upcast("a.b", schema=1)
    def _(data: dict[str, Any]) -> Any:
        data["x"] = 1

    with pytest.raises(UpcastFailed) as caught:
        registry.upcast_data(Kind("a.b"), {}, event_id="x@7")
    assert caught.value.id == "x@7"


def test_an_event_newer_than_its_class_stays_as_it_is() -> None:
    """Older code that meets a newer schema does not upcast it down."""
    registry = chained(1)
    assert registry.current(Kind("a.b", 9)) == Kind("a.b", 9)
    assert registry.upcast_data(Kind("a.b", 9), {"n": 1}, event_id="x@0") == {"n": 1}
