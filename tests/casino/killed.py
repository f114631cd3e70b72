"""An agent that is killed as it comes to a given line: before a commit, or before a request.

What comes after one is what comes before the next.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from typing import Any

import refold
from examples.casino.agent import Agent
from examples.casino.client import CasinoClient
from refold.feeds import JsonService


def play(path: str, url: str, api_key: str, agent_id: str, bets: int, killed_at: int) -> None:
    """Play; the process ends without warning when it comes to line number ``killed_at``."""
    lines = iter(range(1_000_000))

    def crossing(call: Callable[..., Any]) -> Callable[..., Any]:
        def crossed(*args: Any, **options: Any) -> Any:
            if next(lines) == killed_at:
                os.kill(os.getpid(), signal.SIGKILL)
            return call(*args, **options)

        return crossed

    setattr(refold.Store, "_commit", crossing(refold.Store._commit))  # noqa: B010
    setattr(JsonService, "_once", crossing(JsonService._once))  # noqa: B010
    casino = CasinoClient(url, api_key)
    with refold.open(path, synchronous="NORMAL") as store:
        Agent(store, casino, agent_id=agent_id, bets_at_once=1).play(bets=bets)
    casino.close()
