"""The gate: verdicts in; an exit code, JUnit XML and Markdown out."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from msgspec.structs import replace

from refold.errors import UsageError
from refold.replay.answer import Answer, Verdict, Verdicts
from refold.replay.gate import Gate, escaped, gate, junit, markdown, quantity_of
from refold.replay.metrics import METRICS, Metric

BROKEN = Metric("broken_answers", "answers that are broken", "lower", "share", 0.0, 1.0)
SAME = Metric("same_action", "the same action", None, "share", 0.0, 1.0)
COST = Metric("cost", "cost of an answer", "lower", "USD", 0.0, None)
LATENCY = Metric("latency_ms", "time to answer", "lower", "ms", 0.0, None)


def said(answer: Answer, metric: Metric = BROKEN, *, is_complete: bool = True) -> Verdict:
    verdict = Verdict(
        metric=metric, answer=answer, plain=f"{answer}.", is_complete=is_complete, control=0.02
    )
    value = 0.06 if metric is COST else 0.1
    return replace(verdict, candidate=value, difference=0.08, low=0.05, high=0.11)


def of(primary: Verdict, *guardrails: Verdict, rest: tuple[Verdict, ...] = ()) -> Verdicts:
    return Verdicts(ship="Ship it.", primary=primary, guardrails=list(guardrails), rest=list(rest))


@pytest.mark.parametrize(
    ("answer", "metric", "fail_on", "exit_code"),
    [
        ("better", BROKEN, ["worse"], 0),
        ("equivalent", BROKEN, ["worse"], 0),
        ("worse", BROKEN, ["worse"], 1),
        ("worse", BROKEN, ["changed"], 0),
        ("inconclusive", BROKEN, ["worse"], 4),
        ("no change seen", SAME, ["worse", "changed"], 0),
        ("changed more than noise", SAME, ["worse"], 0),
        ("changed more than noise", SAME, ["worse", "changed"], 1),
        ("inconclusive", SAME, ["changed"], 4),
    ],
)
def test_the_exit_code_is_that_of_the_answer(
    answer: Answer, metric: Metric, fail_on: list[str], exit_code: int
) -> None:
    """0, 1 where it was asked about, 4 where nothing can be said."""
    assert gate(of(said(answer, metric)), fail_on).exit_code == exit_code


def test_a_guardrail_shuts_the_gate_and_the_rest_does_not() -> None:
    """Worse or not to be told: of a guardrail it counts, elsewhere it is for reading."""
    good = said("better")
    for answer, exit_code in (("worse", 1), ("inconclusive", 4)):
        other = said(answer, COST)  # type: ignore[arg-type]
        assert gate(of(good, other)).exit_code == exit_code
        apart = gate(of(good, rest=(other,)))
        assert apart.exit_code == 0
        assert [one.state for one in apart.gated] == ["passed", "not gated"]


def test_a_change_counts_wherever_it_stands_once_asked_about() -> None:
    """The primary metric is another one, and --fail-on changed asks about this."""
    verdicts = of(said("better"), rest=(said("changed more than noise", SAME),))
    assert [gate(verdicts, on).exit_code for on in (["worse"], ["worse", "changed"])] == [0, 1]
    undecided = of(said("better"), rest=(said("inconclusive", SAME),))
    assert [gate(undecided, on).exit_code for on in (["worse"], ["changed"])] == [0, 4]


def test_what_was_not_asked_about_needs_no_answer() -> None:
    """A threshold asks for a value; a change for the calls, which every answer makes or leaves."""
    open_ = said("inconclusive")
    assert gate(of(open_), ["broken_answers>0.2"]).exit_code == 0
    assert gate(of(open_), ["broken_answers>0.2", "worse"]).exit_code == 4
    calls, few = replace(SAME, name="same_calls"), said("inconclusive", SAME)
    for answer, exit_code in (("no change seen", 0), ("inconclusive", 4)):
        told = said(answer, calls)  # type: ignore[arg-type]
        # Of those that called a tool there are fewer, and so less to be sure of.
        assert gate(of(told, rest=(few,)), ["changed"]).exit_code == exit_code
        assert gate(of(said("better"), rest=(told, few)), ["changed"]).exit_code == exit_code
    acts = said("changed more than noise", SAME)
    assert gate(of(said("no change seen", calls), rest=(acts,)), ["changed"]).exit_code == 1


def test_other_words_alone_are_no_change() -> None:
    """Several ways of saying a thing are right; who declares the words asks about them."""
    words = said("changed more than noise", replace(SAME, name="same_words"))
    assert gate(of(said("better"), rest=(words,)), ["changed"]).exit_code == 0
    assert gate(of(said("better"), words), ["changed"]).exit_code == 1


def test_a_finding_counts_more_than_what_cannot_be_told() -> None:
    """Worse is worse, whatever else is open."""
    assert gate(of(said("inconclusive"), said("worse", COST))).exit_code == 1


def test_inconclusive_may_pass_by_choice_but_an_incomplete_run_never() -> None:
    """It is not known what the rest of it would have shown."""
    assert gate(of(said("inconclusive")), inconclusive="pass").exit_code == 0
    cut_off = said("inconclusive", is_complete=False)
    assert gate(of(cut_off), inconclusive="pass").exit_code == 4
    assert gate(of(cut_off)).exit_code == 4


def test_not_worse_may_pass_by_choice() -> None:
    """Where all that is open is surely not worse; of a guardrail that is all that is asked."""
    unsure = replace(said("inconclusive"), is_not_worse=True)
    codes = [gate(of(unsure), inconclusive=how).exit_code for how in ("fail", "not-worse", "pass")]
    assert codes == [4, 0, 0]
    assert gate(of(unsure, said("inconclusive", COST)), inconclusive="not-worse").exit_code == 4
    cut_off = replace(unsure, is_complete=False)
    assert gate(of(cut_off), inconclusive="not-worse").exit_code == 4
    assert gate(of(said("better"), said("not worse", COST))).exit_code == 0


@pytest.mark.parametrize(
    ("threshold", "exit_code"),
    [
        ("cost>0.05", 1),
        ("cost > $0.05", 2),
        ("cost>0.06", 0),
        ("cost>=0.06", 1),
        ("cost>0.07", 0),
        ("cost>0.05USD", 1),
        ("broken_answers>2%", 1),
        ("broken_answers>9pt", 1),
        ("broken_answers>0.11", 0),
        ("broken_answers<0.2", 1),
        ("broken_answers>2", 2),
        ("cost>5%", 2),
        ("speed>3", 2),
        ("worst", 2),
        ("cost>", 2),
        ("cost>much", 2),
    ],
)
def test_a_threshold_is_on_the_candidates_own_value(threshold: str, exit_code: int) -> None:
    """In the metric's unit, or in points of a share; what is no threshold is refused (2)."""
    verdicts = of(said("equivalent"), rest=(said("inconclusive", COST),))
    if exit_code == 2:
        with pytest.raises(UsageError) as caught:
            gate(verdicts, [threshold])
        assert caught.value.argument == "fail_on"
        assert threshold in caught.value.message
    else:
        assert gate(verdicts, [threshold]).exit_code == exit_code


def test_a_threshold_on_what_is_not_known_is_inconclusive() -> None:
    """Unknown is not zero: nobody knows whether it was dearer."""
    unknown = Verdict(metric=COST, answer="inconclusive", plain="Not known.")
    assert gate(of(said("better"), rest=(unknown,)), ["cost>0.05"]).exit_code == 4
    half = said("inconclusive", COST, is_complete=False)
    assert gate(of(said("better"), rest=(half,)), ["cost>0.5"]).exit_code == 4


@pytest.mark.parametrize(
    ("text", "metric", "amount"),
    [
        ("2pt", BROKEN, 0.02),
        ("0.5 pt", BROKEN, 0.005),
        ("2%", BROKEN, 0.02),
        ("0.02", BROKEN, 0.02),
        ("2", BROKEN, None),
        ("2ms", BROKEN, None),
        ("50", LATENCY, 50.0),
        ("50ms", LATENCY, 50.0),
        ("50 MS", LATENCY, 50.0),
        ("2pt", LATENCY, None),
        ("5%", COST, None),
        ("1e-3", COST, 0.001),
        ("", COST, None),
        ("nan", COST, None),
        ("inf", COST, None),
        ("0.2", METRICS["reward"], 0.2),
    ],
)
def test_an_amount_is_read_in_the_metrics_unit(
    text: str, metric: Metric, amount: float | None
) -> None:
    """Points of a share, else the metric's own unit; anything else is refused with what to say."""
    if amount is None:
        with pytest.raises(UsageError, match=metric.name) as caught:
            quantity_of(text, metric)
        assert caught.value.argument == "margin"
    else:
        assert quantity_of(text, metric) == pytest.approx(amount)


def test_points_are_of_a_share_alone() -> None:
    """What has a scale of its own takes a number, and no message names what is refused."""
    with pytest.raises(
        UsageError, match=r"'2pt': an amount of reward is a number of its own scale"
    ):
        quantity_of("2pt", METRICS["reward"])


# -- as text for other programs -------------------------------------------------------------------


def mixed(title: str = "name", says: str = "says") -> Gate:
    """Every state once, with a name and a plain sentence from elsewhere."""
    odd = Metric(title, says, "lower", "share", 0.0, 1.0)
    return gate(
        of(
            said("better", odd),
            said("worse", BROKEN),
            said("inconclusive", COST),
            rest=(Verdict(metric=LATENCY, answer="inconclusive", plain=says),),
        )
    )


def test_junit_has_the_shape_that_jenkins_and_surefire_read() -> None:
    """Suites of a suite of cases; required attributes; counts that add up; one reason a case."""
    suites = ElementTree.fromstring(junit(mixed(), name="nightly"))
    (suite,) = suites
    assert (suites.tag, suite.tag) == ("testsuites", "testsuite")
    assert suite.attrib == {
        "name": "nightly", "tests": "4", "failures": "1", "errors": "1", "skipped": "1", "time": "0"
    }  # fmt: skip
    assert [case.tag for case in suite] == ["testcase"] * 4
    for case in suite:
        assert set(case.attrib) == {"classname", "name", "time"}
        assert case.attrib["classname"] == "nightly"
        assert all(set(why.attrib) == {"message", "type"} for why in case)
    assert [[why.tag for why in case] for case in suite] == [
        [],
        ["failure"],
        ["error"],
        ["skipped"],
    ]
    assert suite[1][0].text == "worse."


@given(st.text(), st.text())
def test_junit_is_well_formed_whatever_is_in_a_name(title: str, says: str) -> None:
    """A real parser reads it, and reads back what XML can hold of the name."""
    (suite,) = ElementTree.fromstring(junit(mixed(title, says), name=title))
    cleaned = "".join(c if c.isprintable() or c in "\t\n\r" else "" for c in title)
    shown = "".join(c for c in suite[0].attrib["name"] if c.isprintable() or c in "\t\n\r")
    # A parser of XML 1.0 reads line ends in attributes as they were written by reference.
    assert shown.replace("\ufffd", "").split() == cleaned.replace("\ufffd", "").split()


MARKUP = [
    "<script>alert(1)</script>",
    "a | b",
    "**bold** _em_ `code` ~~no~~",
    "[link](https://example.com) ![image](x)",
    "https://example.com and www.example.com",
    "@everyone look at #12",
    "# heading\n- list\n\n> quote\n1. one",
    "&lt;b&gt; &amp;",
    "\\ \\* $x$ {{ y }}",
]


@pytest.mark.parametrize("text", MARKUP)
def test_no_markup_of_a_name_works_in_the_summary(text: str) -> None:
    """It is shown as it is: nothing bold, no link, no element, nobody told, one cell of a table."""
    page = MarkdownIt("commonmark", {"linkify": False}).enable("table")
    cells = [
        token
        for token in page.parse(f"| x |\n|---|\n| {escaped(text)} |\n")
        if token.type == "inline"
    ]
    assert len(cells) == 2
    children = cells[1].children or []
    assert {child.type for child in children} <= {"text", "text_special", "html_inline"}
    assert {c.content for c in children if c.type == "html_inline"} <= {"<!-- -->"}
    shown = "".join(child.content for child in children if child.type != "html_inline")
    assert shown == " ".join(text.split())
    for mention in ("@e", "#1", "://", "www."):
        assert mention not in escaped(text)


def test_the_summary_says_the_sentence_first_and_every_verdict() -> None:
    """A heading with the gate's sign, a row a verdict, and the plain sentences."""
    text = markdown(mixed(), title="prompt v2")
    lines = text.splitlines()
    assert lines[0] == "### ❌ prompt v2: Do not ship it: answers that are broken: worse."
    assert lines[2] == "| gate | metric | candidate | control | difference | answer |"
    assert lines[5] == (
        "| failed | broken\\_answers | 10.0 % | 2.0 % | \\+8.0 points (\\+5.0 points to "
        "\\+11.0 points) | worse |"
    ).replace("(", "\\(").replace(")", "\\)")
    assert "- worse." in lines
    assert len(MarkdownIt("commonmark").enable("table").parse(text)) > 50


@given(st.text(), st.text())
def test_the_same_verdicts_give_the_same_bytes(title: str, says: str) -> None:
    """No clock, no order of a set; and every line of a table is one line."""
    first, again = (markdown(mixed(title, says), title=title) for _ in range(2))
    assert first == again
    assert junit(mixed(title, says)) == junit(mixed(title, says))
    first.encode()
    assert len(first.split("\n")) == 4 + 4 + 1 + 4 + 1


def test_the_sentence_says_what_the_exit_code_does() -> None:
    """And names what shut it, where the verdict on the primary metric alone would be a yes."""
    verdicts = of(said("equivalent"), rest=(said("changed more than noise", SAME),))
    assert gate(verdicts, ["worse"]).ship == "Ship it."
    stopped = gate(verdicts, ["worse", "changed"])
    assert (stopped.exit_code, stopped.ship) == (
        1,
        "Do not ship it: the same action: changed more than noise.",
    )
    unsure = gate(of(said("better"), said("inconclusive", COST)))
    assert (unsure.exit_code, unsure.ship[:20]) == (4, "Do not ship it yet: ")
    let = replace(of(said("worse")), ship="Do not ship it: worse in it.")
    assert gate(let, ["changed"]).ship.startswith("Nothing that was asked")
