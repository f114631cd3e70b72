"""Every recorded decision is accounted for, wherever a candidate parts, fails or is cut off.

Beside the run stands a naive reckoning: what a script does at one decision of each conversation
says what becomes of all of them.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple, get_args

import msgspec
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

import refold
from refold.cli.main import main
from refold.conversation.events import (
    AgentConfigured,
    AgentUtterance,
    Tool,
    ToolCall,
    ToolResult,
    UserUtterance,
)
from refold.freerun import FreeRun
from refold.replay import Action, Call, ChatRequest, ModelFailure, Variant, compare, replay
from refold.replay.compare import Comparison
from refold.replay.report import render_report, summary
from tests.ui.serving import served

Way = Literal["same", "other", "hands_over", "silent", "fails", "too_long", "untold", "killed"]
WAYS: Final[tuple[Way, ...]] = get_args(Way)
VARIANT = Variant(label="free")
TOOLS = [Tool(n, parameters={"type": "object"}, effect="read") for n in ("look", "price")]


class Told(NamedTuple):
    """A conversation: so many calls in each of its turns, each turn ended in words.

    At the decision ``at`` of it, the candidate goes its ``way``; ``asked`` is whether at all.
    """

    turns: Sequence[int]
    way: Way
    place: int
    asked: bool = True

    @property
    def decisions(self) -> int:
        return sum(self.turns) + len(self.turns)

    @property
    def ends(self) -> list[int]:
        """The decision in words that each turn ends with."""
        return [sum(self.turns[: n + 1]) + n for n in range(len(self.turns))]

    @property
    def at(self) -> int:
        """The decision where it goes its way: a result is untold of a call."""
        every = [n for n in range(self.decisions) if self.way != "untold" or n not in self.ends]
        return every[self.place % len(every)] if every else -1


def told(turns: Sequence[int], way: Way, place: int, asked: bool) -> Told:
    return Told(turns, "same" if way == "untold" and not any(turns) else way, place, asked)


talks = st.builds(
    told,
    st.lists(st.integers(0, 3), min_size=1, max_size=4),
    st.sampled_from(WAYS),
    st.integers(0, 15),
    st.integers(0, 6).map(bool),
)


def record(store: refold.Store, stream: str, talk: Told) -> None:
    """The conversation, whose n-th decision calls with n or says n."""
    events: list[object] = [AgentConfigured(tools=TOOLS)]
    number = 0
    for calls in talk.turns:
        events.append(UserUtterance(text="And then?"))
        for _ in range(calls):
            own: Any = {"call_id": f"c{number}", "name": "look"}
            called = ToolCall(**own, arguments=json.dumps({"n": number}), message_id=f"m{number}")
            is_told = (talk.way, talk.at) != ("untold", number)
            events += [called, *([ToolResult(**own, result="ok")] if is_told else [])]
            number += 1
        events.append(AgentUtterance(text=f"That was {number}.", message_id=f"m{number}"))
        number += 1
    store.append(stream, events)


def agent(talks: dict[str, Told]) -> Callable[[ChatRequest], Action]:
    """Does in each conversation what was recorded, but for the one decision."""

    def answer(request: ChatRequest) -> Action:
        talk = talks[request.at.partition("@")[0]]
        number = sum(one["role"] == "assistant" for one in request.messages)
        if number == talk.at:
            match talk.way:
                case "other":
                    return Action(calls=(Call("price", '{"n": -1}', "x"),))
                case "hands_over":
                    return Action(text="That is all.")
                case "silent":
                    return Action(text="")
                case "fails":
                    raise ModelFailure("down", kind="error")
                case "too_long":
                    raise ModelFailure("maximum context length is 8", kind="refused", status=400)
                case "killed":
                    raise KeyboardInterrupt
        if number >= talk.decisions or number in talk.ends:
            return Action(text=f"In other words, {number}.")
        return Action(calls=(Call("look", json.dumps({"n": number}), f"y{number}"),))

    return answer


def reckoned(talk: Told, *, is_killed: bool) -> Counter[tuple[str, str]]:
    """What becomes of the decisions of a conversation: by standing, and why."""
    every, at = talk.decisions, talk.at
    if not talk.asked or is_killed:
        return Counter({("excluded", "not asked"): every})
    whole = max([end + 1 for end in talk.ends if end < at], default=0)
    match talk.way:
        case "same" | "hands_over" if talk.way == "same" or at in talk.ends:
            found = {("comparable", ""): every}
        case "other" | "hands_over" | "silent":
            why = "broken_answer" if talk.way == "silent" else "other_calls"
            left = every - at - 1
            found = {("comparable", ""): at, ("diverged", why): 1, ("conditional", ""): left}
        case "too_long" | "untold":
            why = "prompt_too_long" if talk.way == "too_long" else "no_recorded_result"
            found = {("comparable", ""): at, ("excluded", why): every - at}
        case "fails":
            found = {("comparable", ""): whole, ("excluded", "infrastructure"): 1}
            found[("excluded", "not asked")] = every - whole - 1
        case _:
            found = {("comparable", ""): whole, ("excluded", "not asked"): every - whole}
    return Counter(found)


def run(store: refold.Store, talks: Sequence[Told], user: Any, samples: int) -> Comparison:
    """A free run of what is asked, one after the other, compared with all that there is."""
    named = {f"call-{n}": talk for n, talk in enumerate(talks)}
    for stream, talk in named.items():
        record(store, stream, talk)
    samples = 1 if any(talk.asked and talk.way == "killed" for talk in talks) else samples
    mode, asked = FreeRun(user=user), [stream for stream, talk in named.items() if talk.asked]
    if asked:
        with suppress(KeyboardInterrupt):
            replay(store, asked, VARIANT, agent(named), mode=mode, workers=1, samples=samples)
    return compare(store, [*named], mode.stamped(VARIANT))


def parts(course: Any) -> tuple[Any, ...]:
    return course.comparable, course.diverged, course.conditional, course.excluded


def by_reason(counted: Counter[tuple[str, str]], standing: str) -> dict[str, int]:
    return {why: n for (what, why), n in sorted(counted.items()) if what == standing and n}


ONE: Final = re.compile(
    r"Of ([\d,]+) decisions?, ([\d,]+) are comparable, ([\d,]+) diverged.*?, "
    r"([\d,]+) are conditional and ([\d,]+) excluded"
)
ROW: Final = re.compile(
    r"<tr><td>(comparable|diverged|conditional|excluded|all)</td>"
    r"<td>[^<]*</td><td class=\"?number\"?>(?:<a [^>]*>)?([\d,]+)<"
)


def said(text: str) -> tuple[int, ...]:
    """The figures of the sentence: all, comparable, diverged, conditional, excluded."""
    (found,) = ONE.findall(text)
    return tuple(int(one.replace(",", "")) for one in found)


def drawn(html: str) -> tuple[int, ...]:
    """The same of the table of a page; its rows of one kind added up."""
    table: Counter[str] = Counter()
    for name, count in ROW.findall(html):
        table[name] += int(count.replace(",", ""))
    return tuple(table[n] for n in ("all", "comparable", "diverged", "conditional", "excluded"))


def expected(course: Any) -> tuple[int, ...]:
    diverged, excluded = sum(course.diverged.values()), sum(course.excluded.values())
    return course.decisions, course.comparable, diverged, course.conditional, excluded


def looked_at(comparison: Comparison) -> None:
    """Every figure adds up to the decisions that were recorded, and says the same of them."""
    figures, course = comparison.figures, comparison.figures.course
    assert course is not None
    whole, comparable, diverged, conditional, excluded = expected(course)
    assert comparable + diverged + conditional + excluded == whole == figures.decisions
    account = figures.accounting
    assert account.decisions == whole
    assert account.conditional == conditional
    lost = account.failed + account.missing + account.never_begun + account.excluded
    assert (account.answered, lost, account.later) == (comparable + diverged, excluded, 0)
    assert sum(figures.counts.values()) == whole
    compared = comparable + diverged
    assert figures.by_decision.trials + figures.not_assessed == compared
    assert figures.by_record.called.trials + figures.by_record.spoke.trials == compared
    assert sum(len(one.decisions) for one in comparison.conversations) == whole
    assert said(summary(comparison)) == expected(course)
    told = json.loads(msgspec.json.encode(msgspec.to_builtins(figures)))["course"]
    assert (told["decisions"], told["comparable"], told["conditional"]) == (
        *(whole, comparable, conditional),
    )
    sums = [sum(told[standing].values()) for standing in ("diverged", "excluded")]
    assert sums == [diverged, excluded]


@settings(max_examples=25, deadline=None)
@given(
    st.lists(talks, min_size=1, max_size=4),
    st.sampled_from([None, "rules"]),
    st.integers(1, 2),
    st.booleans(),
)
def test_every_decision_is_accounted_for(
    talks: list[Told], user: Any, samples: int, drawn_too: bool
) -> None:
    """Comparable, diverged, conditional and excluded are all that was recorded, as is reckoned."""
    with refold.open("memory:") as store:
        compared = run(store, talks, user, samples)
        looked_at(compared)
        course = compared.figures.course
        assert course is not None
        if drawn_too:
            assert drawn(render_report(compared, read=store.read)) == expected(course)
    # Of one that is killed a sample is asked: what the other came to depends on the order.
    killed = next((n for n, one in enumerate(talks) if one.asked and one.way == "killed"), None)
    want: Counter[tuple[str, str]] = Counter()
    for place, talk in enumerate(talks):
        is_killed = killed is not None and place > killed
        # What was not to be asked is in no sample, and missing once.
        for _ in range(samples if killed is None and talk.asked else 1):
            want += reckoned(talk, is_killed=is_killed)
    assert parts(course) == (
        want["comparable", ""],
        by_reason(want, "diverged"),
        want["conditional", ""],
        by_reason(want, "excluded"),
    )


def test_the_command_the_report_and_the_page_say_the_same(tmp_path: Path) -> None:
    """In words, as JSON, as a page to send and as a page to look at: one reckoning."""
    talks = [Told([2, 1], way, 2, asked=True) for way in WAYS]
    db, report = str(tmp_path / "log.db"), tmp_path / "report.html"
    with refold.open(db) as store:
        compared = run(store, talks, "rules", 1)
        looked_at(compared)
        want, name = expected(compared.figures.course), compared.variant_id
        assert 0 not in want
        with served(store) as client:
            page = client.get(f"/replays/{name}").text
    asked = ["compare", "--db", db, "--variant", name, *(f"call-{n}" for n in range(len(talks)))]
    text = CliRunner().invoke(main, [*asked, "--report", str(report)])
    told = CliRunner().invoke(main, [*asked, "--json"])
    assert said(text.stdout) == drawn(report.read_text()) == want
    assert drawn(page) == want
    course = json.loads(told.stdout)["figures"]["course"]
    assert (course["decisions"], course["comparable"], course["conditional"]) == (
        *(want[0], want[1], want[3]),
    )
    assert [sum(course[part].values()) for part in ("diverged", "excluded")] == [want[2], want[4]]
