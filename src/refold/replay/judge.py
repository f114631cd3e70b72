"""A judge: another model says which of two answers to one conversation is better.

It is asked twice about each pair, once in either order, and is not told whose they are; where the
two do not agree, or it sees no difference, that is a tie (models prefer what they read first: Zheng
and others 2023, "Judging LLM-as-a-judge", arXiv:2306.05685). What it said is an event, kept under
the judge's id, which its model, its prompt, its parameters and its endpoint make; so it is never
paid twice, and another prompt is another judge. How much it is worth, only :func:`agreement` with
people tells. Nobody is asked here: see :mod:`~refold.replay.judging`.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from statistics import fmean
from typing import Any, Final, NamedTuple

import msgspec
from msgspec.structs import replace

from refold.conversation.events import ScoreRecorded
from refold.core.recorded import Recorded
from refold.engine.store import Store
from refold.replay.actions import NOT_COMPARED, ConversationComparison, DecisionComparison
from refold.replay.decision import Action
from refold.replay.events import JudgeAnswered
from refold.replay.metrics import Metric
from refold.replay.request import ChatRequest

PROMPT: Final = (
    "You compare two answers that an assistant could give next in a conversation. Which serves the "
    "person better: is right by what is known, does what was asked, says nothing false, and takes "
    "no needless step? Neither length nor order nor style count."
)
REPLY: Final = (
    'Reply with one JSON object and nothing else: {"why": "in one sentence", "better": 1}, with 1 '
    "or 2 for the better answer, and 0 where neither is."
)
"""What every judge is told after its prompt."""
JUDGE: Final = "judge"
"""The name of the metric."""
BETTER: Final = "better"
"""The name of the scores that people give to answers: over one half for better than recorded."""
CHARS_MAX: Final = 40_000
"""Of a longer conversation the judge sees the end."""
_CHOICE: Final = re.compile(r'"better"\s*:\s*"?([012])\b')


class Judge(msgspec.Struct, frozen=True, kw_only=True):
    """A model that judges, pinned: the ``model`` as its service names a version of it, what it is
    told to look for, its parameters, and the address that is asked (None: a function).
    """

    model: str
    prompt: str = PROMPT
    params: dict[str, Any] = msgspec.field(default_factory=lambda: {"temperature": 0})
    endpoint: str | None = None

    @property
    def id(self) -> str:
        """Twelve hex digits of SHA-256 over all of it."""
        return _hash([self, REPLY])[:12]

    @property
    def metric(self) -> Metric:
        """The share of decisions at which its answer is preferred to the recorded one."""
        says = f"answers that {self.model} prefers to the recorded one, a tie as one half"
        return Metric(JUDGE, says, "higher", "share", 0.0, 1.0)

    @property
    def stream(self) -> str:
        """Where what it said is kept."""
        return f"replay~judge-{self.id}"


class Pairing(NamedTuple):
    """Two answers to one decision in one order: what stands first and second."""

    at: str
    first: Action
    second: Action

    @property
    def key(self) -> str:
        """By what it is known."""
        return _hash([self.at, _said(self.first), _said(self.second)])

    def request(self, judge: Judge, seen: Sequence[Mapping[str, Any]]) -> ChatRequest:
        """What the judge is asked; ``seen`` are the messages that the answers answer."""
        text = (
            f"The conversation:\n{_told(seen)}\n\nAnswer 1:\n{_said(self.first)}\n\n"
            f"Answer 2:\n{_said(self.second)}"
        )
        system = {"role": "system", "content": f"{judge.prompt} {REPLY}"}
        messages = [system, {"role": "user", "content": text}]
        return ChatRequest(messages=messages, model=judge.model, params=judge.params, at=self.at)

    def answered(self, judge: Judge, said: str) -> JudgeAnswered | None:
        """What it said, to be kept; None where it made no choice."""
        choice = _CHOICE.search(said)
        return choice and JudgeAnswered(judge.id, self.at, self.key, int(choice[1]), said)


def pairings(conversation: ConversationComparison) -> Iterator[tuple[Pairing, Pairing]]:
    """What is to be judged, in both orders, the candidate's answer first and second."""
    for one in conversation.decisions:
        if one.candidate is not None and one.level not in {"same", *NOT_COMPARED}:
            pair = one.candidate, one.recorded
            yield Pairing(one.at, *pair), Pairing(one.at, *reversed(pair))


class Judgements:
    """What a judge has said so far, and what people said of the same answers."""

    def __init__(self, store: Store, judge: Judge) -> None:
        self.judge, self._store, self._next = judge, store, 0
        self.choices: dict[str, int] = {}
        self.hear()
        self._scores: dict[str, float] = {}
        self._people: dict[str, dict[str, float]] = {}

    def hear(self) -> None:
        """Take in what it has said since."""
        if self._store.head(self.judge.stream) < self._next:
            return
        for event in self._store.read(self.judge.stream, from_version=self._next):
            self._next = event.version + 1
            if event.type == "judge.answered":
                said: JudgeAnswered = event.to_class(JudgeAnswered)
                self.choices[said.question] = said.choice

    def scored(
        self, conversation: ConversationComparison, branch: Iterable[Recorded] = ()
    ) -> ConversationComparison:
        """A comparison with the judge's score of each answer, under the name of its metric.

        1: the candidate's is preferred in both orders; 0: the recorded one is; one half: a tie,
        which answers that are the same are without asking. None where the judge did not say, and
        for all of a conversation in which it judged nothing that was to be judged.
        ``branch`` holds the answers, and what people said of them.
        """
        choices = self.choices
        found = {
            one.at: _score(choices.get(one.key), choices.get(other.key))
            for one, other in pairings(conversation)
        }
        self._hear(branch, found)
        if found and not any(score is not None for score in found.values()):
            return conversation
        told = [_with(one, found.get(one.at)) for one in conversation.decisions]
        return replace(conversation, decisions=told)

    def _hear(self, branch: Iterable[Recorded], found: Mapping[str, float | None]) -> None:
        answered: dict[str, str] = {}
        for recorded in branch:
            match recorded.metadata.get("replay"):
                case {"at": str(at)}:
                    answered[recorded.id] = at
            if recorded.type != "score.recorded":
                continue
            said: ScoreRecorded = recorded.to_class(ScoreRecorded)
            score = found.get(answered.get(said.at or "", ""))
            if said.name == BETTER and said.at is not None and score is not None:
                self._people.setdefault(said.at, {})[said.rater] = said.value
                self._scores[said.at] = score

    @property
    def used(self) -> JudgeUsed:
        """Who judged, and how far people agree, by what they said of answers that it judged."""
        raters = sorted({rater for of in self._people.values() for rater in of})
        people = {at: fmean(of.values()) for at, of in self._people.items()}
        found = agreement(self._scores, people, " and ".join(raters))
        return JudgeUsed(self.judge.id, self.judge, found)


def _with(decision: DecisionComparison, score: float | None) -> DecisionComparison:
    if decision.candidate is None:
        return decision
    score = 0.5 if decision.level == "same" else score
    return replace(decision, scores={**decision.scores, JUDGE: score})


def _score(candidate_first: int | None, recorded_first: int | None) -> float | None:
    """Of the choices in both orders; one that is not there leaves it open."""
    if candidate_first is None or recorded_first is None:
        return None
    return {(1, 2): 1.0, (2, 1): 0.0}.get((candidate_first, recorded_first), 0.5)


def _said(action: Action) -> str:
    calls = [f"[calls {call.name} with {call.arguments}]" for call in action.calls]
    return "\n".join([*([action.shown] if action.shown else []), *calls]) or "[says nothing]"


def _told(seen: Sequence[Mapping[str, Any]]) -> str:
    """The end of a conversation, without what the agent was told to be."""
    lines, size = deque[str](), 0
    for message in reversed(seen):
        if message["role"] != "system":
            lines.appendleft(_line(message))
            size += len(lines[0]) + 1
        if size > CHARS_MAX:
            break
    return "\n".join(lines)[-CHARS_MAX:]


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


class JudgeUsed(msgspec.Struct, frozen=True):
    """Who judged the answers of a comparison, by its ``id``, and how far people agree with it."""

    id: str
    judge: Judge
    agreement: Agreement

    def said(self) -> str:
        """How far that goes, in a sentence."""
        found = self.agreement
        if found.share is None:
            return (
                f"Nobody has said whether {self.judge.model} judges well: label some answers, with "
                f"refold label BRANCH {BETTER}=1 --version N --rater NAME, or 0, or 0.5 for a tie."
            )
        beyond = "" if found.kappa is None else f", Cohen's kappa {found.kappa:.2f}"
        return (
            f"{self.judge.model} agrees with {found.source} in {found.share:.0%} of the "
            f"{found.items:,} answers that both judged{beyond}."
        )


def _side(score: float) -> int:
    return (score > 0.5) - (score < 0.5)
