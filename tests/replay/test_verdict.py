"""Verdicts: what may be said of a candidate, and what may not."""

from __future__ import annotations

import random
import re

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from refold.errors import UsageError
from refold.replay.gate import gate
from refold.replay.metrics import METRICS, Metric, Observation
from refold.replay.verdict import Verdict, family, judge

BROKEN = Metric("broken_answers", "answers that are broken", "lower", "share", 0.0, 1.0)
REWARD = Metric("reward", "the reward", "higher", "share", 0.0, 1.0)
SAME = Metric("same_action", "the same action", None, "share", 0.0, 1.0)
COST = Metric("cost", "cost of an answer", "lower", "USD", 0.0, None)


def arm(
    share: float, conversations: int = 100, decisions: int = 20, *, seed: int = 0
) -> list[Observation]:
    """Decisions of conversations, each 1 with this share of chance."""
    draw = random.Random(seed)
    return [
        Observation(f"c-{c}@{d}", f"c-{c}", float(draw.random() < share))
        for c in range(conversations)
        for d in range(decisions)
    ]


def constant(
    value: float | None, conversations: int = 100, decisions: int = 20
) -> list[Observation]:
    return [
        Observation(f"c-{c}@{d}", f"c-{c}", value)
        for c in range(conversations)
        for d in range(decisions)
    ]


def test_differing_decisions_are_seen_where_every_conversation_differs() -> None:
    """35 % against 25 % of 100 x 20 decisions; a test of whole conversations sees nothing."""
    verdict = judge(SAME, arm(0.65, seed=1), arm(0.75, seed=2))
    assert verdict.answer == "changed more than noise"
    assert verdict.difference == pytest.approx(-0.1, abs=0.03)
    assert verdict.low is not None and verdict.high is not None
    assert verdict.high - verdict.low == pytest.approx(2 * 0.028, abs=0.01)
    assert verdict.p is not None and verdict.p < 1e-6
    assert verdict.smallest_effect == pytest.approx(0.04, abs=0.01)


@pytest.mark.parametrize(
    ("metric", "answer"), [(BROKEN, "worse"), (REWARD, "better"), (SAME, "changed more than noise")]
)
def test_a_direction_says_which_is_better(metric: Metric, answer: str) -> None:
    """More broken answers are worse, more reward is better, more of the same is neither."""
    more, less = arm(0.3, seed=1), arm(0.05, seed=2)
    opposite = {"worse": "better", "better": "worse"}
    assert judge(metric, more, less).answer == answer
    assert judge(metric, less, more).answer == opposite.get(answer, answer)


def test_a_mute_agent_is_worse() -> None:
    """Every answer empty, none of the control's: the ends are sure of the direction."""
    verdict = judge(BROKEN, constant(1.0), constant(0.0), margin=0.02)
    assert (verdict.answer, verdict.difference) == ("worse", 1.0)
    assert verdict.low is not None and verdict.low > 0.9


def test_an_a_a_with_enough_conversations_is_equivalent() -> None:
    """Nothing broken in 200 conversations leaves less than 2 points open."""
    verdict = judge(BROKEN, constant(0.0, 200), constant(0.0, 200), margin=0.02)
    assert verdict.answer == "equivalent"
    assert verdict.high is not None and 0.015 < verdict.high < 0.02


@pytest.mark.parametrize("conversations", [1, 2, 5, 6, 20, 100])
def test_an_a_a_with_few_is_inconclusive_and_says_how_many_more(conversations: int) -> None:
    """Nothing seen in few conversations does not show that there is nothing."""
    for metric in (BROKEN, SAME):
        same = constant(0.0, conversations)
        verdict = judge(metric, same, same, margin=0.02)
        assert verdict.answer == "inconclusive"
        assert verdict.clusters_needed is not None
        assert 180 <= verdict.clusters_needed <= 200
        more = verdict.clusters_needed - conversations
        assert f"About {more:,} more conversations would tell." in verdict.plain


def test_as_many_more_as_it_says_do() -> None:
    """The number that an inconclusive verdict asks for is enough."""
    few = judge(BROKEN, constant(0.0, 10), constant(0.0, 10), margin=0.05)
    assert few.clusters_needed is not None
    enough = constant(0.0, few.clusters_needed)
    assert judge(BROKEN, enough, enough, margin=0.05).answer == "equivalent"


def test_no_change_is_not_said_of_an_interval_that_shows_nothing() -> None:
    """Without a margin, five points of a share are what has to be seen."""
    wide = judge(SAME, arm(0.75, 10, 5, seed=1), arm(0.75, 10, 5, seed=2))
    narrow = judge(SAME, arm(0.75, 400, seed=1), arm(0.75, 400, seed=2))
    assert (wide.answer, narrow.answer) == ("inconclusive", "no change seen")


def test_a_difference_within_the_margin_does_not_matter() -> None:
    """One point more, surely, within the three that were declared beforehand."""
    drawn = arm(0.10, 400, 40, seed=1), arm(0.09, 400, 40, seed=2)
    assert judge(BROKEN, *drawn).answer == "worse"
    assert judge(BROKEN, *drawn, margin=0.03).answer == "equivalent"
    assert judge(SAME, *drawn, margin=0.03).answer == "no change seen"


@pytest.mark.parametrize("count", [2, 3, 4, 5])
def test_fewer_than_six_conversations_say_nothing(count: int) -> None:
    """By no difference, however large; the ends are all that a share can differ by."""
    verdict = judge(BROKEN, constant(1.0, count), constant(0.0, count))
    assert verdict.answer == "inconclusive"
    assert (verdict.low, verdict.high, verdict.smallest_effect) == (-1.0, 1.0, None)
    assert verdict.clusters_needed == 6


def test_an_incomplete_run_is_inconclusive_whatever_it_shows() -> None:
    """Neither green nor red, and it says so first."""
    for candidate in (constant(1.0), constant(0.0)):
        verdict = judge(BROKEN, candidate, constant(0.0), margin=0.05, is_complete=False)
        assert verdict.answer == "inconclusive"
        assert "not complete" in verdict.plain
        assert family(verdict).ship == "Do not decide yet: the run is not complete."


@pytest.mark.parametrize(
    ("noise", "exit_code"), [(0.02, 0), (0.4, 1)], ids=["the same agent", "another"]
)
def test_twenty_conversations_pass_the_same_agent_and_stop_another(
    noise: float, exit_code: int
) -> None:
    """An A/A at 2 % noise is no change; 40 % other actions are one."""
    verdict = judge(SAME, arm(1 - noise, 20, 12, seed=5), arm(0.98, 20, 12, seed=6))
    assert gate(family(verdict), ["changed"]).exit_code == exit_code


def test_samples_are_averaged_before_they_are_paired() -> None:
    """Three answers to a decision are one value of it, not three decisions."""
    three = [o for seed in range(3) for o in arm(0.3, 30, seed=seed)]
    one = arm(0.3, 30, seed=9)
    verdict = judge(SAME, three, one)
    assert (verdict.items, verdict.clusters) == (600, 30)
    expected = sum(o.value or 0.0 for o in three) / 1_800
    assert verdict.candidate == pytest.approx(expected)


def test_clusters_above_the_conversation_are_the_unit() -> None:
    """Four copies of each of ten conversations show what ten do, not what forty do."""

    def copied(observations: list[Observation], *, by_task: bool) -> list[Observation]:
        return [
            Observation(f"{o.item}/{n}", o.cluster if by_task else f"{o.cluster}/{n}", o.value)
            for o in observations
            for n in range(4)
        ]

    arms = arm(0.4, 10, seed=4), arm(0.3, 10, seed=8)
    once = judge(SAME, *arms)
    by_task = judge(SAME, *(copied(one, by_task=True) for one in arms))
    naive = judge(SAME, *(copied(one, by_task=False) for one in arms))
    assert (by_task.low, by_task.high, by_task.p) == pytest.approx((once.low, once.high, once.p))
    assert naive.p is not None and once.p is not None and naive.p < once.p / 10


def test_an_item_in_several_clusters_is_its_own() -> None:
    """Trials of a task in conversations of their own: the task is what both arms share."""
    tried = [Observation(f"task-{t}", f"conv-{t}-{n}", t % 2) for t in range(30) for n in range(4)]
    verdict = judge(REWARD, tried, tried)
    assert (verdict.items, verdict.clusters) == (30, 30)


class TestMissing:
    def test_bounds_count_the_missing_as_the_lowest_and_the_highest(self) -> None:
        """Two of ten unknown: 0.8 known, so from 0.64 to 0.84 less a control that is known."""
        known = [Observation(f"c-{n}", f"c-{n}", 0.8) for n in range(8)]
        lost = [Observation(f"c-{n}", f"c-{n}", None) for n in (8, 9)]
        control = [Observation(f"c-{n}", f"c-{n}", 0.5) for n in range(10)]
        verdict = judge(REWARD, [*known, *lost], control)
        assert (verdict.missing, verdict.items, verdict.clusters) == (2, 10, 8)
        assert verdict.difference == pytest.approx(0.3)
        assert verdict.missing_low == pytest.approx(0.64 - 0.5)
        assert verdict.missing_high == pytest.approx(0.84 - 0.5)

    def test_an_item_that_only_one_arm_has_is_missing(self) -> None:
        """Never left out in silence, on either side."""
        for arms in ((constant(0.0, 9), constant(0.0, 10)), (constant(0.0, 10), constant(0.0, 9))):
            verdict = judge(BROKEN, *arms)
            assert (verdict.missing, verdict.items, verdict.clusters) == (20, 200, 9)

    def test_what_is_missing_can_undo_an_answer(self) -> None:
        """Equivalent over what is known; not if one answer in ten may be anything."""
        candidate = arm(0.02, 400, seed=1)
        holed = [
            Observation(o.item, o.cluster, None if n % 10 == 0 else o.value)
            for n, o in enumerate(candidate)
        ]
        control = arm(0.02, 400, seed=2)
        assert judge(BROKEN, candidate, control, margin=0.02).answer == "equivalent"
        verdict = judge(BROKEN, holed, control, margin=0.02)
        assert verdict.answer == "inconclusive"
        assert "800 of 8,000 items lack an answer" in verdict.plain

    def test_a_lost_sample_of_several_counts_as_missing(self) -> None:
        """Two of three samples of an item known: its mean, with a third of it open."""
        items = [Observation(f"c-{n}", f"c-{n}", v) for n in range(20) for v in (1.0, 1.0, None)]
        control = [Observation(f"c-{n}", f"c-{n}", 0.0) for n in range(20)]
        verdict = judge(REWARD, items, control)
        assert (verdict.missing, verdict.difference) == (20, 1.0)
        assert verdict.missing_low == pytest.approx(2 / 3)

    def test_unknown_is_not_zero(self) -> None:
        """A cost that nobody knows is no cost of nothing."""
        verdict = judge(COST, constant(None), constant(0.01))
        assert (verdict.answer, verdict.candidate, verdict.difference) == (
            "inconclusive",
            None,
            None,
        )
        assert "known of no item" in verdict.plain

    def test_what_an_answer_took_is_not_asked_for_again(self) -> None:
        """The answers may be there, and not tell their cost: the advice would change nothing."""
        costs = constant(0.01)
        told = [Observation(o.item, o.cluster, o.value if n else None) for n, o in enumerate(costs)]
        verdict = judge(COST, told, costs)
        assert "1 of 2,000 items do not tell it on both sides." in verdict.plain
        assert "ask them again" not in verdict.plain

    def test_what_only_the_candidate_has_is_its_own_value(self) -> None:
        """A threshold asks for no control; there is no difference, and no answer."""
        for control in ([], constant(None)):
            verdict = judge(COST, [*constant(0.03, 9), *constant(None, 10)[180:]], control)
            assert verdict.candidate == pytest.approx(0.03)
            assert (verdict.control, verdict.difference) == (None, None)
            assert verdict.answer == "inconclusive"

    def test_without_bounds_the_dearest_seen_stands_for_what_is_not_known(self) -> None:
        """And the metric's own end where it has one."""
        known = [Observation(f"c-{n}", f"c-{n}", 0.02 + 0.01 * (n % 2)) for n in range(20)]
        lost = [Observation("c-20", "c-20", None)]
        control = [Observation(f"c-{n}", f"c-{n}", 0.02) for n in range(21)]
        verdict = judge(COST, [*known, *lost], control)
        assert verdict.missing_high == pytest.approx((20 * 0.005 + 0.01) / 21)
        assert verdict.missing_low == pytest.approx((20 * 0.005 - 0.02) / 21)


def test_without_a_control_nothing_says_how_much_is_noise() -> None:
    """And the verdict says what to run."""
    verdict = judge(SAME, arm(0.7), [])
    assert verdict.answer == "inconclusive"
    assert "as a control" in verdict.plain


def test_two_recordings_are_called_as_they_are() -> None:
    """Neither is a candidate, nor the other one again: what differs no more is by chance."""
    verdict = judge(SAME, arm(0.7, 400), arm(0.7, 400), sides=("b", "a"))
    assert verdict.answer == "no change seen"
    assert "with b, " in verdict.plain
    assert " with a; " in verdict.plain
    assert verdict.plain.endswith("no more than chance would have it.")


def test_a_metric_without_bounds_has_no_ends_where_nothing_is_known() -> None:
    """Three conversations do not bound a cost."""
    verdict = judge(COST, constant(0.03, 3), constant(0.01, 3))
    assert (verdict.low, verdict.high, verdict.answer) == (None, None, "inconclusive")
    assert "anything would fit" in verdict.plain


class TestFamily:
    def verdicts(self, count: int) -> list[Verdict]:
        """The one at 0.03 or so, and as many that show nothing."""
        rows = [(1.0,) * 6 + (0.0,) * 14] + [(0.0,) * 20] * count
        return [
            judge(
                msgspec.structs.replace(BROKEN, name=f"m{n}"),
                [Observation(str(i), str(i), v) for i, v in enumerate(row)],
                [Observation(str(i), str(i), 0.0) for i in range(20)],
            )
            for n, row in enumerate(rows)
        ]

    def test_among_many_guardrails_one_that_chance_explains_is_not_worse(self) -> None:
        """Alone it is worse (p of 2 / 2**6); of eight, Holm's p is 0.25."""
        alone = family(self.verdicts(0)[0], self.verdicts(0))
        many = family(alone.primary, self.verdicts(7))
        assert alone.guardrails[0].answer == "worse"
        assert many.guardrails[0].answer == "inconclusive"
        assert many.guardrails[0].adjusted_p == pytest.approx(8 * 2 / 2**6)
        assert "By itself that would be a difference" in many.guardrails[0].plain
        assert "By itself" not in "".join(one.plain for one in many.guardrails[1:])
        assert many.primary.answer == "worse" and many.primary.adjusted_p is None

    def test_the_rest_keeps_the_share_of_false_alarms(self) -> None:
        """Three of four that show it are told, where Holm's method would tell none."""
        seen = [self.verdicts(0)[0]] * 3 + self.verdicts(1)[1:]
        of_rest, guarded = family(seen[0], rest=seen).rest, family(seen[0], seen).guardrails
        assert [one.answer for one in of_rest] == ["worse"] * 3 + ["inconclusive"]
        assert {one.answer for one in guarded} == {"inconclusive"}

    def test_a_guardrail_that_got_worse_stops_a_better_candidate(self) -> None:
        """And is named in the first sentence."""
        better = judge(REWARD, arm(0.9, seed=1), arm(0.5, seed=2))
        worse = judge(BROKEN, arm(0.3, seed=1), arm(0.05, seed=2))
        found = family(better, [worse])
        assert found.ship == "Do not ship it: worse in answers that are broken."
        assert family(better).ship == "Ship it: better in the reward."
        assert [one.metric.name for one in found] == ["reward", "broken_answers"]

    def test_what_acts_otherwise_is_in_the_first_sentence(self) -> None:
        """An agent that no longer calls its tools loses nothing in broken answers."""
        same = judge(BROKEN, constant(0.0, 200), constant(0.0, 200), margin=0.02)
        calls = judge(METRICS["same_calls"], arm(0.4, seed=1), arm(0.9, seed=2))
        words = judge(METRICS["same_words"], arm(0.4, seed=1), arm(0.9, seed=2))
        assert family(same, rest=[calls, words]).ship == (
            "Look before you ship it: it acts otherwise (answers that call what was recorded), "
            "with nothing lost or won in answers that are broken."
        )
        assert family(same, rest=[words]).ship.startswith("Ship it if you like")
        better = judge(REWARD, arm(0.9, seed=1), arm(0.5, seed=2))
        assert "but look before: it acts otherwise" in family(better, rest=[calls]).ship

    @pytest.mark.parametrize(
        ("verdict", "ship"),
        [
            (
                judge(BROKEN, constant(0.0, 200), constant(0.0, 200), margin=0.02),
                "Ship it if you like",
            ),
            (judge(SAME, constant(0.0, 200), constant(0.0, 200)), "Ship it if you like: no change"),
            (judge(SAME, arm(0.4, seed=1), arm(0.7, seed=2)), "Look before you ship it"),
            (judge(BROKEN, constant(0.0, 9), constant(0.0, 9)), "Do not ship it yet: nothing sure"),
        ],
    )
    def test_the_first_sentence_says_whether_to_ship(self, verdict: Verdict, ship: str) -> None:
        """For every answer that a primary metric can have."""
        assert family(verdict).ship.startswith(ship)


def test_looking_at_any_time_asks_for_more() -> None:
    """The same arms, an interval half as wide again; nothing at all before 17 clusters."""
    arms = arm(0.3, seed=1), arm(0.2, seed=2)
    once, often = judge(BROKEN, *arms), judge(BROKEN, *arms, looks="any")
    assert None not in (once.low, once.high, often.low, often.high)
    assert (once.answer, often.answer) == ("worse", "worse")
    ratio = (often.high - often.low) / (once.high - once.low)  # type: ignore[operator]
    assert 1.4 < ratio < 1.7
    few = judge(BROKEN, constant(1.0, 16), constant(0.0, 16), looks="any")
    assert few.answer == "inconclusive"


@given(
    st.lists(
        st.tuples(
            st.integers(0, 8),
            st.one_of(st.none(), st.floats(0, 1)),
            st.one_of(st.none(), st.floats(0, 1)),
        ),
        max_size=30,
    ),
    st.sampled_from([BROKEN, REWARD, SAME, COST]),
    st.one_of(st.none(), st.floats(0.001, 0.5)),
    st.booleans(),
)
def test_a_verdict_keeps_its_word(
    drawn: list[tuple[int, float | None, float | None]],
    metric: Metric,
    margin: float | None,
    is_complete: bool,
) -> None:
    """For any answers: ends around the difference, an answer they allow, plain words."""
    new = [Observation(str(n), f"c-{c}", v) for n, (c, v, _) in enumerate(drawn)]
    old = [Observation(str(n), f"c-{c}", v) for n, (c, _, v) in enumerate(drawn)]
    verdict = judge(metric, new, old, margin=margin, is_complete=is_complete)
    assert judge(metric, new[::-1], old[::-1], margin=margin, is_complete=is_complete) == verdict
    if verdict.difference is not None:
        low = verdict.difference if verdict.low is None else verdict.low
        high = verdict.difference if verdict.high is None else verdict.high
        assert low - 1e-9 <= verdict.difference <= high + 1e-9
    if verdict.answer in ("better", "worse", "changed more than noise"):
        assert is_complete and verdict.clusters >= 6
        assert verdict.p is not None and verdict.p <= 0.05
    if verdict.answer == "equivalent":
        assert is_complete and margin is not None and metric.direction
        assert verdict.low is not None and verdict.low >= -margin
    assert verdict.items == len({o.item for o in new})
    words = "interval|confidence|significan|p-value|null|hypothes|variance|deviation|error"
    assert not re.search(words, verdict.plain, re.IGNORECASE)
    assert msgspec.json.decode(msgspec.json.encode(verdict), type=Verdict) == verdict


def test_the_order_of_what_was_seen_makes_no_difference() -> None:
    """Not in the last digit either: sums are rounded otherwise in another order."""
    values = [(0.9849037285401836, 0.0), (0.0, 1.0), (1.0, 0.5813339556171394), (0.0, 0.0)]
    values += [(0.25, 1e-09), (0.0, 1.0), (0.0, 0.0), (0.4375, 0.0)]
    arms = [
        [Observation(f"c-{n}@1", f"c-{n}", pair[side]) for n, pair in enumerate(values)]
        for side in (0, 1)
    ]
    forth, back = judge(BROKEN, *arms), judge(BROKEN, *(one[::-1] for one in arms))
    assert forth == back


@pytest.mark.parametrize(
    ("how", "argument"),
    [
        ({"margin": 0.0}, "margin"),
        ({"margin": float("nan")}, "margin"),
        ({"margin": -1.0}, "margin"),
        ({"confidence": 1.0}, "confidence"),
    ],
)
def test_arguments_that_cannot_be_are_named(how: dict[str, float], argument: str) -> None:
    """A margin that is none, a confidence that nothing has; a value that is no number."""
    with pytest.raises(UsageError) as caught:
        judge(BROKEN, constant(0.0), constant(0.0), **how)  # type: ignore[arg-type]
    assert caught.value.argument == argument
    with pytest.raises(UsageError, match="c-1@2"):
        judge(BROKEN, [Observation("c-1@2", "c-1", float("inf"))], constant(0.0))


def test_without_a_margin_no_number_of_conversations_is_promised() -> None:
    """What a directed metric lacks then is the margin; what only one arm answers is in neither."""
    few = judge(BROKEN, constant(0.0, 20), constant(0.0, 20))
    assert (few.answer, few.clusters_needed) == ("inconclusive", None)
    assert "Declare a margin" in few.plain
    out = [msgspec.structs.replace(one, applies=False) for one in constant(None, 5)]
    found = judge(BROKEN, [*out, *constant(0.0, 200)[100:]], constant(0.0, 200), margin=0.02)
    assert (found.missing, found.items, found.answer) == (0, 3_900, "equivalent")


def test_a_guardrail_passes_where_it_did_not_get_worse_by_what_matters() -> None:
    """Without a margin that is a tenth of the control, and it needs no improvement."""
    costs = [Observation(f"c-{n}", f"c-{n}", 1 + n % 2 / 100) for n in range(60)]
    assert judge(COST, costs, costs).answer == "inconclusive"
    assert judge(COST, costs, costs, is_guardrail=True).answer == "equivalent"
    dear = [msgspec.structs.replace(one, value=2.0) for one in costs]
    assert judge(COST, dear, costs, is_guardrail=True).answer == "worse"


class TestNotWorse:
    """A gain that is not sure is no loss: what is asked of a guardrail, and said of the primary."""

    def broken(self, *where: int, missing: int = 0) -> list[Observation]:
        """200 conversations: these are broken, and of the last so many it is not known."""
        known = [float(n in where) if n < 200 - missing else None for n in range(200)]
        return [Observation(f"c-{n}", f"c-{n}", value) for n, value in enumerate(known)]

    def test_a_guardrail_need_not_lie_within_the_margin_on_both_sides(self) -> None:
        """Its better end may be anywhere; of the primary that is not known to be as good."""
        control, candidate = self.broken(*range(10)), self.broken(*range(50, 55))
        guarded = judge(BROKEN, candidate, control, margin=0.05, is_guardrail=True)
        assert (guarded.answer, guarded.is_not_worse) == ("not worse", True)
        assert guarded.high is not None
        assert guarded.low is not None
        assert 0 < guarded.high <= 0.05 < -guarded.low
        primary = judge(BROKEN, candidate, control, margin=0.05)
        assert (primary.answer, primary.is_not_worse) == ("inconclusive", True)
        assert "not worse by more than 5.0 points" in primary.plain
        assert "but that it is not worse by more than 5.0 points in" in family(primary).ship
        worse = judge(BROKEN, control, candidate, margin=0.05, is_guardrail=True)
        assert (worse.answer, worse.is_not_worse) == ("inconclusive", False)
        higher = msgspec.structs.replace(BROKEN, direction="higher")
        assert judge(higher, control, candidate, margin=0.05, is_guardrail=True).is_not_worse
        assert not judge(higher, candidate, control, margin=0.05, is_guardrail=True).is_not_worse

    def test_what_is_missing_may_be_worse(self) -> None:
        """An answer that is not known counts as the worst there can be; a run cut off, as none."""
        control, candidate = self.broken(*range(10)), self.broken(*range(50, 55), missing=20)
        found = judge(BROKEN, candidate, control, margin=0.05, is_guardrail=True)
        assert (found.answer, found.is_not_worse) == ("inconclusive", False)
        whole = self.broken(*range(50, 55))
        cut = judge(BROKEN, whole, control, margin=0.05, is_guardrail=True, is_complete=False)
        assert (cut.answer, cut.is_not_worse) == ("inconclusive", False)
