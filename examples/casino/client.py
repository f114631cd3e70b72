"""What an agent asks of the casino."""

from __future__ import annotations

from decimal import Decimal
from typing import Any, Final

import msgspec

from refold.errors import Rejected, Unavailable
from refold.feeds import JsonService

TIMEOUT_S: Final = 10.0


class Bet(msgspec.Struct, frozen=True):
    """What became of a bet: ``outcome`` is win or loss, ``payout`` all that came back."""

    bet_id: str
    outcome: str
    payout: Decimal
    asset: str
    roll: int
    nonce: int
    commitment: str


class CasinoClient:
    """The casino for one agent. Safe between threads.

    Every request that changes something has a key: sent again, it is done once.
    """

    def __init__(self, url: str, api_key: str = "", *, timeout_s: float = TIMEOUT_S) -> None:
        headers = {"authorization": f"Bearer {api_key}"} if api_key else {}
        self.service = JsonService(
            url, headers=headers, timeout_s=timeout_s, first_delay_s=min(0.25, timeout_s / 10)
        )

    def register(self, agent_id: str, registration: str, client_seed: str) -> str:
        """Open an account, or find it open; its API key."""
        body = {"agent_id": agent_id, "client_seed": client_seed}
        return str(self._post("/api/register", registration, body)["api_key"])

    def claim(self, key: str) -> dict[str, Any]:
        """Ask the faucet: ``success``, ``amount``, ``tx_id``."""
        return self._post("/api/claim", key, {})

    def bet(self, key: str, amount: str, asset: str, chance: str) -> Bet:
        """Play. When no answer comes, the casino is asked what became of it.

        Raises :class:`~refold.Rejected` when it was refused, and
        :class:`~refold.errors.Unavailable` when nothing is known of it: try again, with this key.
        """
        body = {"amount": amount, "asset": asset, "chance": chance}
        try:
            answer = self._post("/api/bet", key, body, tries_max=1)
        except Unavailable as lost:
            answer = self._settled(key, lost)
        return msgspec.convert(answer, Bet)

    def reveal(self, key: str, client_seed: str) -> dict[str, Any]:
        """End this run of rolls: the seed they were made of, and the next commitment."""
        return self._post("/api/reveal", key, {"client_seed": client_seed})

    def close(self) -> None:
        """Let go of connections."""
        self.service.close()

    def _settled(self, key: str, lost: Unavailable) -> dict[str, Any]:
        try:
            return self._value("GET", "/api/bet", params={"idempotency_key": key})
        except Rejected as refused:
            if refused.status == 404:
                # It may still be on its way: only the key makes another try safe.
                raise lost from refused
            raise

    def _post(
        self, path: str, key: str, body: object, *, tries_max: int | None = None
    ) -> dict[str, Any]:
        headers = {"idempotency-key": key}
        return self._value("POST", path, body=body, headers=headers, tries_max=tries_max)

    def _value(self, method: str, path: str, **asked: Any) -> dict[str, Any]:
        value = self.service.request(method, path, **asked).value
        if not isinstance(value, dict):
            raise Unavailable(f"{path}: the answer is no object", code="garbage")
        return value
