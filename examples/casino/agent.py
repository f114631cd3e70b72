"""An agent that plays at the casino, and survives being killed at any moment.

A bet goes through the log in steps, each of which is stored once:

1. the decision: ``bet.placed`` and ``effect.requested``, in one append, under the bet's own id;
2. the request, with the id of ``effect.requested`` as idempotency key; when no answer comes, the
   casino is asked what became of it;
3. what came of it: ``dice.rolled``, and ``bet.won``, ``bet.lost`` or ``bet.cancelled``;
4. ``effect.committed`` or ``effect.failed``, which ends it.

Whatever a killed agent had done, the next one goes on from there. All other money (faucet, fees,
deposits, escrow) comes from the casino's list of transactions, through a poller.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Final, NamedTuple

import msgspec

from examples.casino.client import CasinoClient
from examples.casino.effects import ASSET, BET, CLAIM, Effects
from examples.casino.meaning import Meaning
from examples.casino.strategy import Wager, next_wager
from refold import Decider, NotFound, Rejected, Store
from refold.errors import Unavailable, UsageError
from refold.feeds import Poller, Source
from refold.ledger import Account, WalletState, bets_per_hour, loss_up_to, wallet, wallet_with
from refold.ledger.commands import PlaceBet, Register
from refold.outbox import EffectRequested, Outbox

BUDGET: Final = Decimal("60")
ATTEMPTS_MAX: Final = 10
DELAY_MAX_S: Final = 2.0
FAUCET_POLLS_MAX: Final = 200
FAUCET_PAUSE_S: Final = 0.02
FAILED_MAX: Final = 1_000
DAY_US: Final = 86_400_000_000


class Play(msgspec.Struct, frozen=True, kw_only=True):
    """The command: this stake on dice, with this chance in per cent."""

    bet: str
    amount: Decimal
    chance: str
    at: int


class Played(NamedTuple):
    """How a session went: bets that were placed in it, and why it ended."""

    bets: int
    reason: str


class Agent:
    """One agent; its ledger is the stream ``agent-<id>``.

    ``budget`` is what it may lose in its whole life, ``hourly_bets_max`` how often it may bet,
    if that is limited.
    ``bets_at_once`` requests are under way together. ``first_delay_s`` is the pause before a
    request is made again; ``overlap_s`` how late the casino may list a transaction.
    """

    def __init__(
        self,
        store: Store,
        casino: CasinoClient,
        *,
        agent_id: str = "001",
        budget: Decimal = BUDGET,
        hourly_bets_max: int | None = None,
        bets_at_once: int = 4,
        first_delay_s: float = 0.5,
        overlap_s: float = 5.0,
        clock: Callable[[], int] = lambda: time.time_ns() // 1_000,
    ) -> None:
        self.agent_id = agent_id
        self.stream = f"agent-{agent_id}"
        self._store = store
        self._clock = clock
        self._bets_at_once = bets_at_once
        hourly = [] if hourly_bets_max is None else [bets_per_hour(hourly_bets_max)]
        self._guard = wallet_with(loss_up_to(budget, ASSET), *hourly)
        self._bettor = Decider(self._guard.fold, self._decided)
        effects = Effects(store, casino, self.stream)
        self._outbox = Outbox(
            store,
            {BET: effects.bet, CLAIM: effects.claim},
            workers=bets_at_once,
            attempts_max=ATTEMPTS_MAX,
            first_delay_s=first_delay_s,
            delay_max_s=DELAY_MAX_S,
            categories=["agent"],
        )
        params = {"agent_id": agent_id}
        source = Source(name=f"casino-{agent_id}", path="/api/transactions", params=params)
        self.poller = Poller(
            store, casino.service, source, Meaning(self.stream), overlap_s=overlap_s
        )

    def play(self, *, bets: int) -> Played:
        """Bet until there are so many bets in the ledger, or a guard says no.

        What an earlier session left unfinished comes first. Where the casino gives no answer, no
        further bet is placed. Raises what :meth:`begin` raises.
        """
        self.begin()
        state = self.state()
        before, reason = state.of(ASSET).bets, "done"
        while reason == "done" and state.of(ASSET).bets < bets:
            try:
                self._place_some(state.of(ASSET), bets)
            except Rejected as refusal:
                reason = refusal.reason
            self.finish()
            state = self.state()
            if state.bets.open:
                reason = "no answer"
        return Played(state.of(ASSET).bets - before, reason)

    def begin(self) -> None:
        """Settle what is open, read what the casino has to say, and ask the faucet if need be.

        Raises :class:`~refold.errors.Unavailable` where the casino does not answer.
        """
        self._store.execute(
            self.stream,
            wallet,
            Register(agent=self.agent_id, service="casino"),
            command_id=f"{self.stream}/register",
        )
        self._ask_again()
        self._outbox.catch_up()
        self.poller.poll()
        if next_wager(self.state().of(ASSET).available, 0) is None:
            self._claim()

    def finish(self) -> None:
        """Bring every request to its end, and read what the casino lists."""
        self._outbox.catch_up()
        self._poll()

    def state(self) -> WalletState:
        """The wallet as it stands, from the newest snapshot."""
        try:
            return self._store.fold(self.stream, wallet.fold).state
        except NotFound:
            return wallet.fold.initial()

    # -- bets ---------------------------------------------------------------------------------

    def _place_some(self, account: Account, bets: int) -> None:
        available, numbers = account.available, range(account.bets, bets)
        for number in numbers[: self._bets_at_once]:
            wager = next_wager(available, number)
            if wager is None:
                raise Rejected("too little left for a stake")
            self._place(number, wager)
            available -= wager.amount

    def _place(self, number: int, wager: Wager) -> None:
        bet = f"{self.stream}/bet/{number}"
        command = Play(bet=bet, amount=wager.amount, chance=wager.chance, at=self._clock())
        try:
            self._store.execute(self.stream, self._bettor, command, command_id=bet)
        except UsageError as error:
            if error.code != "key_reused":
                raise
            # Another process of this agent placed this bet: the next one has the next number.

    def _decided(self, command: Play, state: WalletState) -> Sequence[object]:
        placed = PlaceBet(
            bet=command.bet, amount=command.amount, asset=ASSET, game="dice", at=command.at
        )
        asked = {"bet": command.bet, "amount": str(command.amount), "chance": command.chance}
        return [*self._guard.decide(placed, state), EffectRequested(name=BET, arguments=asked)]

    def _ask_again(self) -> None:
        """Take up the bets whose requests were given up, under the keys that they had."""
        open_bets = self.state().bets.open
        for failed in self._outbox.status(limit=FAILED_MAX).latest_failed:
            if failed.reason != "gave_up" or failed.name != BET:
                continue
            effect: EffectRequested = self._store.event(failed.id).event
            if effect.arguments["bet"] in open_bets:
                key = effect.idempotency_key or failed.id
                again = msgspec.structs.replace(effect, idempotency_key=key)
                self._store.append(self.stream, [again], key=f"{failed.id}/again")

    # -- the casino's word --------------------------------------------------------------------

    def _poll(self) -> None:
        try:
            self.poller.poll()
        except Unavailable:
            # It is asked again after the next bets; what it lists is not lost.
            return

    def _claim(self) -> None:
        """Ask the faucet, once a day, and wait for what it gives."""
        day = self._clock() // DAY_US
        asked = self._store.append(
            self.stream, [EffectRequested(name=CLAIM)], key=f"{self.stream}/claim/{day}"
        )
        if asked.duplicate and self.state().of(ASSET).claimed:
            return  # It was today's, and it is gone.
        for _ in range(FAUCET_POLLS_MAX):
            self.finish()
            if self.state().of(ASSET).available:
                return
            time.sleep(FAUCET_PAUSE_S)
