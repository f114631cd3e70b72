"""What is granted to all workers of a run together, without a cluster."""

from __future__ import annotations

import asyncio
import pickle
from decimal import Decimal

import pytest

from refold.conversation.events import Usage
from refold.ray.grants import Granted, Grants, HowFar
from refold.replay import Action, ChatEndpoint, ChatRequest
from refold.replay.budget import Budget, Size
from refold.replay.events import Refusal, ReplayContained
from refold.replay.options import RunOptions
from tests.support.chat_server import ChatServer

ASKED = Size("m", 400, 50)
"""Held at 250 tokens: one every two bytes, and the bound of its answer."""
TOOK = Action(usage=Usage(input_tokens=200, output_tokens=50), model="m")


def granting(**options: object) -> Grants:
    return Grants(RunOptions(**options), {})  # type: ignore[arg-type]


@pytest.fixture
def at_one_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No time passes."""
    monkeypatch.setattr("refold.ray.grants.monotonic", lambda: 1_000.0)


def waits(grants: Grants, *holders: str) -> list[float]:
    async def asked() -> list[Granted]:
        return [await grants.hold(holder, ASKED) for holder in holders]

    return [granted.wait_s for granted in asyncio.run(asked())]


@pytest.mark.usefixtures("at_one_moment")
def test_a_rate_is_that_of_all_workers() -> None:
    """Whoever asks: each request goes its interval after the one before."""
    grants = granting(requests_per_second=4.0)
    assert waits(grants, "a", "b", "a", "c") == [0.0, 0.25, 0.5, 0.75]


@pytest.mark.usefixtures("at_one_moment")
def test_a_pause_that_one_worker_is_told_all_keep() -> None:
    """The service means them all."""
    grants = granting()
    grants.pause(3.0)
    assert min(waits(grants, "a", "b")) >= 3.0


@pytest.mark.usefixtures("at_one_moment")
def test_another_service_has_its_own_rates_and_pauses() -> None:
    """Who plays the user may be asked elsewhere; the budget is one."""
    grants = granting(requests_per_second=4.0, max_tokens=10**6)

    async def asked() -> list[float]:
        services = (0, 1, 0, 1)
        held = [await grants.hold("a", ASKED, service) for service in services[:1]]
        grants.settle("a", held[0].held, TOOK, is_free=False)
        return [held[0].wait_s, *[(await grants.hold("a", ASKED, n)).wait_s for n in services[1:]]]

    assert asyncio.run(asked()) == [0.0, 0.0, 0.25, 0.25]
    grants.pause(3.0, 1)
    assert (waits(grants, "b")[0], grants.outcome()[0].spent.tokens) == (0.5, 250)


async def settled(*, is_lost: bool) -> Budget:
    grants = granting(max_tokens=600)
    first = await grants.hold("a", ASKED)
    grants.settle("a", first.held, TOOK, is_free=False)
    held = await grants.hold("a", ASKED)
    waiting = asyncio.create_task(grants.hold("b", ASKED))
    await asyncio.sleep(0)
    assert not waiting.done()
    grants.lost("a") if is_lost else grants.over("a", None)
    granted = await waiting
    assert bool(granted.spent) == is_lost
    grants.settle("a", held.held, TOOK, is_free=False)  # It comes too late: it was counted.
    return grants.outcome()[0]


def test_what_a_lost_worker_held_is_spent_and_keeps_nobody_waiting() -> None:
    """It may have been charged: two requests of 250 are spent, and for a third 100 are left."""
    assert asyncio.run(settled(is_lost=True)).spent.tokens == 500


def test_what_an_ended_worker_held_was_never_sent() -> None:
    """It is free for others, who waited for it."""
    assert asyncio.run(settled(is_lost=False)).spent.tokens == 250


def test_what_all_parts_reached_is_told_together_and_of_how_many_it_is_not_known() -> None:
    """The same refusal is counted once; a part that was lost told nothing, which is not nothing."""
    grants = granting()
    assert grants.outcome()[1] is None
    tried = Refusal("socket.connect", "127.0.0.1:9", "desk.py:4", 2)
    for holder in ("a", "b"):
        reached = {"model:443": 3, f"{holder}:80": 1}
        grants.over(holder, ReplayContained("", ["model:443"], reached, [tried], {"look": 1}))
    grants.lost("c")
    (refused,) = (told := grants.outcome()[1] or ReplayContained("")).refused
    assert (refused.where, refused.times) == ("desk.py:4", 4)
    assert (told.allowed, told.live, told.lost) == (["model:443"], {"look": 2}, 1)
    assert told.connections == {"a:80": 1, "b:80": 1, "model:443": 6}


def test_how_far_a_lost_worker_was_is_not_forgotten() -> None:
    """Its part is asked again by another, which tells of its own."""
    grants = granting()
    for holder, told in (
        ("a", HowFar(3, Decimal(2), 1)),
        ("b", HowFar(1)),
        ("a", HowFar(4, Decimal(3))),
    ):
        grants.tell(holder, told)
    assert grants.so_far() == HowFar(5, Decimal(3), 0)


def test_a_model_that_nobody_knows_the_price_of_is_refused_to_each() -> None:
    """The error comes back as itself: a budget of money cannot be kept."""
    grants = granting(max_cost="1")

    async def asked() -> list[Granted]:
        first = await grants.hold("a", ASKED)
        grants.settle("a", first.held, TOOK, is_free=False)
        return [await grants.hold("b", ASKED)]

    (granted,) = asyncio.run(asked())
    assert granted.error is not None and granted.error.argument == "max_cost"


def test_an_endpoint_goes_to_other_machines_with_its_key() -> None:
    """It asks there as here; connections are made there."""
    with ChatServer(lambda body: {"role": "assistant", "content": "Yes."}) as server:
        endpoint = ChatEndpoint(server.base_url, api_key="secret-1", headers={"x-of": "me"})
        there: ChatEndpoint = pickle.loads(pickle.dumps(endpoint))
        said = there(ChatRequest(messages=[{"role": "user", "content": "?"}], model="m"))
        there.close()
    assert said.text == "Yes." and there.url == endpoint.url
    assert server.headers[0]["authorization"] == "Bearer secret-1"
    assert server.headers[0]["x-of"] == "me"


def test_a_budget_goes_to_another_machine_and_comes_back() -> None:
    """What is under way here stays here; what was spent there is spent."""

    async def spent() -> Budget:
        there: Budget = pickle.loads(pickle.dumps(Budget(max_tokens=1_000)))
        there.settle(await there.hold_size(ASKED), TOOK)
        there.settle(await there.hold_size(ASKED), None)
        return there

    here = Budget(max_tokens=1_000)
    here.take_over(asyncio.run(spent()))
    assert here.spent.tokens == 500
