"""Every number of the report that counts is a link to a list that shows exactly so many."""

from __future__ import annotations

import base64
import re
import zlib
from collections.abc import Iterator

import pytest

import refold
from refold.conversation.events import AgentUtterance, UserUtterance
from refold.replay import (
    Action,
    Call,
    ChatRequest,
    ModelFailure,
    Question,
    Variant,
    compare,
    compare_recorded,
    replay,
)
from refold.replay.checks.reading import read_check
from refold.replay.compare import Comparison
from refold.replay.judge import Judge
from refold.replay.judging import ask_judge
from refold.replay.report import lists, render_report
from tests.replay.pages import Element, Page
from tests.replay.stories import as_recorded, record

CANDIDATE, CONTROL = Variant(label="new"), Variant(label="control")
JUDGE = Judge(model="judge-1")
CHECKS = [read_check("max_words=2"), read_check("repeated_calls")]
CONVERSATIONS = 24


def number_of(request: ChatRequest) -> int:
    return int(re.findall(r"\d+", request.at)[0])


class Changing:
    """Answers a conversation in a way of its own by its number; some only when asked again."""

    def __init__(self) -> None:
        self.asked = set[str]()

    def __call__(self, request: ChatRequest) -> Action:
        is_first = request.at not in self.asked
        self.asked.add(request.at)
        match number_of(request) % 8:
            case 0:
                raise ModelFailure("no", kind="refused", status=400)
            case 1:
                return Action(text="One moment.", latency_ms=7.0)
            case 2:
                return Action(calls=(Call("lookup", '{"id": "B2"}'),), latency_ms=9.0)
            case 3:
                return Action()
            case 4 if is_first:
                raise ModelFailure("busy", kind="busy", status=503, retry_after_s=0.0)
            case 5 if request.messages[-1]["role"] == "tool":
                raise ModelFailure("no", kind="refused", status=400)
        return as_recorded(request)


def noisy(request: ChatRequest) -> Action:
    """The recorded agent again, which is not always the same."""
    if number_of(request) % 11 == 1:
        raise ModelFailure("no", kind="refused", status=400)
    return (
        Action(text="Hm.", latency_ms=8.0) if number_of(request) % 7 == 2 else as_recorded(request)
    )


def shorter(request: ChatRequest) -> Action:
    """Answers everything; in some conversations by a word."""
    return Action(text="Yes.", latency_ms=5.0) if number_of(request) % 3 else as_recorded(request)


def judge(request: ChatRequest) -> dict[str, str]:
    """Prefers the first in some conversations, the longer one in others."""
    text = str(request.messages[-1]["content"])
    return {"role": "assistant", "content": f'{{"better": {1 + len(text) % 2}}}'}


def compared(
    store: refold.Store, samples: int = 1, *, has_control: bool = True, is_complete: bool = False
) -> Comparison:
    """A comparison with all that there can be: failed, broken, missing, never begun, later.

    One that ``is_complete`` has an answer to every decision.
    """
    streams = [record(store, f"call-{n}") for n in range(CONVERSATIONS)]
    asked = streams if is_complete else streams[:-2]
    candidates = (shorter, as_recorded) if is_complete else (Changing(), noisy)
    for variant, candidate in zip((CANDIDATE, CONTROL), candidates, strict=True):
        replay(store, asked, variant, candidate, samples=samples, attempts_max=2)
    if not is_complete:
        record(store, "call-3", [UserUtterance("And?"), AgentUtterance("No.")])
    control = CONTROL if has_control else None
    variants = [(CANDIDATE, None), (control, None)]
    ask_judge(store, streams, variants, JUDGE, judge)
    question = Question(primary="judge", guardrails=("cost", "broken_answers"))
    return compare(
        store, streams, CANDIDATE, control=control, question=question, checks=CHECKS, judge=JUDGE
    )


def listed_in(found: Page, place: Element) -> int:
    """How many items stand in the lists of an element, packed ones too."""
    (whole,) = (f"<main>{''.join(parts)}</main>" for parts in [[*packed(found, place)]])
    inside = [e for e in found.elements if e.is_in(place)] + Page(whole).elements
    for tag, name in (("tr", ""), ("li", ""), ("span", "task"), ("a", "id"), ("code", "id")):
        found_here = [
            e
            for e in inside
            if e.tag == tag
            and (name in e.classes if name else tag != "tr" or "data-levels" in e.attributes)
        ]
        if found_here:
            return len(found_here)
    return 0


def packed(found: Page, place: Element) -> Iterator[str]:
    for one in found.inside(place, "template"):
        yield zlib.decompress(base64.b64decode(one.text)).decode()


# Behind these are no events: the confidence, p, advice on what to do, names, what is told of a run.
_OF_NO_EVENTS = re.compile(
    r"95(\.0)? %|95th|p = [\d.e-]*\d|, \S+ among several|seed=\d+|…~replay\S+|About \d+ more"
    r"|judge-1|max_words=2|at most: 2|and again: 2|better=1 .*? 0\.5|\(pass\S+\): 1"
)


def unlinked(html: str) -> list[str]:
    """The numbers above the lists that are no links to what is behind them, with their words."""
    found = Page(re.sub(r"<a [^>]*>[^<]*</a>", "", html))
    (main,) = found.all("main")
    names = ("", "verdict", "figures", "noise", "sides")
    above = [e for e in found.elements if e.parent is main and e.tag != "footer"]
    texts = [e.text for e in above if e.attributes.get("id", "") in names]
    assert texts
    return re.findall(r".{,40}\d.{,40}", _OF_NO_EVENTS.sub("", " | ".join(texts)))


def counts_of(found: Page) -> dict[str, set[int]]:
    """Where each number that counts leads, with what it says."""
    told: dict[str, set[int]] = {}
    for link in found.all("a", "count"):
        number = int(re.match(r"[\d,]+", link.text)[0].replace(",", ""))  # type: ignore[index]
        told.setdefault(link.attributes["href"].removeprefix("#"), set()).add(number)
    return told


@pytest.mark.parametrize("page_size", [3, 400])
@pytest.mark.parametrize("has_control", [True, False])
def test_each_list_is_as_long_as_its_number(
    monkeypatch: pytest.MonkeyPatch, page_size: int, has_control: bool
) -> None:
    """Of candidate and control: levels, actions, conversations, changes, failures, tries."""
    for name in ("ROWS_A_PAGE", "PLACES_A_PAGE"):
        monkeypatch.setattr(lists, name, page_size)
    with refold.open("memory:") as store:
        made = compared(store, has_control=has_control)
        found = Page(render_report(made, read=store.read))
    told = counts_of(found)
    assert {name: {listed_in(found, found.by_id(name))} for name in told} == told
    figures = made.figures
    rate, whole, left = figures.by_decision, figures.by_conversation, figures.accounting
    expected = {
        **{f"level:{level}": n for level, n in figures.counts.items() if n},
        "conversations": CONVERSATIONS,
        "levels": figures.decisions,
        "assessed": rate.trials,
        "same-action": rate.successes,
        "other-action": rate.trials - rate.successes,
        "not-assessed": figures.not_assessed,
        "throughout": whole.trials,
        "same-throughout": whole.successes,
        "left-out": left.failed + left.missing + left.never_begun + left.later,
        "tried-again": figures.candidate.tries.answers,
    }
    if made.control is not None:
        floor = made.control.figures
        gone = floor.accounting
        expected |= {
            "control:assessed": floor.by_decision.trials,
            "control:same-action": floor.by_decision.successes,
            "control:left-out": gone.failed + gone.missing + gone.never_begun + gone.later,
        }
    assert all(value > 0 for value in expected.values())
    assert {name: {value} for name, value in expected.items()}.items() <= told.items()
    kinds = ("failed", "missing", "never_begun", "later")
    for kind in kinds:
        shown = found.by_id(kind.replace("_", "-")) if getattr(left, kind) else None
        assert shown is None or listed_in(found, shown) == getattr(left, kind)


@pytest.mark.parametrize("has_control", [True, False])
def test_each_figure_of_the_verdict_leads_to_what_is_behind_it(has_control: bool) -> None:
    """Candidate, control and difference, of checks and the judge as well."""
    with refold.open("memory:") as store:
        made = compared(store, has_control=has_control)
        found = Page(render_report(made, read=store.read))
    (table,) = found.all("table", "verdicts")
    links = {e.attributes["href"].removeprefix("#"): e for e in found.inside(table, "a")}
    names = {one.metric.name for one in made.verdicts}
    assert {"judge", "cost", "broken_answers", "check:max_words=2", "check:repeated_calls"} <= names
    for one in made.verdicts:
        name = f"metric:{one.metric.name}".replace("=", "%3D")
        if one.difference is None:
            assert name not in links
            continue
        assert links[name].text
        shown = listed_in(found, found.by_id(name))
        assert f"{shown} place" in found.by_id(name).text
        if one.metric.unit != "share":
            continue
        for side in one.sides:
            assert f"{name}:{side}" in links
        if one.missing:
            assert listed_in(found, found.by_id(f"{name}:unknown")) == one.missing
        if one.metric.name == "broken_answers" and not one.missing:
            broken = listed_in(found, found.by_id(f"{name}:candidate"))
            assert broken == made.figures.broken.successes
        assert (shown > 0) or one.difference == 0


def test_each_check_is_a_column_of_the_conversations() -> None:
    """And so is the judge: the mean over its decisions, a dash where it applies to none."""
    with refold.open("memory:") as store:
        made = compared(store)
        found = Page(render_report(made, read=store.read))
        conversations = list(made.conversations)
    (table,) = found.all("table", "conversations")
    heads = [one.text for one in found.inside(table, "th")]
    scored = ["judge", "check:max_words=2", "check:repeated_calls"]
    assert sorted(heads[-3:]) == sorted(scored)
    rows = [one for one in found.inside(table, "tr") if "data-levels" in one.attributes]
    assert len(rows) == CONVERSATIONS
    for conversation, row in zip(conversations, rows, strict=True):
        cells = {e.attributes.get("data-name"): e.text for e in found.inside(row, "td")}
        for name in scored[1:]:
            scores = [d.scores.get(name) for d in conversation.decisions]
            of = [score for score in scores if score is not None]
            told = f"{100 * sum(of) / len(of):.1f} %" if of else "–"
            assert cells[name] == told, (conversation.stream, name)


@pytest.mark.parametrize("is_complete", [True, False])
@pytest.mark.parametrize("has_control", [True, False])
def test_no_number_above_the_lists_stands_alone(has_control: bool, is_complete: bool) -> None:
    """Those in the sentences too: sides, differences, intervals, clusters, what is missing."""
    with refold.open("memory:") as store:
        made = compared(store, has_control=has_control, is_complete=is_complete)
        html = render_report(made, read=store.read)
    assert unlinked(html) == []
    plain = made.verdicts.primary.plain
    assert plain in Page(html).text
    assert re.search(r"\d", plain)


def test_each_sample_of_a_turn_has_a_place_of_its_own() -> None:
    """No id stands on the page twice, and each list has each answer once."""
    with refold.open("memory:") as store:
        made = compared(store, samples=2)
        found = Page(render_report(made, read=store.read))
    assert len(set(found.ids)) == len(found.ids)
    assert {link.removeprefix("#") for link in found.links} <= set(found.ids)
    told = counts_of(found)
    del told["conversations"]  # It has each of them once a sample.
    assert {name: {listed_in(found, found.by_id(name))} for name in told} == told


def test_of_two_recordings_too() -> None:
    """The tasks on both sides, and who did them."""
    with refold.open("memory:") as store:
        for n in range(12):
            for side in "ab":
                good = n % 3 > 0 if side == "a" else n % 4 > 0
                said = [UserUtterance("Hi."), AgentUtterance("Hm." if n % 5 else f"{side}.")]
                store.append(f"{side}-{n}", said, metadata={"task": f"t{n}"})
                store.append(
                    f"{side}-{n}",
                    [
                        refold.Event(
                            "score.recorded", {"name": "reward", "value": float(good), "rater": "x"}
                        )
                    ],
                )
        sides = [[f"{side}-{n}" for n in range(12)] for side in "ab"]
        made = compare_recorded(store, *sides, checks=CHECKS)
        html = render_report(made, read=store.read)
    assert unlinked(html) == []
    found = Page(html)
    told = counts_of(found)
    assert {name: {listed_in(found, found.by_id(name))} for name in told} == told
    assert made.outcomes is not None
    outcomes = made.outcomes
    expected = {"both": outcomes.both, "only-a": outcomes.only_a, "only-b": outcomes.only_b}
    expected["neither"] = outcomes.neither
    assert {f"outcome:{name}": {value} for name, value in expected.items()}.items() <= told.items()
    assert told["tasks"] == {12}
