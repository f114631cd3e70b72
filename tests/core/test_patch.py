"""JSON Patch and JSON Pointer: the RFCs' own examples, another library, and properties."""

from __future__ import annotations

import copy
from decimal import Decimal
from fractions import Fraction
from typing import Any

import jsonpatch
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import UNSET

from refold.core import jsonvalue, patch
from refold.core.patch import Operation
from refold.errors import UsageError

# Few different values, so that two documents drawn apart have much in common.
plain_leaves = (
    st.none()
    | st.booleans()
    | st.integers(-1, 2)
    | st.sampled_from([0.0, 1.0, 0.5, 1e300])
    | st.text("ab/~é", max_size=2)
)
keys = st.text("ab/~0", max_size=2)


def documents_of(leaves: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Small documents with these leaves."""
    return st.recursive(
        leaves,
        lambda inner: st.lists(inner, max_size=6) | st.dictionaries(keys, inner, max_size=4),
        max_leaves=25,
    )


documents = documents_of(plain_leaves | st.sampled_from([Decimal("1.00"), Decimal("0.1")]))
plain_documents = documents_of(plain_leaves)
letters = st.lists(st.sampled_from("abcd"), max_size=9)


class TestDiff:
    @given(documents, documents)
    def test_leads_from_one_document_to_the_other(self, before: Any, after: Any) -> None:
        """Applying the difference gives the second document, types of leaves included."""
        assert shape(patch.apply(before, patch.diff(before, after))) == shape(after)

    @given(documents)
    def test_of_a_document_and_itself_is_empty(self, document: Any) -> None:
        """Nothing differs from an equal copy."""
        assert patch.diff(document, copy.deepcopy(document)) == []

    @given(documents, documents)
    def test_is_empty_only_for_equal_documents(self, before: Any, after: Any) -> None:
        """An empty difference and equality are the same statement."""
        equal = shape(before) == shape(after)
        assert (patch.diff(before, after) == []) == equal
        assert jsonvalue.equal(before, after) == equal

    @given(documents, documents)
    def test_is_understood_by_another_library(self, before: Any, after: Any) -> None:
        """The jsonpatch library reads our operations and reaches the same document."""
        written = [patch.to_json(one) for one in patch.diff(before, after)]
        assert shape(jsonpatch.apply_patch(before, written)) == shape(after)

    @given(documents, documents)
    def test_keeps_what_each_operation_ends(self, before: Any, after: Any) -> None:
        """``before`` is what stood there when the operation's turn came, and only add has none."""
        document = before
        for operation in patch.diff(before, after):
            assert operation.op in ("add", "remove", "replace")
            if operation.op == "add":
                assert "before" not in members_of(operation)
            else:
                assert shape(jsonvalue.resolve(document, operation.path)) == shape(operation.before)
            document = patch.apply(document, [operation])

    @given(letters, letters)
    def test_of_lists_is_never_longer_than_by_longest_common_subsequence(
        self, before: list[str], after: list[str]
    ) -> None:
        """Entries in a longest common subsequence stay; no others take more than one operation."""
        kept = longest_common(before, after)
        count = len(patch.diff(before, after))
        assert max(len(before), len(after)) - kept <= count
        assert count <= len(before) + len(after) - 2 * kept

    @given(st.lists(documents, max_size=8), documents, st.data())
    def test_of_one_inserted_entry_is_one_operation(
        self, before: list[Any], entry: Any, data: st.DataObject
    ) -> None:
        """Inserting anywhere in a list adds; taking it out again removes."""
        place = data.draw(st.integers(0, len(before)))
        after = [*before[:place], entry, *before[place:]]
        assert [operation.op for operation in patch.diff(before, after)] == ["add"]
        assert [operation.op for operation in patch.diff(after, before)] == ["remove"]

    def test_changes_an_entry_in_place(self) -> None:
        """A field of an entry of a list is replaced there, not the entry."""
        before = {"calls": [{"id": 1, "args": {"day": 4}}, {"id": 2}]}
        after = {"calls": [{"id": 1, "args": {"day": 5}}, {"id": 2}]}
        assert patch.diff(before, after) == [
            Operation("replace", "/calls/0/args/day", value=5, before=4)
        ]

    def test_recognises_a_changed_entry_beside_a_removed_one(self) -> None:
        """What is alike is paired before what merely stands at the same place."""
        gone, kept = {"id": 1, "seat": "1A"}, {"id": 2, "seat": "2B", "meal": "none"}
        after = [{**kept, "meal": "vegan"}]
        assert patch.diff([gone, kept], after) == [
            Operation("remove", "/0", before=gone),
            Operation("replace", "/0/meal", value="vegan", before="none"),
        ]

    def test_recognises_a_list_that_grew_beside_a_removed_one(self) -> None:
        """Lists are alike by the entries they share."""
        assert patch.diff([[1, 2], [3, 4]], [[3, 4, 5]]) == [
            Operation("remove", "/0", before=[1, 2]),
            Operation("add", "/0/2", value=5),
        ]

    def test_names_keys_in_their_order(self) -> None:
        """Operations come by key, whatever the order of the dicts."""
        paths = [op.path for op in patch.diff({"c": 1, "a": 1, "k": 1}, {"k": 1, "b": 2, "a": 2})]
        assert paths == ["/a", "/b", "/c"]

    def test_replaces_whole_what_shares_no_key(self) -> None:
        """Two unlike dicts are one replacement; an empty one is filled key by key."""
        assert [op.op for op in patch.diff({"x": {"a": 1, "b": 2}}, {"x": {"c": 3}})] == ["replace"]
        assert patch.diff({"x": {}}, {"x": {"c": 3}}) == [Operation("add", "/x/c", value=3)]

    def test_goes_place_by_place_where_aligning_would_cost_too_much(self) -> None:
        """Above the limit a list moved by one differs at every place, and is still right."""
        side = int(patch.ALIGNMENT_CELLS_MAX**0.5) + 2
        before, after = list(range(side)), [*range(1, side - 1), -1, -2]
        within = patch.diff(before[4:], after[4:])
        beyond = patch.diff(before, after)
        assert len(within) < 10
        assert len(beyond) == side
        assert patch.apply(before, beyond) == after

    def test_shares_one_limit_among_all_lists_of_a_document(self) -> None:
        """Many lists, each within the limit, cannot cost more together than one list may."""
        side = int((patch.ALIGNMENT_CELLS_MAX / 2) ** 0.5)
        moved = {name: [-1, *range(side)] for name in "abc"}
        counts = dict.fromkeys("abc", 0)
        for op in patch.diff({name: [*range(side), -2] for name in "abc"}, moved):
            counts[op.path[1]] += 1
        assert counts["a"] < 4
        assert counts["c"] > side

    def test_takes_a_tuple_for_a_list(self) -> None:
        """A tuple is a JSON array like any other; what comes of it is a list."""
        assert patch.diff({"a": (1, (2, 3))}, {"a": [1, [2, 3]]}) == []
        operations = patch.diff((1, (2,)), (1, (2, 3)))
        assert operations == [Operation("add", "/1/1", value=3)]
        assert patch.apply((1, (2,)), operations) == [1, [2, 3]]


@pytest.mark.parametrize(
    ("first", "second", "same"),
    [
        (1, True, False),
        (0, False, False),
        (0, None, False),
        (1, 1.0, True),
        (1, "1", False),
        (-0.0, 0, True),
        (2**53 + 1, float(2**53), False),
        (Decimal("5.00"), Decimal("5"), True),
        (Decimal("5"), 5, True),
        (Decimal("0.1"), 0.1, False),
        (Decimal("5"), "5", False),
        ([1, 2], [2, 1], False),
        ([[1], 2], [[1, 2]], False),
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}, True),
        ({"a": None}, {}, False),
        ({}, [], False),
        ([True], [1], False),
        ({"a": [1.0]}, {"a": [1]}, True),
    ],
)
def test_equality_is_that_of_json(first: Any, second: Any, same: bool) -> None:
    """Numbers by value, text by characters, arrays in order, objects without (RFC 6902, 4.6)."""
    assert jsonvalue.equal(first, second) is same
    assert (patch.diff(first, second) == []) is same
    if same:
        assert patch.apply(first, [{"op": "test", "path": "", "value": second}]) == first
    else:
        with pytest.raises(UsageError):
            patch.apply(first, [{"op": "test", "path": "", "value": second}])


# The examples of RFC 6902, appendix A: document, patch, and what comes of it. A.11 stands below;
# A.13, one member written twice, is for whoever reads the JSON text.
APPENDIX_A = [
    ("A.1", {"foo": "bar"}, [("add", "/baz", "qux")], {"baz": "qux", "foo": "bar"}),
    ("A.2", {"foo": ["bar", "baz"]}, [("add", "/foo/1", "qux")], {"foo": ["bar", "qux", "baz"]}),
    ("A.3", {"baz": "qux", "foo": "bar"}, [("remove", "/baz")], {"foo": "bar"}),
    ("A.4", {"foo": ["bar", "qux", "baz"]}, [("remove", "/foo/1")], {"foo": ["bar", "baz"]}),
    (
        "A.5",
        {"baz": "qux", "foo": "bar"},
        [("replace", "/baz", "boo")],
        {"baz": "boo", "foo": "bar"},
    ),
    (
        "A.6",
        {"foo": {"bar": "baz", "waldo": "fred"}, "qux": {"corge": "grault"}},
        [("move", "/qux/thud", "/foo/waldo")],
        {"foo": {"bar": "baz"}, "qux": {"corge": "grault", "thud": "fred"}},
    ),
    (
        "A.7",
        {"foo": ["all", "grass", "cows", "eat"]},
        [("move", "/foo/3", "/foo/1")],
        {"foo": ["all", "cows", "eat", "grass"]},
    ),
    (
        "A.8",
        {"baz": "qux", "foo": ["a", 2, "c"]},
        [("test", "/baz", "qux"), ("test", "/foo/1", 2)],
        {"baz": "qux", "foo": ["a", 2, "c"]},
    ),
    ("A.9", {"baz": "qux"}, [("test", "/baz", "bar")], None),
    (
        "A.10",
        {"foo": "bar"},
        [("add", "/child", {"grandchild": {}})],
        {"foo": "bar", "child": {"grandchild": {}}},
    ),
    ("A.12", {"foo": "bar"}, [("add", "/baz/bat", "qux")], None),
    ("A.14", {"/": 9, "~1": 10}, [("test", "/~01", 10)], {"/": 9, "~1": 10}),
    ("A.15", {"/": 9, "~1": 10}, [("test", "/~01", "10")], None),
    (
        "A.16",
        {"foo": ["bar"]},
        [("add", "/foo/-", ["abc", "def"])],
        {"foo": ["bar", ["abc", "def"]]},
    ),
]


@pytest.mark.parametrize(
    ("document", "short", "expected"),
    [example[1:] for example in APPENDIX_A],
    ids=[example[0] for example in APPENDIX_A],
)
def test_examples_of_rfc_6902(document: Any, short: list[tuple[Any, ...]], expected: Any) -> None:
    """Each example of appendix A ends as the RFC says, or fails as it says."""
    operations = [written(*operation) for operation in short]
    if expected is None:
        with pytest.raises(UsageError):
            patch.apply(document, operations)
    else:
        assert patch.apply(document, operations) == expected


class TestApply:
    def test_ignores_members_it_does_not_know(self) -> None:
        """RFC 6902, A.11: an unknown member changes nothing."""
        operation = {"op": "add", "path": "/baz", "value": "qux", "xyz": 123}
        assert patch.apply({"foo": "bar"}, [operation]) == {"foo": "bar", "baz": "qux"}

    @given(plain_documents, plain_documents)
    def test_reads_the_patches_of_another_library(self, before: Any, after: Any) -> None:
        """What the jsonpatch library writes, moves included, does here what it does there."""
        foreign = jsonpatch.make_patch(before, after)
        assert shape(patch.apply(before, foreign.patch)) == shape(foreign.apply(before))

    @pytest.mark.parametrize(
        ("document", "operation", "expected"),
        [
            ({"a": 1}, {"op": "replace", "path": "", "value": [1]}, [1]),
            ({"a": 1}, {"op": "add", "path": "", "value": None}, None),
            ({"a": 1}, {"op": "add", "path": "/a", "value": 2}, {"a": 2}),
            ({"a": 1}, {"op": "add", "path": "/", "value": 2}, {"a": 1, "": 2}),
            ([1], {"op": "add", "path": "/1", "value": 2}, [1, 2]),
            ({}, {"op": "add", "path": "/-", "value": 2}, {"-": 2}),
            ({"1": 1}, {"op": "replace", "path": "/1", "value": 2}, {"1": 2}),
            ([[1]], {"op": "copy", "from": "/0", "path": "/-"}, [[1], [1]]),
            ({"a": 1}, {"op": "copy", "from": "", "path": "/b"}, {"a": 1, "b": {"a": 1}}),
            ({"a": 1}, {"op": "move", "from": "/a", "path": "/a"}, {"a": 1}),
            ({"a": {"b": 1}}, {"op": "move", "from": "/a/b", "path": ""}, 1),
            ({"a": 1, "ab": 2}, {"op": "move", "from": "/a", "path": "/ab"}, {"ab": 1}),
            ({"a": None}, {"op": "test", "path": "/a", "value": None}, {"a": None}),
        ],
    )
    def test_reaches_the_edges(self, document: Any, operation: Any, expected: Any) -> None:
        """The root, the end of a list, odd keys and null are places and values like others."""
        assert patch.apply(document, [operation]) == expected

    @pytest.mark.parametrize(
        ("document", "operation"),
        [
            ({"a": 1}, {"op": "remove", "path": "/b"}),
            ({"a": 1}, {"op": "replace", "path": "/b", "value": 1}),
            ({"a": 1}, {"op": "remove", "path": ""}),
            ({"a": 1}, {"op": "add", "path": "/a/b", "value": 1}),
            ({"a": 1}, {"op": "test", "path": "/b", "value": None}),
            ({"a": "text"}, {"op": "test", "path": "/a/0", "value": "t"}),
            ([1, 2], {"op": "add", "path": "/3", "value": 1}),
            ([1, 2], {"op": "add", "path": "/-1", "value": 1}),
            ([1, 2], {"op": "add", "path": "/01", "value": 1}),
            ([1, 2], {"op": "add", "path": "/1e0", "value": 1}),
            ([1, 2], {"op": "add", "path": "/¹", "value": 1}),
            ([1, 2], {"op": "add", "path": "/" + "9" * 5_000, "value": 1}),
            ([1, 2], {"op": "remove", "path": "/2"}),
            ([1, 2], {"op": "remove", "path": "/-"}),
            ([1, 2], {"op": "replace", "path": "/-", "value": 1}),
            ([1, 2], {"op": "replace", "path": "/ 1", "value": 1}),
            ({"a": {"b": 1}}, {"op": "move", "from": "/a", "path": "/a/b"}),
            ({"a": {"b": 1}}, {"op": "move", "from": "", "path": "/a"}),
            ([[1], [2]], {"op": "move", "from": "/0", "path": "/0/0"}),
            ({"a": 1}, {"op": "move", "from": "/b", "path": "/b"}),
            ({"a": 1}, {"op": "copy", "from": "/b", "path": "/a"}),
            ({"a": 1}, {"op": "copy", "path": "/a"}),
            ({"a": 1}, {"op": "move", "from": None, "path": "/a"}),
            ({"a": 1}, {"op": "add", "path": "/a"}),
            ({"a": 1}, {"op": "test", "path": "/a"}),
            ({"a": 1}, {"op": "add", "path": "a", "value": 1}),
            ({"a": 1}, {"op": "add", "path": "/~2", "value": 1}),
            ({"a": 1}, {"op": "add", "path": "/b", "value": {1, 2}}),
            ({"a": 1}, {"op": "add", "value": 1}),
            ({"a": 1}, {"op": "spam", "path": "/a", "value": 1}),
            ({"a": 1}, {"path": "/a", "value": 1}),
            ({"a": 1}, {"op": ["add"], "path": "/a", "value": 1}),
        ],
    )
    def test_names_the_operation_it_cannot_do(self, document: Any, operation: Any) -> None:
        """The error holds the index, op and path, and the document stays as it was."""
        original = copy.deepcopy(document)
        first = {"op": "test", "path": "", "value": document}
        with pytest.raises(UsageError) as caught:
            patch.apply(document, [first, operation])
        facts = caught.value.facts
        assert facts == {"index": 1, "op": operation.get("op"), "path": operation.get("path")}
        assert document == original

    def test_names_what_is_no_operation(self) -> None:
        """Something else than an object is refused by its index."""
        with pytest.raises(UsageError) as caught:
            patch.apply({}, ["add"])  # type: ignore[list-item]
        assert caught.value.index == 0

    @given(documents, documents)
    def test_changes_and_shares_nothing(self, before: Any, after: Any) -> None:
        """Neither argument changes, not even when the result is changed afterwards."""
        whole = Operation("add", "", value=[before, after])
        operations = [*patch.diff(before, after), whole]
        kept = copy.deepcopy((before, after, operations))
        ruin(patch.apply(before, operations))
        ruin(patch.apply(before, operations[:-1]))
        assert (before, after, operations) == kept

    def test_copies_of_copies_do_not_share(self) -> None:
        """What ``copy`` made is changed on its own."""
        operations = [written("copy", "/b", "/a"), written("add", "/b/-", 1)]
        assert patch.apply({"a": []}, operations) == {"a": [], "b": [1]}

    def test_stops_a_patch_that_doubles_the_document(self) -> None:
        """Sixty copies would make 2**60 values; the patch is refused long before."""
        with pytest.raises(UsageError) as caught:
            patch.apply([1], [written("copy", "/-", "")] * 60)
        assert caught.value.index < 20


class TestDepth:
    def test_two_hundred_levels_are_fine(self) -> None:
        """The deepest allowed documents are compared and patched."""
        before, after = nested(200, leaf=1), nested(200, leaf=2)
        operations = patch.diff(before, after)
        assert [len(jsonvalue.parse_pointer(op.path)) for op in operations] == [200]
        assert patch.apply(before, operations) == after

    @pytest.mark.parametrize("levels", [201, 5_000])
    def test_deeper_is_refused_everywhere(self, levels: int) -> None:
        """One level more is an error of ours, never of recursion."""
        deep: Any = nested(levels, leaf=1)
        calls = (
            lambda: patch.diff(deep, 1),
            lambda: patch.diff(1, deep),
            lambda: jsonvalue.equal(1, deep),
            lambda: patch.apply(deep, []),
            lambda: patch.apply({}, [written("add", "/a", deep[0])]),
            lambda: patch.apply({}, [written("add", "", {}), written("replace", "", deep)]),
            lambda: patch.apply({}, [written("test", "", deep)]),
        )
        for call in calls:
            with pytest.raises(UsageError):
                call()

    def test_a_patch_cannot_dig_deeper(self) -> None:
        """Moving and copying into the depth counts the depth of the place."""
        document = {"place": nested(199, leaf=[]), "value": [[]]}
        bottom = "/place" + "/0/a" * 99 + "/0"
        for op in ("move", "copy"):
            with pytest.raises(UsageError):
                patch.apply(document, [written(op, bottom + "/-", "/value")])

    def test_a_list_that_holds_itself_is_refused(self) -> None:
        """A cycle is only very deep."""
        endless: list[Any] = []
        endless.append(endless)
        with pytest.raises(UsageError):
            patch.diff(endless, endless)


@pytest.mark.parametrize(
    ("value", "where"),
    [
        ({"a": [0, {"b": {1, 2}}]}, "/a/1/b"),
        (b"bytes", ""),
        ({"a/b": {1: 2}}, "/a~1b"),
        ([object()], "/0"),
    ],
)
def test_what_is_not_json_is_refused_by_its_place(value: Any, where: str) -> None:
    """A set, bytes, a key that is not text or an object is named by its pointer."""
    with pytest.raises(UsageError) as caught:
        patch.diff(value, None)
    assert caught.value.pointer == where


# The document of RFC 6901, section 5.
RFC_6901_DOCUMENT = {
    "foo": ["bar", "baz"],
    "": 0,
    "a/b": 1,
    "c%d": 2,
    "e^f": 3,
    "g|h": 4,
    "i\\j": 5,
    'k"l': 6,
    " ": 7,
    "m~n": 8,
}


class TestPointer:
    @pytest.mark.parametrize(
        ("text", "parts", "value"),
        [
            ("", (), RFC_6901_DOCUMENT),
            ("/foo", ("foo",), ["bar", "baz"]),
            ("/foo/0", ("foo", "0"), "bar"),
            ("/", ("",), 0),
            ("/a~1b", ("a/b",), 1),
            ("/c%d", ("c%d",), 2),
            ("/e^f", ("e^f",), 3),
            ("/g|h", ("g|h",), 4),
            ("/i\\j", ("i\\j",), 5),
            ('/k"l', ('k"l',), 6),
            ("/ ", (" ",), 7),
            ("/m~0n", ("m~n",), 8),
        ],
    )
    def test_examples_of_rfc_6901(self, text: str, parts: tuple[str, ...], value: Any) -> None:
        """Each example of section 5 is read, written and resolved as the RFC says."""
        assert jsonvalue.parse_pointer(text) == parts
        assert jsonvalue.pointer(parts) == text
        assert jsonvalue.resolve(RFC_6901_DOCUMENT, text) == value

    @given(st.lists(st.text("a/~01")))
    def test_what_is_written_is_read_back(self, parts: list[str]) -> None:
        """Escaping loses nothing, whatever the keys."""
        assert jsonvalue.parse_pointer(jsonvalue.pointer(parts)) == tuple(parts)

    def test_indexes_may_be_numbers(self) -> None:
        """A path made of keys and indexes needs no conversion."""
        assert jsonvalue.pointer(["a", 0, "b"]) == "/a/0/b"

    @pytest.mark.parametrize("text", ["a", "#/a", "/~", "/~2", "/a~", "/~~0", None, 3])
    def test_what_is_no_pointer_is_refused(self, text: Any) -> None:
        """No leading slash, a tilde that escapes nothing, or no text at all."""
        with pytest.raises(UsageError) as caught:
            jsonvalue.parse_pointer(text)
        assert caught.value.pointer == text

    @pytest.mark.parametrize("text", ["/b", "/foo/2", "/foo/-", "/foo/00", "/foo/0/b", "foo"])
    def test_what_leads_nowhere_is_refused(self, text: str) -> None:
        """A pointer to nothing is an error that names it."""
        with pytest.raises(UsageError) as caught:
            jsonvalue.resolve(RFC_6901_DOCUMENT, text)
        assert caught.value.pointer == text


def test_operations_are_written_as_the_rfc_says() -> None:
    """Members in the RFC's names; ``before`` stays with us; null is a value."""
    operations = [
        Operation("replace", "/a", value=None, before=1),
        Operation("remove", "/b", before=2),
        Operation("move", "/c", from_="/d"),
    ]
    assert [patch.to_json(one) for one in operations] == [
        {"op": "replace", "path": "/a", "value": None},
        {"op": "remove", "path": "/b"},
        {"op": "move", "from": "/d", "path": "/c"},
    ]


def shape(value: Any) -> Any:
    """The JSON meaning of a value in a form that Python compares by type."""
    match value:
        case bool() | str() | None:
            return (type(value).__name__, value)
        case dict():
            return ("dict", {key: shape(item) for key, item in value.items()})
        case list() | tuple():
            return ("list", [shape(item) for item in value])
    return ("number", Fraction(value))


def members_of(operation: Operation) -> set[str]:
    """The members that are set."""
    names = ("value", "from_", "before")
    return {name for name in names if getattr(operation, name) is not UNSET}


def written(op: str, path: str, third: Any = None) -> dict[str, Any]:
    """An RFC 6902 object; ``third`` is its value or where it takes it from."""
    name = "from" if op in ("move", "copy") else "value"
    return {"op": op, "path": path, name: third}


def longest_common(first: list[str], second: list[str]) -> int:
    """The length of a longest common subsequence, straight from its recursive definition."""
    lengths = {(-1, -1): 0}
    for i in range(-1, len(first)):
        for j in range(-1, len(second)):
            if i < 0 or j < 0:
                lengths[i, j] = 0
            elif first[i] == second[j]:
                lengths[i, j] = lengths[i - 1, j - 1] + 1
            else:
                lengths[i, j] = max(lengths[i - 1, j], lengths[i, j - 1])
    return lengths[len(first) - 1, len(second) - 1]


def nested(levels: int, *, leaf: Any) -> Any:
    """A list in a dict in a list …, ``levels`` deep, outermost a list."""
    value = leaf
    for level in reversed(range(levels)):
        value = [value] if level % 2 == 0 else {"a": value}
    return value


def ruin(value: Any) -> None:
    """Empty every list and dict of a value."""
    if isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            ruin(item)
        value.clear()
