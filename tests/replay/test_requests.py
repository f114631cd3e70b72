"""Asking again where it helps, on a clock that stands still until someone waits."""

import asyncio
from collections.abc import Iterator

import pytest

from refold.breaker import FAILED_IN_A_ROW_MAX, UNREACHABLE_MAX
from refold.errors import Unavailable, UsageError
from refold.pacing import RETRY_AFTER_MAX_S, Pace, RateLimiter
from refold.replay import Action, ChatRequest, ModelFailure
from refold.replay.candidate import FailureKind
from refold.replay.requests import Asker, Outcome

REQUEST = ChatRequest(messages=[])


class StillPace(Pace):
    """A clock that waiting moves; every roll of the dice is 1."""

    def __init__(self) -> None:
        self.at_s = 100.0

    def now_s(self) -> float:
        return self.at_s

    async def sleep(self, seconds: float) -> None:
        self.at_s += seconds

    def roll(self) -> float:
        return 1.0


class Scripted:
    """A candidate that fails as told, then answers; notes when it was asked."""

    def __init__(self, pace: StillPace, *failures: Exception) -> None:
        self.asked_s: list[float] = []
        self._pace = pace
        self._failures: Iterator[Exception] = iter(failures)

    def __call__(self, request: ChatRequest) -> Action:
        self.asked_s.append(self._pace.at_s - 100.0)
        for failure in self._failures:
            raise failure
        return Action(text="ok")


def failing(kind: FailureKind, *, retry_after_s: float | None = None) -> ModelFailure:
    return ModelFailure("no", kind=kind, retry_after_s=retry_after_s)


def put(asker: Asker) -> Outcome:
    """The outcome of one question."""
    return asyncio.run(asker.ask(REQUEST))


def ask(*failures: Exception, rate: float | None = None) -> tuple[Outcome, list[float]]:
    """The outcome of one question, and at what seconds it was put."""
    pace = StillPace()
    candidate = Scripted(pace, *failures)
    asker = Asker(candidate, limiter=RateLimiter(rate), pace=pace)
    return put(asker), candidate.asked_s


@pytest.mark.parametrize("kind", ["busy", "timeout", "unreachable"])
def test_what_may_pass_is_asked_again_later_and_later(kind: FailureKind) -> None:
    """Waits double from half a second; the answer counts its attempts."""
    outcome, asked_s = ask(failing(kind), failing(kind), failing(kind))
    assert outcome.action is not None
    assert (outcome.attempts, asked_s) == (4, [0.0, 0.5, 1.5, 3.5])


def test_attempts_are_bounded() -> None:
    """After five attempts the last failure is the outcome."""
    outcome, asked_s = ask(*[failing("busy")] * 9)
    assert (outcome.action, outcome.attempts, len(asked_s)) == (None, 5, 5)
    assert outcome.error == "busy: no"


def test_a_service_says_itself_when_to_come_back() -> None:
    """Retry-After comes before our own guess."""
    _, asked_s = ask(failing("busy", retry_after_s=7.0))
    assert asked_s == [0.0, 7.0]


def test_a_service_that_says_at_once_still_gets_a_moment() -> None:
    """Retry-After 0 does not use up every attempt within a millisecond."""
    _, asked_s = ask(*[failing("busy", retry_after_s=0.0)] * 2)
    assert asked_s == [0.0, 0.5, 1.5]


def test_a_service_that_asks_for_too_long_is_given_up() -> None:
    """Coming back earlier than it said would only be refused again."""
    outcome, asked_s = ask(failing("busy", retry_after_s=RETRY_AFTER_MAX_S + 1))
    assert (outcome.action, asked_s) == (None, [0.0])


def test_garbage_is_asked_once_more() -> None:
    """A broken answer may be an accident, two are not."""
    outcome, asked_s = ask(failing("garbage"), failing("garbage"), failing("garbage"))
    assert (outcome.error, len(asked_s)) == ("garbage: no", 2)


@pytest.mark.parametrize("failure", [failing("refused"), ValueError("a bug"), StopIteration()])
def test_what_will_not_change_is_not_asked_again(failure: Exception) -> None:
    """A request that is refused and a function that raises would do the same again."""
    outcome, asked_s = ask(failure)
    assert (outcome.action, len(asked_s)) == (None, 1)


def test_a_function_that_raises_says_what() -> None:
    """The error names the exception."""
    outcome, _ = ask(ValueError("a bug"))
    assert outcome.error == "error: the candidate raised ValueError: a bug"


def test_wrong_use_is_not_a_failure_of_the_model() -> None:
    """It ends the run."""
    with pytest.raises(UsageError):
        ask(UsageError("no model"))


def test_questions_keep_to_the_rate_retries_too() -> None:
    """Every request counts, whatever it is for."""
    _, asked_s = ask(failing("garbage"), rate=0.5)
    assert asked_s == [0.0, 2.0]


def test_latency_is_that_of_the_answer_alone() -> None:
    """Neither waiting nor failed attempts count as the model's time; its own figure is kept."""
    pace = StillPace()

    def slow(request: ChatRequest) -> Action:
        pace.at_s += 0.25
        return Action(text="ok")

    asker = Asker(slow, limiter=RateLimiter(0.1), pace=pace)
    for _ in range(2):
        action = put(asker).action
        assert action is not None
        assert action.latency_ms == 250.0
    own = Asker(lambda _: Action(latency_ms=3.0), limiter=RateLimiter(), pace=StillPace())
    assert put(own).action == Action(latency_ms=3.0)


def test_a_candidate_that_was_never_reached_ends_the_run() -> None:
    """Five failures to connect are enough when nothing ever answered; the error names it."""
    with pytest.raises(Unavailable) as stopped:
        ask(*[failing("unreachable")] * UNREACHABLE_MAX)
    assert stopped.value.candidate == "Scripted"


def test_a_candidate_that_was_reached_may_be_away_for_a_while() -> None:
    """Any response shows that the address is right, so only failed decisions count."""
    outcome, _ = ask(failing("busy"), *[failing("unreachable")] * 9)
    assert outcome.action is None


def test_too_many_failed_decisions_in_a_row_end_the_run() -> None:
    """A wrong key must not be tried on every conversation."""
    pace = StillPace()
    refusing = Scripted(pace, *[failing("refused")] * 100)
    asker = Asker(refusing, limiter=RateLimiter(), pace=pace)
    for _ in range(FAILED_IN_A_ROW_MAX - 1):
        assert put(asker).action is None
    with pytest.raises(Unavailable):
        put(asker)
    assert len(refusing.asked_s) == FAILED_IN_A_ROW_MAX


def test_refused_requests_do_not_end_a_run_that_had_answers() -> None:
    """A long conversation may be over a model's limit at all its later decisions."""
    pace = StillPace()
    failures = iter([None, *[failing("refused")] * 2 * FAILED_IN_A_ROW_MAX])

    def sometimes(request: ChatRequest) -> Action:
        failure = next(failures)
        if failure is not None:
            raise failure
        return Action(text="ok")

    asker = Asker(sometimes, limiter=RateLimiter(), pace=pace)
    outcomes = [put(asker) for _ in range(2 * FAILED_IN_A_ROW_MAX)]
    assert [outcome.action is None for outcome in outcomes].count(False) == 1


def test_what_a_candidate_does_not_take_ends_no_run() -> None:
    """Not even where nothing was answered yet: it is no fault of a service."""
    pace = StillPace()
    limit = ModelFailure("status 400: maximum context length is 8192 tokens", kind="refused")
    asker = Asker(
        Scripted(pace, *[limit] * 2 * FAILED_IN_A_ROW_MAX), limiter=RateLimiter(), pace=pace
    )
    outcomes = [put(asker) for _ in range(2 * FAILED_IN_A_ROW_MAX)]
    assert {(outcome.attempts, outcome.failure) for outcome in outcomes} == {(1, limit)}


def test_an_answer_starts_the_count_again() -> None:
    """Only failures in a row end a run."""
    pace = StillPace()
    some = [*[failing("garbage")] * 2 * (FAILED_IN_A_ROW_MAX - 1)]
    candidate = Scripted(pace, *some)
    asker = Asker(candidate, limiter=RateLimiter(), pace=pace)
    for _ in range(FAILED_IN_A_ROW_MAX - 1):
        put(asker)
    assert put(asker).action is not None
