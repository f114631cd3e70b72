"""`refold.ray`: what it takes a worker to ask the actor that grants, and the actor to grant."""

from __future__ import annotations

import asyncio
import os
from time import process_time
from typing import Any, Final

from bench.subject import Subject, serve
from refold.conversation.events import Usage
from refold.ray.grants import UNDER_WAY_MAX, GrantedBudget, Grants
from refold.replay import Action, ChatRequest
from refold.replay.options import RunOptions

AT_A_TIME: Final = 50
WARM_UP: Final = 200
ASKED: Final = ChatRequest(messages=[{"role": "user", "content": "x" * 2_000}], model="m")
ANSWER: Final = Action(usage=Usage(input_tokens=500, output_tokens=50), model="m")
NO_BOUND: Final = 10**12


class Measured(Grants):
    """The actor, which tells what it has spent."""

    def spent_s(self) -> float:
        """Processor seconds of its process."""
        return process_time()


def asked(grants: Any, counts: bool, count: int) -> tuple[float, float]:
    """Processor seconds a request of a worker and of the actor; none of so many is sent."""
    import ray

    async def ask(times: int) -> None:
        for _ in range(times):
            budget.settle(await budget.hold(ASKED), ANSWER)

    async def all_ask(times: int) -> None:
        await asyncio.gather(*(ask(times // AT_A_TIME) for _ in range(AT_A_TIME)))

    def spent() -> tuple[float, float]:
        # After all that was said to it before: an actor takes what one caller says in order.
        return process_time(), ray.get(grants.spent_s.remote())

    budget = GrantedBudget(grants, "part-1", counts)
    asyncio.run(all_ask(WARM_UP))
    before = spent()
    asyncio.run(all_ask(count))
    own_s, actor_s = (one - other for one, other in zip(spent(), before, strict=True))
    return own_s / count, actor_s / count


class Granting(Subject):
    """A cluster of this machine's own, begun with the first question."""

    def granted(self, *, who: str, bounded: bool, count: int) -> dict[str, Any]:
        """Processor seconds a request, of the ``worker`` or of the ``actor``."""
        os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
        import ray

        if not ray.is_initialized():
            ray.init(num_cpus=2, include_dashboard=False, logging_level="ERROR")
        how = RunOptions(max_tokens=NO_BOUND if bounded else None)
        busy: Any = ray.remote(Measured)
        grants = busy.options(num_cpus=0, max_concurrency=UNDER_WAY_MAX).remote(how, {})
        worker: Any = ray.remote(asked)
        own_s, actor_s = ray.get(worker.remote(grants, bounded, count))
        ray.kill(grants)
        return {"value": {"worker": own_s, "actor": actor_s}[who]}


if __name__ == "__main__":
    serve(Granting)
