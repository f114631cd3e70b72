"""A judge: another model says which of two answers to one conversation is better.

It is asked twice about each pair, once in either order, and is not told whose they are; where the
two do not agree, or it sees no difference, that is a tie (models prefer what they read first: Zheng
and others 2023, "Judging LLM-as-a-judge", arXiv:2306.05685). What it said is an event, kept under
the judge's id, which its model, its prompt and its parameters make; so it is never paid twice, and
another prompt is another judge. How much it is worth, only :func:`agreement` with people tells.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final, NamedTuple

import msgspec
from msgspec.structs import replace

from refold.core.expected import NO_EVENTS
from refold.engine.store import Store
from refold.errors import UsageError
from refold.event_loop import LoopThread
from refold.pacing import RateLimiter
from refold.replay.actions import ConversationComparison, DecisionComparison
from refold.replay.candidate import Candidate
from refold.replay.decision import Action, decisions
from refold.replay.events import JudgeAnswered
from refold.replay.metrics import Metric
from refold.replay.request import ChatRequest, RequestMaker
from refold.replay.requests import Asker
from refold.replay.variant import Variant

PROMPT: Final = (
    "You compare two answers that an assistant could give next in a conversation. Which serves the "
    "person better: is right by what is known, does what was asked, says nothing false, and takes "
    "no needless step? Neither length nor order nor style count. Reply with one JSON object and "
    'nothing else: {"why": "in one sentence", "better": 1}, with 1 or 2 for the better answer, '
    "and 0 where neither is."
)
_CHOICE: Final = re.compile(r'"better"\s*:\s*"?([012])\b')
CHARS_MAX: Final = 40_000
"""Of a longer conversation the judge sees the end."""


class Judge(msgspec.Struct, frozen=True, kw_only=True):
    """A model that judges, pinned: the ``model`` as its service names a version of it, what it is
    told to do, and its parameters.
    """

    model: str
    prompt: str = PROMPT
    params: dict[str, Any] = msgspec.field(default_factory=lambda: {"temperature": 0})

    @property
    def id(self) -> str:
        """Twelve hex digits of SHA-256 over all of it."""
        return _hash(self)[:12]

    @property
    def metric(self) -> Metric:
        """The share of decisions at which its answer is preferred to the recorded one."""
        says = f"answers that {self.model} prefers to the recorded one, a tie as one half"
        return Metric(f"judge:{self.id}", says, "higher", "share", 0.0, 1.0)


class _Pairing(NamedTuple):
    """One decision in one order: what stands first and second, and by what it is known."""

    at: str
    first: Action
    second: Action
    history: list[dict[str, Any]]

    @property
    def key(self) -> str:
        return _hash([self.at, _said(self.first), _said(self.second)])

    def request(self, judge: Judge) -> ChatRequest:
        told = "\n".join(map(_line, self.history))[-CHARS_MAX:]
        text = (
            f"The conversation:\n{told}\n\nAnswer 1:\n{_said(self.first)}\n\n"
            f"Answer 2:\n{_said(self.second)}"
        )
        messages = [{"role": "system", "content": judge.prompt}, {"role": "user", "content": text}]
        return ChatRequest(messages=messages, model=judge.model, params=judge.params, at=self.at)


def judged(
    store: Store,
    conversations: Iterable[ConversationComparison],
    judge: Judge,
    candidate: Candidate,
    *,
    workers: int = 4,
) -> Iterator[ConversationComparison]:
    """The comparisons with the judge's score of each answer, under the name of its metric.

    1: the candidate's is preferred in both orders; 0: the recorded one is; one half: a tie, which
    answers that are the same are without asking. None where the judge did not say: it is asked
    again next time. ``candidate`` is who is asked, an endpoint or a function.
    """
    known = _kept(store, judge)
    for conversation in conversations:
        pairs = list(_pairs(store, conversation))
        missing = {q.key: q for pair in pairs for q in pair if q.key not in known}
        if missing:
            known |= _ask(store, judge, candidate, list(missing.values()), workers)
        scores = {one.at: _score(known.get(one.key), known.get(other.key)) for one, other in pairs}
        told = [_with(one, judge, scores.get(one.at)) for one in conversation.decisions]
        yield replace(conversation, decisions=told)


def _pairs(
    store: Store, conversation: ConversationComparison
) -> Iterator[tuple[_Pairing, _Pairing]]:
    history = list(store.read(conversation.stream))
    at, maker = {one.at: one for one in decisions(history)}, RequestMaker(history, [Variant()])
    for one in conversation.decisions:
        if one.candidate is not None and one.level != "same":
            (seen,) = maker.at(at[one.at])
            told = [message for message in seen.messages if message["role"] != "system"]
            yield (
                _Pairing(one.at, one.candidate, one.recorded, told),
                _Pairing(one.at, one.recorded, one.candidate, told),
            )


def _with(decision: DecisionComparison, judge: Judge, score: float | None) -> DecisionComparison:
    if decision.candidate is None:
        return decision
    score = 0.5 if decision.level == "same" else score
    return replace(decision, scores={**decision.scores, judge.metric.name: score})


def _score(candidate_first: int | None, recorded_first: int | None) -> float | None:
    """Of the choices in both orders; one that is not there leaves it open."""
    if candidate_first is None or recorded_first is None:
        return None
    return {(1, 2): 1.0, (2, 1): 0.0}.get((candidate_first, recorded_first), 0.5)


# -- asking, once ---------------------------------------------------------------------------------


def _ask(
    store: Store, judge: Judge, candidate: Candidate, questions: list[_Pairing], workers: int
) -> dict[str, int]:
    found: dict[str, int] = {}
    turns = asyncio.Semaphore(workers)

    async def one(asker: Asker, question: _Pairing) -> None:
        async with turns:
            outcome = await asker.ask(question.request(judge))
        said = "" if outcome.action is None else outcome.action.text
        if (choice := _CHOICE.search(said)) is not None:
            event = JudgeAnswered(judge.id, question.at, question.key, int(choice[1]), said)
            await asyncio.to_thread(_keep, store, judge, event)
            found[question.key] = event.choice

    async def every() -> None:
        async with (
            Asker(candidate, limiter=RateLimiter(None)) as asker,
            asyncio.TaskGroup() as group,
        ):
            for question in questions:
                group.create_task(one(asker, question))

    thread = LoopThread()
    try:
        thread.run(every())
    finally:
        thread.close()
    return found


def _keep(store: Store, judge: Judge, event: JudgeAnswered) -> None:
    try:
        store.append(_stream(judge), [event], key=f"judge-{judge.id}-{event.question}")
    except UsageError as error:
        # Another process has put down what it was told meanwhile; one is enough.
        if error.code != "key_reused":
            raise


def _kept(store: Store, judge: Judge) -> dict[str, int]:
    name = _stream(judge)
    events = () if store.head(name) == NO_EVENTS else store.read(name)
    said = [event.to_class(JudgeAnswered) for event in events if event.type == "judge.answered"]
    return {one.question: one.choice for one in said}


def _stream(judge: Judge) -> str:
    return f"replay~judge-{judge.id}"


def _said(action: Action) -> str:
    calls = [f"[calls {call.name} with {call.arguments}]" for call in action.calls]
    return "\n".join([*([action.shown] if action.shown else []), *calls]) or "[says nothing]"


def _line(message: Mapping[str, Any]) -> str:
    calls = [call.get("function", {}) for call in message.get("tool_calls") or ()]
    said = [f"[calls {call.get('name')} with {call.get('arguments')}]" for call in calls]
    content = message.get("content")
    text = content if isinstance(content, str) else "" if content is None else str(content)
    return f"{message['role']}: {' '.join([text, *said]).strip()}"


def _hash(value: Any) -> str:
    return hashlib.sha256(msgspec.json.encode(value, order="deterministic")).hexdigest()


# -- what it is worth -----------------------------------------------------------------------------


class Agreement(msgspec.Struct, frozen=True):
    """How often a judge says what people say, of ``items`` that both judged.

    ``kappa`` is Cohen's: 0 for no more than chance would give, 1 for always; None where chance
    alone would always agree. ``source`` names whose labels they are.
    """

    items: int
    share: float | None
    kappa: float | None
    source: str


def agreement(scores: Mapping[str, float], labels: Mapping[str, float], source: str) -> Agreement:
    """The agreement of a judge's scores with people's, by the id of what was judged.

    Over one half is better, under it worse, one half neither. Source: Cohen 1960, "A coefficient of
    agreement for nominal scales", Educational and Psychological Measurement 20.
    """
    both = [(_side(scores[at]), _side(labels[at])) for at in scores.keys() & labels.keys()]
    if not both:
        return Agreement(0, None, None, source)
    share = sum(one == other for one, other in both) / len(both)
    mine, theirs = (Counter(pair[side] for pair in both) for side in (0, 1))
    chance = sum(mine[side] * theirs[side] for side in mine) / len(both) ** 2
    kappa = None if chance == 1 else (share - chance) / (1 - chance)
    return Agreement(len(both), share, kappa, source)


def _side(score: float) -> int:
    return (score > 0.5) - (score < 0.5)
