"""The demo agent reads its rules from natural sentences, and from nothing else."""

import pytest

from refold.demo import tables
from refold.demo.agent import DEFAULTS, RULES, read_rules
from refold.demo.tables import WordPattern

EXAMPLES = [(rule, text) for rule in RULES for text in rule.examples]
NEGATED = [
    ("Do not verify identity before booking.", "verify", "never"),
    ("There is no need to confirm before booking.", "confirms", False),
    ("Never offer a nurse call back.", "offers_nurse", False),
    ("Don't mention the cancellation policy.", "notice_hours", 0),
    ("Do not ask whether there is anything else.", "asks_for_more", False),
    ("Never say that the call is recorded.", "says_recorded", False),
]


def changed(prompt: str) -> dict[str, object]:
    """What a prompt changes of the default rules."""
    return {name: v for name, v in read_rules(prompt).items() if v != DEFAULTS[name]}


@pytest.mark.parametrize(("rule", "text"), EXAMPLES, ids=[text for _, text in EXAMPLES])
def test_each_documented_example_turns_its_rule_on_and_no_other(
    rule: WordPattern, text: str
) -> None:
    """An example of the rule book changes just the fields that its own rule reads from it."""
    said = {name: value for name, value in rule.read(text).items() if value != DEFAULTS[name]}
    assert changed(text) == said != {}


@pytest.mark.parametrize(("text", "field", "off"), NEGATED)
def test_a_negation_in_the_clause_turns_a_rule_off(text: str, field: str, off: object) -> None:
    """A later sentence that forbids what an earlier one asks for wins."""
    before = read_rules(tables.RECORDED)
    after = read_rules(f"{tables.RECORDED}\n{text}")
    assert before[field] != off
    assert after[field] == off


def test_a_negation_of_another_clause_says_nothing() -> None:
    """`Never give advice, offer a nurse call back instead` offers the nurse."""
    rules = read_rules("Never give medical advice, offer a nurse call back instead.")
    assert not rules["gives_advice"]
    assert rules["offers_nurse"]


@pytest.mark.parametrize(
    "text",
    ["", "Be yourself.", "The clinic has three doctors.", "Nurses work mornings.", "\n;;.\n"],
)
def test_text_that_states_no_rule_changes_nothing(text: str) -> None:
    """What is not recognised is ignored."""
    assert changed(text) == {}


def test_numbers_are_read_as_words_and_as_digits() -> None:
    """How many slots to offer may be written either way; without a number it is one."""
    said = ("the earliest slot", "the two earliest slots", "the 5 earliest slots")
    assert [read_rules(f"Offer {text}.")["slots_offered"] for text in said] == [1, 2, 5]


def test_the_two_prompts_of_the_demo_differ_in_rules_not_only_in_words() -> None:
    """The changed prompt is briefer, offers more, checks later, and drops the nurse."""
    old, new = read_rules(tables.RECORDED), read_rules(tables.CHANGED)
    assert {name for name in old if old[name] != new[name]} == {
        "asks_for_more",
        "confirms",
        "handover",
        "is_brief",
        "offers_nurse",
        "slots_offered",
        "verify",
    }
