"""Two conversations side by side: what is equal, what differs, and that no difference is hidden."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any
from urllib.parse import quote

import httpx2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import refold
from refold.conversation.events import (
    AgentUtterance,
    ModelResponse,
    SessionEnded,
    StatePatched,
    ToolCall,
    ToolResult,
    Usage,
    UserUtterance,
)
from refold.conversation.governance import EffectCommitted, RedactionApplied
from refold.errors import NotFound, UsageError
from refold.replay import Action, Call, ChatRequest, Variant, branch_name, replay
from refold.replay.report import render
from refold.ui.compare import ROWS_A_PAGE, Compared, Gap, compared, without_shared
from tests.replay.pages import Page
from tests.replay.stories import CONFIGURED, asks_tool, opening, record, tells
from tests.replay.test_report import HOSTILE, hostile_store
from tests.ui.reading import page
from tests.ui.serving import served

VARIANT = Variant(prompt="Be brief.", label="brief")
REPLAYED = branch_name("call-1", VARIANT)
NAMES = st.sampled_from(["a", "b", "to"])


def quick(examples: int) -> settings:
    return settings(max_examples=examples, deadline=None)


def other_answer(request: ChatRequest) -> Action:
    """Another argument for the tool, the same words as were recorded afterwards."""
    if request.messages[-1]["role"] == "user":
        return Action(calls=(Call("lookup", '{"id": "B2"}'),), usage=Usage(input_tokens=9))
    return Action(text="At gate 4.", usage=Usage(input_tokens=9))


@pytest.fixture(scope="module")
def store() -> Iterator[refold.Store]:
    with refold.open("memory:") as made:
        for number in range(1, 4):
            record(made, f"call-{number}")
        other = made.branch("call-2", at=4).adding(
            AgentUtterance(text="At gate 5.", message_id="b")
        )
        made.save_branch(other, "call-2~other")
        replay(made, ["call-1"], VARIANT, other_answer)
        yield made


@pytest.fixture(scope="module")
def client(store: refold.Store) -> Iterator[httpx2.Client]:
    with served(store) as reader:
        yield reader


def equal(made: Compared) -> dict[str, bool | None]:
    return {fact.name: fact.is_equal for fact in made.facts}


def pair(first: Sequence[object], second: Sequence[object]) -> Compared:
    """Two conversations of these events beside each other."""
    with refold.open("memory:") as made:
        made.append("call-1", list(first))
        made.append("call-2", list(second))
        return compared(made, "call-1", "call-2")


def levels(made: Compared) -> list[str]:
    return [row.level for row in made.rows]


def test_the_same_twice_is_equal_in_all_that_is_known(store: refold.Store) -> None:
    """What nobody recorded, such as money, is not known to be equal."""
    made = compared(store, "call-1", "call-2")
    assert made.different == 0
    assert equal(made) == {
        **dict.fromkeys(["status", "turns", "tools"], True),
        **dict.fromkeys(["tokens", "cost", "money", "state", "outcome"], None),
    }


def test_a_replay_stands_beside_its_record(store: refold.Store) -> None:
    """Its answers at the decisions; what was not done, nobody knows how it would have ended."""
    made = compared(store, "call-1", REPLAYED)
    assert [level for level in levels(made) if level] == ["arguments", "same"]
    assert equal(made)["tools"] is False
    assert equal(made)["turns"] is False
    assert {equal(made)[name] for name in ("status", "state", "money", "outcome")} == {None}
    assert compared(store, REPLAYED, "call-1")[:4] == made[:4]


@pytest.mark.parametrize(
    "argument",
    [
        '{"id": "B2"}',
        '{"id": "B1", "of": 0}',
        '{"id": ["B1"]}',
        '{"id": true}',
        '{"id": 1}',
        "{",
    ],
)
def test_what_differs_in_an_argument_is_never_equal(argument: str) -> None:
    """Neither the turn nor the tools, whatever else is the same."""
    first, second = (
        [*opening(), ToolCall(call_id="c", name="lookup", arguments=text, message_id="m")]
        for text in ('{"id": "B1"}', argument)
    )
    made = pair(first, second)
    assert levels(made)[-1] not in ("", "same")
    assert equal(made)["tools"] is False
    assert equal(made)["turns"] is False


VALUES = st.recursive(
    st.booleans() | st.integers(-3, 3) | st.text("ab ", max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=4,
)
ARGUMENTS = st.dictionaries(NAMES, VALUES, max_size=3)
TURNS = st.lists(st.sampled_from(["Hello", "No.", "Please do."]) | ARGUMENTS, max_size=6)


@quick(25)
@given(before=TURNS, after=TURNS, args=ARGUMENTS, others=ARGUMENTS)
def test_wherever_an_argument_differs_it_is_shown(
    before: list[Any], after: list[Any], args: dict[str, Any], others: dict[str, Any]
) -> None:
    """Among whatever turns, where the same call is made elsewhere too; the order is none."""
    turned = dict(reversed(args.items()))
    assert pair(spoken([*before, args, *after]), spoken([*before, turned, *after])).different == 0
    if json.dumps(args, sort_keys=True) == json.dumps(others, sort_keys=True):
        return
    made = pair(spoken([*before, args, *after]), spoken([*before, others, *after]))
    assert made.different > 0
    assert equal(made)["turns"] is False
    assert equal(made)["tools"] is False
    (changed, *_) = (row for row in made.rows if row.level not in ("", "same"))
    shown = render.macro("conversation.html", "row_of", changed)
    assert "<ins" in shown or "<del" in shown or changed.level == "alone"


def test_of_many_arguments_those_that_differ_are_shown() -> None:
    """However far behind they stand; and each, where all are others."""
    many = {f"n{number:02}": number for number in range(40)}
    (row,) = pair(spoken([many]), spoken([many | {"n39": 0}])).rows
    assert "/n39" in render.macro("conversation.html", "row_of", row)
    (row,) = pair(spoken([{"a/b": []}]), spoken([{"c": {}}])).rows
    shown = render.macro("conversation.html", "row_of", row)
    assert "<del>[]</del>" in shown
    assert "<ins>{}</ins>" in shown
    assert "/a~1b" in shown


@quick(25)
@given(first=TURNS.filter(bool), second=TURNS.filter(bool))
def test_every_turn_of_both_is_there_once_and_in_order(first: list[Any], second: list[Any]) -> None:
    """Beside its like or alone: none is left out, doubled or moved."""
    rows = pair(spoken(first), spoken(second)).rows
    both = sum(row.level != "alone" for row in rows)
    assert len(rows) - both == len(first) + len(second) - 2 * both
    for side, name in (("call-1", "a"), ("call-2", "b")):
        places = [
            int(row.link.text.rpartition("@")[2])
            for row in rows
            if row.link.text.startswith(f"{side}@")
        ]
        assert places == sorted({*places}), name


def spoken(turns: Sequence[Any]) -> list[object]:
    """Words of a user, and calls of a tool with these arguments, an answer each."""
    return [
        UserUtterance(text=one)
        if isinstance(one, str)
        else ToolCall(f"c{place}", "book", json.dumps(one), message_id=f"m{place}")
        for place, one in enumerate(turns)
    ]


def test_arguments_are_marked_by_path(client: httpx2.Client) -> None:
    """The path, what was there, and what is there now."""
    found = page(client, f"/compare?a=call-1&b={quote(REPLAYED)}")
    assert "/id" in [e.text for e in found.all("code", "path")]
    assert [e.text for e in found.all("del")] == ["B1"]
    assert [e.text for e in found.all("ins")] == ["B2"]


def test_changed_words_are_marked(client: httpx2.Client) -> None:
    """Of a branch: what is shared is one, the rest is marked word by word."""
    found = page(client, "/compare?a=call-2&b=call-2~other")
    assert ([e.text for e in found.all("del")], [e.text for e in found.all("ins")]) == (
        ["4"],
        ["5"],
    )
    only = page(client, "/compare?a=call-2&b=call-2~other&only=differences")
    assert "3 turns the same" in only.text
    assert "Where is booking B1?" not in only.text
    assert "Where is booking B1?" in found.text


def test_turns_are_aligned_by_what_they_say() -> None:
    """One more at the front moves nothing else; what only one has stands alone."""
    first = [*opening(), *asks_tool(), *tells()]
    more = [CONFIGURED, UserUtterance(text="Hello?"), AgentUtterance(text="Yes?", message_id="m1")]
    made = pair(first, [*more, *first[1:]])
    assert levels(made) == ["alone", "alone", "", "same", "", "same"]
    assert equal(made)["turns"] is False


def test_a_long_stretch_is_paired_in_order() -> None:
    """Where all of a thousand turns differ, the first is beside the first, of one kind each."""
    sides = [
        [one for number in range(300) for one in (UserUtterance(text=f"{side} {number}"), *tells())]
        for side in ("one", "other")
    ]
    made = pair(*sides)
    assert levels(made) == ["words", "same"] * 300


@pytest.mark.parametrize(
    ("first", "second", "level"),
    [
        (UserUtterance(text="Hi"), UserUtterance(text="Hi", party="caller"), "words"),
        (ToolResult(call_id="c", result={"n": 1}), ToolResult(call_id="d", result={"n": 1}), ""),
        (ToolResult(call_id="c", result=1), ToolResult(call_id="c", result=True), "arguments"),
        (ToolResult(call_id="c"), ToolResult(call_id="c", is_error=True), "tools"),
        (SessionEnded(), SessionEnded(reason="lost"), "words"),
    ],
)
def test_what_was_heard_and_given_back_is_compared_too(first: Any, second: Any, level: str) -> None:
    """Results by their values, words by who said them; ids are none of it."""
    assert levels(pair([first], [second])) == [level]


def test_a_redacted_turn_is_not_known_to_be_the_same() -> None:
    """Two marks of a redaction look alike and say nothing; only the very same event is one."""
    with refold.open("memory:") as made:
        for number in (1, 2):
            record(made, f"call-{number}")
            gone = RedactionApplied(
                event=f"call-{number}@5", pointer="/text", method="zero", reason="asked"
            )
            made.append(f"call-{number}", [gone])
        two, shared = compared(made, "call-1", "call-2"), compared(made, "call-1", "call-1")
    assert two.different == 1
    assert (equal(two)["turns"], equal(two)["tools"]) == (None, None)
    assert equal(shared)["turns"] is True
    assert "gate" not in str([row.sides for row in two.rows if row.level == "redacted"])


def test_facts_that_are_known_are_compared() -> None:
    """State by path, money and cost as exact amounts, tokens only where every answer tells them."""

    def side(net: str, cost: str, state: object) -> list[object]:
        response = ModelResponse(usage=Usage(input_tokens=1), cost=cost, message_id="m4")  # type: ignore[arg-type]
        paid = EffectCommitted(effect="refund", amount=net, currency="EUR", reference="r")  # type: ignore[arg-type]
        patch = StatePatched([{"op": "add", "path": "/booked", "value": state}])
        return [*opening(), response, *tells(), paid, patch, SessionEnded()]

    same = pair(side("1.0", "0.10", True), side("1.00", "0.1", True))
    other = pair(side("1.0", "0.10", True), side("2", "0.2", 1))
    assert set(equal(same).values()) == {True}
    assert [name for name, is_equal in equal(other).items() if is_equal is False] == [
        "cost",
        "money",
        "state",
    ]
    (state,) = (fact for fact in other.facts if fact.name == "state")
    assert [change.path for change in state.changes] == ["/booked"]


def test_what_cannot_be_compared_is_said(store: refold.Store, client: httpx2.Client) -> None:
    """A replay with another conversation, one mark or three, a name that is none."""
    with pytest.raises(UsageError, match="compare it with that"):
        compared(store, "call-2", REPLAYED)
    with pytest.raises(NotFound):
        compared(store, "call-1", "call-9")
    assert client.get("/compare?mark=call-1").status_code == 400
    assert client.get("/compare?a=call-1&b=call-9").status_code == 404
    assert "Name two" in page(client, "/compare?a=call-1").text


def test_two_marked_in_the_list_are_compared(client: httpx2.Client) -> None:
    """By a form that needs no script; and a conversation leads to itself beside its branches."""
    listed = page(client, "/")
    (form,) = listed.all("form", "marks")
    (to_compare,) = (e for e in listed.all("button") if "Compare" in e.text)
    assert (form.attributes["method"], to_compare.attributes["formaction"]) == ("get", "/compare")
    assert to_compare.is_in(form)
    names = [e.attributes["value"] for e in listed.all("input") if e.is_in(form)]
    assert {"call-1", "call-2"} <= {*names}
    found = page(client, "/compare?mark=call-1&mark=call-2")
    assert "All 4 turns are the same" in found.text
    links = page(client, "/conversations/call-2").links
    assert f"/compare?a=call-2&b={quote('call-2~other', safe='~')}" in links


def test_many_turns_are_in_pages() -> None:
    """Each page leads to the next, and nothing is left out."""
    with refold.open("memory:") as made:
        for name in ("call-1", "call-2"):
            said = [UserUtterance(text=f"word {n}") for n in range(ROWS_A_PAGE + 5)]
            made.append(name, [*said, UserUtterance(text=name)])
        rows = list(without_shared(compared(made, "call-1", "call-2").rows))
        with served(made) as client:
            pages = [page(client, f"/compare?a=call-1&b=call-2&page={n}") for n in (1, 2)]
    assert rows[0] == Gap(ROWS_A_PAGE + 5)
    assert len(rows) == 2
    assert [len(one.all("section", "row")) for one in pages] == [ROWS_A_PAGE, 6]
    assert [e.text for e in pages[0].all("nav", "pages")] == ["\npage 1 of 2\nLater"]


@pytest.mark.parametrize("text", HOSTILE)
def test_what_others_wrote_is_only_text(text: str) -> None:
    """In names, words, arguments, results and notes of either side."""
    made = hostile_store(text)
    (info,) = list(made.streams())
    record(made, "call-plain", [*opening(), *asks_tool(), *tells()])
    made.append(
        "call-plain",
        [
            StatePatched(
                [
                    {
                        "op": "add",
                        "path": f"/{text.replace('/', '~1').replace('~', '~0')}",
                        "value": text,
                    }
                ]
            )
        ],
    )
    with served(made) as client:
        plain = page(client, "/")
        for one, other in ((info.stream, "call-plain"), ("call-plain", info.stream)):
            found = page(client, f"/compare?a={quote(one)}&b={quote(other)}")
            assert not {"img", "iframe"} & {e.tag for e in found.elements}
            assert len(found.all("script")) == len(plain.all("script"))
            assert not [
                n for e in found.elements for n in e.attributes if n.startswith(("on", "style"))
            ]
            assert not [link for link in found.links if link.lower().startswith("javascript")]
            assert text in found.text


def test_the_page_parses_strictly(client: httpx2.Client) -> None:
    """Every link of a comparison leads somewhere."""
    found = page(client, f"/compare?a=call-1&b={quote(REPLAYED)}")
    assert isinstance(found, Page)
    for link in found.links:
        assert link.startswith("#") or client.get(link).status_code == 200, link
