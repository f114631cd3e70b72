"""``python -m examples.casino serve`` in one terminal, ``python -m examples.casino play`` beside.

``play`` may be killed at any moment and started again. It reports, and reconciles its ledger with
the casino's books.
"""

from __future__ import annotations

import argparse
import math
import sys
import threading
from decimal import Decimal
from pathlib import Path

import refold
from examples.casino.agent import BUDGET, Agent
from examples.casino.client import CasinoClient
from examples.casino.credentials import registered
from examples.casino.faults import ALL, Faults
from examples.casino.reconcile import Reconciliation, reconcile_listed
from examples.casino.report import reconciled, report, revealed
from examples.casino.service import ADMIN_KEY, Casino
from refold.errors import RefoldError

PORT = 8_707


def serve(arguments: argparse.Namespace) -> int:
    """Serve until interrupted."""
    faults = ALL if arguments.faults == "all" else Faults()
    try:
        casino = Casino(seed=arguments.seed, faults=faults, port=arguments.port)
    except (OSError, OverflowError) as error:
        why = f"port {arguments.port} cannot be used: {error}; give another by --port, 0 for any"
        print(f"error: {why}", file=sys.stderr)
        return 2
    with casino:
        print(f"the casino is open at {casino.url}, faults: {arguments.faults}", flush=True)
        try:
            threading.Event().wait()
        except KeyboardInterrupt:
            return 130
    return 0


def play(arguments: argparse.Namespace) -> int:
    """Play, wait for what is listed late, report, reconcile; 1 when the books differ."""
    credentials = registered(
        arguments.db.with_name(f"{arguments.db.name}.{arguments.agent}.key"),
        arguments.url,
        arguments.agent,
        timeout_s=arguments.timeout,
    )
    casino = CasinoClient(arguments.url, credentials.api_key, timeout_s=arguments.timeout)
    house = CasinoClient(arguments.url, ADMIN_KEY)
    with refold.open(arguments.db, synchronous=arguments.synchronous) as store:
        agent = Agent(
            store,
            casino,
            agent_id=arguments.agent,
            budget=arguments.budget,
            bets_at_once=arguments.at_once,
            first_delay_s=arguments.timeout / 20,
            overlap_s=arguments.overlap,
        )
        played = agent.play(bets=arguments.bets)
        print(f"played {played.bets} bets: {played.reason}", flush=True)
        asked = {"agent_id": arguments.agent}
        found = reconcile_listed(
            store,
            agent.stream,
            agent.poller,
            lambda: house.service.get("/admin/statement", asked).value,
            patience_s=arguments.patience,
            waiting=_tell_of_waiting,
        )
        print(*report(store, agent), *reconciled(found), sep="\n")
        checked = revealed(store, agent, casino)
        fair = "as committed to" if not checked.loaded else f"LOADED: {checked.loaded}"
        print(f"{checked.checked} rolls made again, {fair}")
    casino.close()
    house.close()
    return 0 if found.agrees and not checked.loaded else 1


def _tell_of_waiting(found: Reconciliation) -> None:
    print(f"{len(found.unlisted)} transactions are not listed yet: polling on", flush=True)


def _positive(text: str) -> Decimal:
    """A sum of money from the command line."""
    try:
        amount = Decimal(text)
    except ArithmeticError:
        amount = Decimal("NaN")
    if not amount.is_finite() or amount <= 0:
        raise argparse.ArgumentTypeError(f"{text!r} is no amount over 0, such as 60 or 0.50")
    return amount


def _seconds(text: str) -> float:
    """A span of time from the command line."""
    try:
        span_s = float(text)
    except ValueError:
        span_s = math.nan
    if not 0 <= span_s < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of seconds, such as 5 or 0.5")
    return span_s


def parser() -> argparse.ArgumentParser:
    """The arguments of the two commands."""
    main = argparse.ArgumentParser(prog="python -m examples.casino", description=__doc__)
    commands = main.add_subparsers(required=True)
    house = commands.add_parser("serve", help="open the casino")
    house.set_defaults(run=serve)
    house.add_argument("--port", type=int, default=PORT)
    house.add_argument("--seed", type=int, default=7, help="decides rolls and faults")
    house.add_argument("--faults", choices=("all", "none"), default="all")
    player = commands.add_parser("play", help="bet, report, reconcile")
    player.set_defaults(run=play)
    player.add_argument("--url", default=f"http://127.0.0.1:{PORT}")
    player.add_argument("--db", type=Path, default=Path("casino.db"))
    player.add_argument("--agent", default="001")
    player.add_argument("--bets", type=int, default=100, help="how many there are to be in all")
    player.add_argument("--budget", type=_positive, default=BUDGET, help="the most it may lose")
    player.add_argument("--at-once", type=int, default=4, help="requests under way together")
    player.add_argument("--timeout", type=_seconds, default=2.0, help="seconds for an answer")
    player.add_argument(
        "--overlap", type=_seconds, default=5.0, help="seconds that the casino may list late"
    )
    player.add_argument(
        "--patience", type=_seconds, default=30.0, help="seconds to wait for what is listed late"
    )
    player.add_argument("--synchronous", choices=("FULL", "NORMAL"), default="FULL")
    return main


def main() -> int:
    """Run a command; 3 where the service or the store failed."""
    arguments = parser().parse_args()
    try:
        return int(arguments.run(arguments))
    except RefoldError as error:
        print(f"{error.code}: {error.message}", file=sys.stderr)
        return 3


if __name__ == "__main__":
    sys.exit(main())
