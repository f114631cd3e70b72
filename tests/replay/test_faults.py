"""What is broken about an answer by itself, and what of a call does not matter."""

from __future__ import annotations

import unicodedata

import pytest

import refold
from refold.conversation import openai_chat
from refold.conversation.events import Tool
from refold.replay import Action, Call, ChatRequest, ModelFailure, Variant, compare, replay
from refold.replay.actions import compare_actions
from refold.replay.candidate import action_of
from refold.replay.decision import decisions
from refold.replay.faults import FAULTS, Offered, fault_in, faults_of, is_cut_off
from refold.replay.normalising import ignored
from tests.replay.stories import VARIANT, as_recorded, record, run

SCHEMA = {
    "type": "object",
    "properties": {
        "day": {"type": "string"},
        "seats": {"type": "integer", "default": 1},
        "note": {"type": ["string", "null"]},
        "who": {"$ref": "#/$defs/who"},
    },
    "required": ["day"],
    "additionalProperties": False,
    "$defs": {"who": {"type": "object", "properties": {"adult": {"default": True}}}},
}
OFFERED = Offered([Tool("book", parameters=SCHEMA), Tool("free")])


def book(arguments: str) -> Action:
    return Action(calls=(Call("book", arguments),))


@pytest.mark.parametrize(
    ("action", "faults"),
    [
        (Action(text="Hello."), []),
        (Action(), ["empty"]),
        (Action(text=" \u200b\n\u00ad"), ["empty"]),
        (Action(parts=({"type": "image_url"},)), []),
        (Action(text="Hel", finish_reason="length"), ["truncated"]),
        (Action(text="Hel", finish_reason="MAX_TOKENS"), ["truncated"]),
        (Action(finish_reason="content_filter"), ["filtered", "empty"]),
        (Action(finish_reason="SAFETY"), ["filtered", "empty"]),
        (Action(text="No.", finish_reason="refusal"), ["refused"]),
        (Action(text="x", finish_reason="stop"), []),
        (Action(text="x", finish_reason="tool_calls"), []),
        (book('{"day": "Tue"}'), []),
        (book('{"day": "Tue", "note": null}'), []),
        (book('{"day": 2}'), ["broken_arguments"]),
        (book("{}"), ["broken_arguments"]),
        (book('{"day": "Tue", "other": 1}'), ["broken_arguments"]),
        (book('{"day": "T'), ["broken_arguments"]),
        (book('["Tue"]'), ["broken_arguments"]),
        (Action(calls=(Call("free", ""),)), []),
        (Action(calls=(Call("free", "any text", kind="custom"),)), []),
        (Action(calls=(Call("other", "{"),)), ["not_offered", "broken_arguments"]),
    ],
)
def test_an_answer_may_be_broken_in_more_than_one_way(action: Action, faults: list[str]) -> None:
    """All of them are told, the cause before what it leads to."""
    assert list(faults_of(action, OFFERED)) == faults
    assert faults == [fault for fault in FAULTS if fault in faults]


def test_nothing_is_held_against_who_calls_what_nobody_listed() -> None:
    """Where the record does not say what was offered, nothing was not."""
    assert faults_of(Action(calls=(Call("any", '{"a": 1}'),))) == {}


def test_the_level_is_the_cause_and_the_record_may_be_broken_too() -> None:
    """An answer that is the recorded one again, as broken as that, is the same."""
    cut = Action(calls=(Call("book", '{"day": "T'),), finish_reason="length")
    found = compare_actions(book('{"day": "Tue"}'), cut, offered=OFFERED)
    assert (found.level, list(found.faults)) == ("truncated", ["truncated", "broken_arguments"])
    assert compare_actions(cut, cut, offered=OFFERED).level == "same"
    assert list(compare_actions(cut, Action(text="x")).recorded_faults) == [
        "truncated",
        "broken_arguments",
    ]


def test_words_that_end_inside_a_recorded_word_are_cut_off() -> None:
    """Although the service says that it stopped by itself; a shorter answer is not."""
    recorded = Action(text="Your refund of 50 dollars is on its way.")
    for said, level in (("Your refund of 50 dol", "truncated"), ("Your refund.", "words")):
        found = compare_actions(recorded, Action(text=said, finish_reason="stop"))
        assert found.level == level


@pytest.mark.parametrize(
    ("one", "other", "is_same"),
    [
        ('{"day": "Tue"}', '{"day": "Tue", "seats": 1}', True),
        ('{"day": "Tue"}', '{"day": "Tue", "seats": 1.0}', True),
        ('{"day": "Tue"}', '{"day": "Tue", "seats": 2}', False),
        ('{"day": "Tue"}', '{"day": "Tue", "note": null}', True),
        ('{"day": "Tue"}', '{"day": "Tue", "seats": null}', False),
        ('{"day": "Tue", "who": {}}', '{"day": "Tue", "who": {"adult": true}}', True),
        ('{"day": "Tue"}', '{"day": "Tue", "who": {}}', False),
        ('{"day": "café"}', unicodedata.normalize("NFD", '{"day": "café"}'), True),
        ('{"day": "1"}', '{"day": 1}', False),
        ('{"day": "Tue", "note": ""}', '{"day": "Tue"}', False),
    ],
)
def test_what_a_call_says_counts_and_not_how(one: str, other: str, is_same: bool) -> None:
    """Defaults of the schema, null and absent, Unicode and numbers by what they are."""
    pairs = compare_actions(book(one), book(other), offered=OFFERED).pairs
    assert (not pairs[0].changes) is is_same


def test_fields_are_ignored_by_tool_and_pointer() -> None:
    """In lists every index is a star; a star for a tool is every tool."""
    one = Action(calls=(Call("f", '{"id": 1, "items": [{"at": 1, "n": 2}]}'),))
    other = Action(calls=(Call("f", '{"id": 2, "items": [{"at": 3, "n": 2}]}'),))
    for fields, count in (
        ([], 2),
        (["f/id"], 1),
        (["*/id", "f/items/*/at"], 0),
        (["g/id", "f/items/0/at"], 2),
    ):
        (pair,) = compare_actions(one, other, ignored=ignored(fields)).pairs
        assert len(pair.changes) == count, fields


def test_what_has_the_most_in_common_belongs_together() -> None:
    """Wherever it stands, whatever comes first."""
    old = [Call("f", '{"a": 1, "b": 1}'), Call("f", '{"a": 2, "b": 2}')]
    new = [Call("f", '{"a": 2, "b": 3}'), Call("f", '{"a": 1, "b": 4}'), Call("f", "{}")]
    found = compare_actions(Action(calls=tuple(old)), Action(calls=tuple(new)))
    assert [(p.recorded, p.candidate) for p in found.pairs] == [(old[0], new[1]), (old[1], new[0])]
    assert (found.only_recorded, found.only_candidate) == ([], [new[2]])


OWN = "own_limit"


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        ("refused: u: status 400: This model's maximum context length is 8192 tokens.", OWN),
        ("refused: u: status 400: prompt is too long: 208310 tokens > 200000 maximum", OWN),
        ("refused: u: status 400: Unsupported parameter: 'temperature'", OWN),
        ("refused: u: status 400: input token count exceeds the maximum number of tokens", OWN),
        ("refused: u: status 413: request entity", OWN),
        ("garbage: the service's error: context_length_exceeded", OWN),
        ("refused: u: status 400: was filtered: content management policy", "filtered"),
        ("refused: u: status 400: your prompt was flagged by our usage policies", "filtered"),
        ("refused: u: status 400: Output blocked by content filtering policy", "filtered"),
        ("refused: u: status 403: requires moderation on Azure", "filtered"),
        ("garbage: the service's error: the prompt was blocked: SAFETY", "filtered"),
        ("busy: u: status 503: the content filter is down", None),
        ("refused: https://content-filter.test/too-long: status 400: odd", None),
        ("refused: u: status 400: something is odd", None),
        ("refused: u: status 401: this key does not support it", None),
        ("refused: u: status 404: unknown model", None),
        ("busy: u: status 429: tokens per minute exceeded", None),
        ("busy: u: status 500: context length", None),
        ("timeout: no whole answer", None),
        ("garbage: an answer that is not JSON: objects of type x are unsupported", None),
        ("error: the candidate raised ValueError: too long", None),
    ],
)
def test_a_limit_of_the_candidate_is_told_from_a_fault_of_the_network(
    error: str, kind: str | None
) -> None:
    """Only a refusal of this request, for what it is, is the candidate's own."""
    assert fault_in(error) == kind


def test_a_tool_that_the_variant_takes_away_is_not_offered() -> None:
    """The tools are those of the request that was asked, and the record's are its own."""
    store = refold.open("memory:")
    record(store, "call-1")
    variant = Variant(tools=[])
    replay(store, ["call-1"], variant, as_recorded)
    compared = compare(store, ["call-1"], variant).conversations[0].decisions[0]
    assert (compared.level, compared.faults) == ("not_offered", {"not_offered": "lookup"})
    assert compared.recorded_faults == {}


def test_a_limit_is_a_level_and_a_failure_is_not() -> None:
    """Both are counted; the first is the candidate's answer to the request."""

    def fails(request: ChatRequest) -> Action:
        said = "status 400: maximum context length" if request.index else "status 400: odd"
        raise ModelFailure(said, kind="refused")

    store = refold.open("memory:")
    record(store, "call-1")
    run(store, fails)
    figures = compare(store, ["call-1"], VARIANT).figures
    assert (figures.counts["failed"], figures.counts["own_limit"]) == (1, 1)
    assert (figures.broken.successes, figures.broken.trials) == (1, 1)
    assert (figures.accounting.answered, figures.accounting.failed) == (1, 1)


@pytest.mark.parametrize(
    "message",
    [
        {"content": None, "refusal": "I will not."},
        {"content": [{"type": "refusal", "refusal": "I will not."}]},
    ],
)
def test_a_refusal_is_one_on_both_sides(message: dict[str, object]) -> None:
    """In the message's own field or as a part, of an answer and of a record, kept on a branch."""
    said = {"role": "assistant", **message}
    assert list(faults_of(action_of(said))) == ["refused"]
    store = refold.open("memory:")
    asked = {"role": "user", "content": "Is the desk open?"}
    store.append("call-1", openai_chat.from_messages([asked, said]))
    assert list(faults_of(decisions(store.read("call-1"))[0].action)) == ["refused"]
    replay(store, ["call-1"], Variant(), lambda _: said)
    (compared,) = compare(store, ["call-1"], Variant()).conversations[0].decisions
    assert (list(compared.faults), compared.level) == (["refused"], "same")


def test_the_baselines_need_no_sense() -> None:
    """What an agent that never calls reaches, and one that always calls the commonest tool."""
    store = refold.open("memory:")
    record(store, "call-1")
    run(store, lambda _: Action(text="One moment."))
    figures = compare(store, ["call-1"], VARIANT).figures
    told = figures.baselines
    assert (told.never_calls, told.commonest_tool, told.always_calls) == (0.5, "lookup", 0.5)
    split = figures.by_record
    assert (split.called.successes, split.called.trials) == (0, 1)
    assert (split.spoke.successes, split.spoke.trials) == (1, 1)
    assert (figures.by_decision.rate, figures.not_assessed) == (0.0, 1)


@pytest.mark.parametrize(
    ("text", "recorded", "is_cut"),
    [
        ("No", "Nothing is free on Tuesday.", False),
        ("There is nothing fr", "There is nothing free on Tuesday.", True),
        ("There is nothing", "There is nothing free on Tuesday.", False),
        (
            "申し訳ございませんが、火曜日は空いて",
            "申し訳ございませんが、火曜日は空いていません。",
            False,
        ),
    ],
)
def test_a_short_answer_is_not_a_longer_one_cut_off(text: str, recorded: str, is_cut: bool) -> None:
    """Nor is a sentence of a script without blanks that ends elsewhere."""
    assert is_cut_off(text, recorded) is is_cut
