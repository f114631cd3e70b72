"""One run of several variants and a control, each at its own agent, that begins with its plan."""

from __future__ import annotations

from decimal import Decimal

import msgspec
import pytest

import refold
from refold.conversation.events import (
    AgentConfigured,
    AgentUtterance,
    ModelRequest,
    Prompt,
    UserUtterance,
)
from refold.core.event import Event
from refold.errors import UsageError
from refold.replay import (
    Action,
    ChatEndpoint,
    ChatRequest,
    ModelFailure,
    Price,
    Variant,
    compare,
    replay,
)
from refold.replay.arms import Question
from refold.replay.plan import ReplayPlan, plan_of
from refold.replay.replays import replays
from refold.secrecy import without_keys
from tests.replay.stories import VARIANT, as_recorded, record, run
from tests.support.chat_server import ChatServer

CONTROL = Variant(label="control")
OTHER = Variant(label="other")


@pytest.fixture
def store() -> refold.Store:
    return refold.open("memory:")


def planned(store: refold.Store, variant: Variant = VARIANT) -> ReplayPlan:
    """The plan of a variant that was asked."""
    plan = plan_of(store, variant.id)
    assert plan is not None
    return plan


def test_variants_and_the_control_are_asked_in_turn(store: refold.Store) -> None:
    """At each decision all of them, as often as samples are asked for; nobody always first."""
    record(store, "call-1")
    asked: list[tuple[int, str | None]] = []

    def candidate(request: ChatRequest) -> Action:
        asked.append((request.index, request.params.get("who")))
        return as_recorded(request)

    arms = [Variant(params={"who": name}) for name in ("control", "one", "other")]
    control, *variants = arms
    said = replay(store, ["call-1"], variants, candidate, control=control, samples=2, workers=1)
    assert (said.decisions, said.answered, len(said.parts)) == (12, 12, 6)
    assert [index for index, _ in asked] == [0] * 6 + [1] * 6
    names = [name for _, name in asked]
    assert names[:6] == ["control", "one", "other"] * 2
    assert names[6] == "one"
    assert sorted({(part.variant_id, part.sample) for part in said.parts}) == sorted(
        (arm.id, sample) for arm in arms for sample in (0, 1)
    )


def test_the_plan_says_what_it_is_to_be_judged_by(store: refold.Store) -> None:
    """Declared beforehand, the same run for all of its variants, and conversations as they are."""
    record(store, "call-1")
    prices = {"small": Price(input=Decimal(1), output=Decimal(2))}
    replay(
        store,
        ["call-1"],
        Variant(prompt="New.", model="small"),
        as_recorded,
        control=CONTROL,
        samples=2,
        primary="broken_answers",
        margin=0.02,
        seed=7,
        max_cost=5,
        prices=prices,
    )
    candidate, control = (
        planned(store, Variant(prompt="New.", model="small")),
        planned(store, CONTROL),
    )
    assert (candidate.versions, candidate.streams) == (
        {"call-1": 5},
        {0: ["call-1"], 1: ["call-1"]},
    )
    terms = candidate.terms
    assert (terms.primary, terms.margin, terms.seed, terms.role) == (
        "broken_answers",
        0.02,
        7,
        "candidate",
    )
    assert (terms.max_cost, terms.model, terms.prices) == (Decimal(5), "small", prices)
    assert terms.prompt_hash == Prompt("New.").hash
    assert terms.code_version == refold.__version__
    assert (control.terms.role, control.terms.run) == ("control", terms.run)


def test_all_of_a_plan_is_told_when_all_of_it_is_settled(store: refold.Store) -> None:
    """An answer settles, and what the candidate does not take; a service that was away does not."""
    record(store, "call-1")

    def away(request: ChatRequest) -> Action:
        if request.index == 0:
            raise ModelFailure("away", kind="busy", status=503)
        return as_recorded(request)

    def too_long(request: ChatRequest) -> Action:
        raise ModelFailure("status 400: the prompt is too long", kind="refused", status=400)

    def is_complete() -> bool:
        account = compare(store, ["call-1"], VARIANT).figures.accounting
        return account.answered == account.decisions - account.later

    run(store, away, attempts_max=1)
    assert not is_complete()
    run(store, too_long)
    assert is_complete()
    listed = replays(store)[0].run(store, 0)
    assert (listed.answered, listed.failed) == (2, 0)
    record(store, "call-1", [UserUtterance("More?"), AgentUtterance("No.")])
    assert is_complete()
    run(store, away, attempts_max=1)
    assert planned(store).versions == {"call-1": 7}


def test_the_same_variant_twice_is_refused(store: refold.Store) -> None:
    """They would share their branches."""
    record(store, "call-1")
    for variants in ([OTHER, OTHER], [CONTROL], []):
        with pytest.raises(UsageError):
            replay(store, ["call-1"], variants, as_recorded, control=CONTROL)


# -- agents that take turns ------------------------------------------------------------------------


def handed_over(store: refold.Store, *names: str | None) -> None:
    """Triage hands over to billing."""
    triage, billing = names
    store.append(
        "m-1",
        [
            AgentConfigured(prompt=Prompt("You are triage."), model="t", agent=triage),
            UserUtterance("hi"),
            AgentUtterance("Passing you on."),
            AgentConfigured(prompt=Prompt("You are billing."), model="b", agent=billing),
            UserUtterance("bill?"),
            AgentUtterance("5."),
        ],
    )


def asked_with(store: refold.Store, variant: Variant) -> list[tuple[list[str], str | None]]:
    """The prompts and the model of each request, in order."""
    seen: list[tuple[list[str], str | None]] = []

    def candidate(request: ChatRequest) -> Action:
        prompts = [m["content"] for m in request.messages if m["role"] == "system"]
        seen.append((prompts, request.model))
        return Action(text="x")

    replay(store, ["m-1"], variant, candidate, workers=1)
    return seen


@pytest.mark.parametrize("agent", ["triage", "billing"])
def test_a_variant_changes_the_agent_that_it_names(store: refold.Store, agent: str) -> None:
    """In its place, and only while it is in force."""
    handed_over(store, "triage", "billing")
    seen = asked_with(store, Variant(prompt="New.", model="m", agent=agent))
    if agent == "triage":
        assert seen == [(["New."], "m"), (["You are triage.", "You are billing."], "b")]
    else:
        assert seen == [(["You are triage."], "t"), (["You are triage.", "New."], "m")]


def test_a_prompt_for_one_of_several_agents_says_for_which(store: refold.Store) -> None:
    """It is refused before anything is asked; what is for all of them is not."""
    handed_over(store, "triage", "billing")
    with pytest.raises(UsageError, match="billing, triage") as refused:
        asked_with(store, Variant(prompt="New."))
    assert refused.value.argument == "agent"
    assert [model for _, model in asked_with(store, Variant(model="m"))] == ["m", "m"]


def test_without_names_a_prompt_is_for_the_last_agent(store: refold.Store) -> None:
    """Before it took over, the other one is asked as recorded."""
    handed_over(store, None, None)
    seen = asked_with(store, Variant(prompt="New."))
    assert [prompts for prompts, _ in seen] == [["You are triage."], ["You are triage.", "New."]]


# -- what cannot be read ---------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["agent.utterance", "user.utterance", "agent.configured"])
def test_an_event_that_does_not_fit_its_class_stops_no_other_conversation(
    store: refold.Store, kind: str
) -> None:
    """That one is told, and what of it was not asked is missing."""
    record(store, "call-1")
    record(store, "call-2")
    # As a store holds it that an older program wrote.
    odd = Event(kind, msgspec.Raw(b'{"text": 5, "params": 5}'))
    store.append("call-1", [odd, AgentUtterance("Late.")])
    record(store, "call-3")
    said = run(store, as_recorded, "call-1", "call-2", "call-3")
    assert (said.conversations, said.unreadable) == (3, 1)
    assert said.failures[0].at == "call-1"
    assert said.failures[0].error.startswith("unreadable: ")
    assert said.answered >= 4
    compared = compare(store, ["call-1", "call-2", "call-3"], VARIANT)
    assert not compared.verdicts.primary.is_complete
    # What a person said is no part of an answer: the conversation is read, and was not asked.
    left_out = [] if kind == "user.utterance" else ["call-1"]
    assert [*compared.unreadable] == left_out
    assert ("is missing: call-1 (" in compared.not_measured) is bool(left_out)
    assert compared.figures.conversations == 3 - len(left_out) == len(compared.conversations)


# -- what candidate and control were promised of one another ---------------------------------------


def four(store: refold.Store, name: str = "call") -> list[str]:
    """Conversations of two decisions, recorded with the model "small"."""
    return [record(store, f"{name}-{n}") for n in range(4)]


def test_samples_planned_of_other_conversations_are_none_of_these(store: refold.Store) -> None:
    """A control that was asked three times elsewhere is complete here after one."""
    calls, old = four(store), four(store, "old")
    replay(store, old, OTHER, as_recorded, control=CONTROL, samples=3)
    replay(store, calls, VARIANT, as_recorded, control=CONTROL)
    compared = compare(store, calls, VARIANT, control=CONTROL)
    assert compared.control is not None
    assert compared.control.samples == [0]
    assert compared.verdicts.primary.is_complete


def test_a_control_of_another_run_is_said_to_be_one(store: refold.Store) -> None:
    """A second candidate finds the control answered: they were not asked in turn."""
    calls = four(store)
    replay(store, calls, VARIANT, as_recorded, control=CONTROL)
    replay(store, calls, OTHER, as_recorded, control=CONTROL)
    said = [compare(store, calls, one, control=CONTROL).not_measured for one in (VARIANT, OTHER)]
    assert ["asked in another run" in one for one in said] == [False, True]


def test_times_under_another_load_are_not_compared(store: refold.Store) -> None:
    """They depend on how many were asked at once: asked for they are refused, else left out."""
    calls = four(store)
    replay(store, calls, CONTROL, as_recorded, workers=1)
    replay(store, calls, VARIANT, as_recorded, workers=8)
    compared = compare(store, calls, VARIANT, control=CONTROL)
    assert "by 8 workers, the control by 1: their times" in compared.not_measured
    assert "latency_ms" not in [one.metric.name for one in compared.verdicts.rest]
    for question in (Question(primary="latency_ms"), Question(guardrails=("latency_ms",))):
        with pytest.raises(UsageError, match="in one run"):
            compare(store, calls, VARIANT, control=CONTROL, question=question)


@pytest.mark.parametrize("decided", [1, 2, 3])
def test_the_control_is_not_always_asked_first(store: refold.Store, decided: int) -> None:
    """Nor in conversations of one decision, nor at one place of all conversations."""
    calls = [f"call-{n}" for n in range(6)]
    for call in calls:
        store.append(call, [UserUtterance("Where?"), AgentUtterance("Here.")] * decided)
    first: dict[tuple[str, int], object] = {}

    def candidate(request: ChatRequest) -> Action:
        place = request.at.partition("@")[0], request.index
        first.setdefault(place, request.params.get("who"))
        return Action(text="Here.")

    arms = [Variant(params={"who": name}) for name in ("control", "candidate")]
    replay(store, calls, arms[1], candidate, control=arms[0], workers=1)
    for index in range(decided):
        assert [first[call, index] for call in calls].count("control") == 3


def test_an_endpoint_with_a_model_of_its_own_asks_no_control(store: refold.Store) -> None:
    """It is asked for before the recorded one, so that the recorded agent was not asked again."""
    calls = four(store)
    with ChatServer(lambda _: {"role": "assistant", "content": "Here."}) as server:
        for model, control in (("small", CONTROL), ("large", Variant(label="another"))):
            endpoint = ChatEndpoint(server.base_url, model=model)
            replay(store, calls, Variant(prompt=model), endpoint, control=control)
    assert compare(store, calls, Variant(prompt="small"), control=CONTROL).control is not None
    with pytest.raises(UsageError, match="the control asks large, where call-0@2 was small"):
        compare(store, calls, Variant(prompt="large"), control=Variant(label="another"))


@pytest.mark.parametrize("is_elsewhere", [False, True])
def test_a_control_is_asked_where_the_record_was(store: refold.Store, is_elsewhere: bool) -> None:
    """Another service may answer otherwise under the same name; where nothing says, it passes."""
    with ChatServer(lambda _: {"role": "assistant", "content": "Here."}) as server:
        url = f"{server.base_url}/chat/completions"
        sent = ModelRequest("openai.chat", url="https://api.example/v1" if is_elsewhere else url)
        for call in ("call-0", "call-1", "call-2"):
            said = [UserUtterance("Where?"), *([] if call == "call-0" else [sent])]
            store.append(call, [*said, AgentUtterance("Here.")])
        calls = [info.stream for info in store.streams()]
        endpoint = ChatEndpoint(server.base_url, model="m")
        replay(store, calls, Variant(prompt="Be kind"), endpoint, control=CONTROL)
    if not is_elsewhere:
        assert compare(store, calls, Variant(prompt="Be kind"), control=CONTROL).control
        return
    with pytest.raises(UsageError, match=r"where call-1@2 asked https://api\.example/v1"):
        compare(store, calls, Variant(prompt="Be kind"), control=CONTROL)


def test_a_key_in_a_path_is_not_kept_and_is_the_same_place(store: refold.Store) -> None:
    """Whether the record of the agent has it, as an older one may, or not."""
    with ChatServer(lambda _: {"role": "assistant", "content": "Here."}) as server:
        base_url = f"{server.base_url.removesuffix('/v1')}/sk-canary-1/v1"
        for call, url in (("call-0", base_url), ("call-1", without_keys(base_url))):
            sent = ModelRequest("openai.chat", url=f"{url}/chat/completions")
            store.append(call, [UserUtterance("Where?"), sent, AgentUtterance("Here.")])
        before = store.log_head()
        endpoint = ChatEndpoint(base_url, model="m")
        replay(store, ["call-0", "call-1"], Variant(prompt="Be kind"), endpoint, control=CONTROL)
    assert compare(store, ["call-0", "call-1"], Variant(prompt="Be kind"), control=CONTROL).control
    said = b"".join(one.raw for one in store.read_all(after=before))
    # The address that was asked, and the refusal of a server that has no such path.
    assert b"canary" not in said and said.count(b"/[removed]/v1/chat/completions: status 404") > 0
