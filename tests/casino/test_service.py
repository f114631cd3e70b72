"""The casino keeps its word over HTTP, also where it is told to misbehave."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import msgspec
import pytest

from examples.casino import fairness
from examples.casino.books import FAUCET
from examples.casino.client import Bet, CasinoClient
from examples.casino.faults import Faults
from examples.casino.service import ADMIN_KEY, Casino
from refold.errors import Rejected, Unavailable
from refold.times import to_us

LISTED = "/api/transactions"
ME = {"agent_id": "001"}


@pytest.fixture
def casino() -> Iterator[Casino]:
    with Casino(seed=3) as casino:
        yield casino


@pytest.fixture
def client(casino: Casino) -> Iterator[CasinoClient]:
    key = casino.books.register("001", "registration", "client")["api_key"]
    client = CasinoClient(casino.url, key, timeout_s=0.5)
    yield client
    client.close()


@pytest.fixture
def house(casino: Casino) -> Iterator[CasinoClient]:
    house = CasinoClient(casino.url, ADMIN_KEY)
    yield house
    house.close()


def listed(client: CasinoClient, **asked: str) -> list[dict[str, Any]]:
    """The first page of transactions."""
    found: list[dict[str, Any]] = client.service.get(LISTED, ME | asked).value["transactions"]
    return found


def refusal(client: CasinoClient, method: str, path: str, **asked: Any) -> tuple[int, str]:
    """Status and code of what the casino refuses."""
    with pytest.raises(Rejected) as raised:
        client.service.request(method, path, **asked)
    return raised.value.status, raised.value.answer["error"]["code"]


# -- its word -----------------------------------------------------------------------------------


def test_registering_again_finds_the_same_account(casino: Casino) -> None:
    """An agent that heard no answer asks again; nobody else gets the account."""
    stranger = CasinoClient(casino.url)
    key = stranger.register("002", "r1", "seed")
    assert stranger.register("002", "r1", "seed") == key
    body = {"agent_id": "002", "client_seed": "seed"}
    headers = {"idempotency-key": "r2"}
    assert refusal(stranger, "POST", "/api/register", body=body, headers=headers) == (409, "taken")
    stranger.close()


def test_the_faucet_gives_once_a_day_and_once_a_key(client: CasinoClient) -> None:
    """A repetition gets the first answer, another request nothing."""
    first = client.claim("k1")
    assert (first["success"], Decimal(first["amount"])) == (True, FAUCET)
    assert client.claim("k1") == first
    assert client.claim("k2")["success"] is False
    assert [t["id"] for t in listed(client)] == [first["tx_id"]]


def test_a_bet_moves_exactly_what_it_says(client: CasinoClient, house: CasinoClient) -> None:
    """Stake and fee go, the payout comes, to the last decimal; each is a transaction."""
    client.claim("k")
    balance = FAUCET
    for number in range(20):
        bet = client.bet(f"b{number}", "1.234567", "USDC", "49.50")
        balance += bet.payout - Decimal("1.234567") - Decimal("0.001235")
    statement = house.service.get("/admin/statement", ME).value
    assert Decimal(statement["balance"]) == balance
    kinds = [t["type"] for t in statement["transactions"]]
    assert (kinds.count("bet"), kinds.count("fee")) == (20, 20)
    assert 0 < kinds.count("win") < 20


def test_a_key_plays_one_bet(client: CasinoClient) -> None:
    """Sent again it gets the same answer; for another bet it is refused."""
    client.claim("k")
    first = client.bet("b1", "1", "USDC", "49.50")
    assert client.bet("b1", "1", "USDC", "49.50") == first
    with pytest.raises(Rejected) as raised:
        client.bet("b1", "2", "USDC", "49.50")
    assert raised.value.status == 422
    assert [t["type"] for t in listed(client)].count("bet") == 1


def test_a_refused_key_stays_refused(client: CasinoClient, casino: Casino) -> None:
    """An agent that has called the bet off must not find it played later."""
    for _ in range(2):
        with pytest.raises(Rejected) as raised:
            client.bet("b1", "5", "USDC", "49.50")
        assert raised.value.status == 402
        casino.books.move(casino.books.accounts["001"], "deposit", Decimal(50))
    assert [t["type"] for t in listed(client)] == ["deposit", "deposit"]


@pytest.mark.parametrize(
    ("amount", "asset", "chance", "code"),
    [
        ("0", "USDC", "50", "bad_amount"),
        ("-1", "USDC", "50", "bad_amount"),
        ("NaN", "USDC", "50", "bad_amount"),
        ("1e50", "USDC", "50", "bad_amount"),
        ("0.0000001", "USDC", "50", "bad_amount"),
        (1.5, "USDC", "50", "bad_amount"),
        ("1", "BTC", "50", "unknown_asset"),
        ("1", "USDC", "99", "bad_chance"),
        ("1", "USDC", "33.333", "bad_chance"),
    ],
)
def test_terms_that_make_no_sense_are_refused(
    client: CasinoClient, amount: Any, asset: str, chance: str, code: str
) -> None:
    """No money moves by a bet that nobody can mean."""
    body = {"amount": amount, "asset": asset, "chance": chance}
    headers = {"idempotency-key": "b"}
    asked = {"body": body, "headers": headers}
    assert refusal(client, "POST", "/api/bet", **asked) == (422, code)


def test_only_the_bearer_of_a_key_sees_an_account(
    client: CasinoClient, casino: Casino, house: CasinoClient
) -> None:
    """Neither without a key, nor with another's, nor as an agent where the admin's is wanted."""
    casino.books.register("002", "r", "s")
    assert refusal(house, "GET", LISTED, params=ME) == (401, "unauthorized")
    assert refusal(client, "GET", LISTED, params={"agent_id": "002"}) == (403, "forbidden")
    assert refusal(client, "GET", "/admin/statement", params=ME) == (401, "unauthorized")
    assert refusal(client, "GET", "/nowhere") == (404, "not_found")


def test_what_was_rolled_was_committed_to(client: CasinoClient, casino: Casino) -> None:
    """The seed that is revealed has the hash that was published, and makes every roll again."""
    published = casino.books.register("001", "registration", "client")["commitment"]
    client.claim("k")
    bets = [client.bet(f"b{number}", "0.1", "USDC", "9.00") for number in range(10)]
    said = client.reveal("r1", "another")
    assert client.reveal("r1", "another") == said
    assert said["commitment"] == published
    for bet in bets:
        assert fairness.verify(
            commitment=bet.commitment,
            server_seed=said["server_seed"],
            client_seed="client",
            nonce=bet.nonce,
            rolled=bet.roll,
        )
    after = client.bet("b10", "0.1", "USDC", "9.00")
    assert after.commitment == said["next_commitment"] != published


def test_a_seed_decides_everything(casino: Casino, client: CasinoClient) -> None:
    """Two casinos of one seed roll the same."""
    client.claim("k")
    mine = [client.bet(f"b{number}", "1", "USDC", "49.50").roll for number in range(5)]
    with Casino(seed=3) as twin:
        key = twin.books.register("001", "registration", "client")["api_key"]
        other = CasinoClient(twin.url, key)
        other.claim("k")
        assert [other.bet(f"b{n}", "1", "USDC", "49.50").roll for n in range(5)] == mine
        other.close()


def test_pages_hold_every_transaction_once(client: CasinoClient, casino: Casino) -> None:
    """Following the tokens leads through all of them, in order, also while more come."""
    account = casino.books.accounts["001"]
    for _ in range(250):
        casino.books.move(account, "deposit", Decimal(1))
    found, token = [], None
    while True:
        asked = ME if token is None else ME | {"page": token}
        page = client.service.get(LISTED, asked).value
        casino.books.move(account, "deposit", Decimal(1))
        found += [t["id"] for t in page["transactions"]]
        token = page["next"]
        if token is None:
            break
    assert found == [f"tx-{number}" for number in range(1, len(found) + 1)]
    assert len(found) >= 250


def test_nothing_overdraws(casino: Casino, client: CasinoClient, house: CasinoClient) -> None:
    """The house's own moves are held to the balance and to what is in escrow."""
    casino.books.move(casino.books.accounts["001"], "deposit", Decimal(5))
    for kind, amount in [("withdraw", "6"), ("escrow", "5.01"), ("escrow", "-1"), ("fee", "7")]:
        body = ME | {"type": kind, "amount": amount, "escrow": "e1"}
        assert refusal(house, "POST", "/admin/move", body=body) == (422, "overdrawn")
    house.service.request(
        "POST", "/admin/move", body=ME | {"type": "escrow", "amount": "5", "escrow": "e1"}
    )
    statement = house.service.get("/admin/statement", ME).value
    assert [Decimal(statement[side]) for side in ("balance", "escrow")] == [0, 5]


# -- its faults ---------------------------------------------------------------------------------


def told(casino: Casino, house: CasinoClient, **faults: float) -> None:
    """Tell it over its own endpoint."""
    house.service.request("POST", "/admin/faults", body=faults)
    assert casino.faults == Faults(**faults)


def test_it_fails_before_anything_is_done(
    casino: Casino, client: CasinoClient, house: CasinoClient
) -> None:
    """A 503 moves no money."""
    told(casino, house, fail=1.0)
    with pytest.raises(Unavailable) as raised:
        client.service.request("POST", "/api/claim", body={}, headers={"idempotency-key": "k"})
    assert raised.value.status == 503
    assert casino.books.accounts["001"].entries == []


def test_it_loses_answers_to_what_it_has_done(
    casino: Casino, client: CasinoClient, house: CasinoClient
) -> None:
    """The bet is in the books; asked under its key, a well casino tells what became of it."""
    client.claim("k")
    told(casino, house, lose=1.0, silence_s=0.01)
    with pytest.raises(Unavailable) as raised:
        client.bet("b1", "1", "USDC", "49.50")
    assert raised.value.code in ("broken", "timeout")
    told(casino, house)
    kinds = [t["type"] for t in listed(client)]
    assert kinds.count("bet") == 1
    said = client.service.get("/api/bet", {"idempotency_key": "b1"}).value
    assert client.bet("b1", "1", "USDC", "49.50") == msgspec.convert(said, Bet)


def test_a_bet_that_never_came_is_unknown(client: CasinoClient) -> None:
    """Nothing is said of a key that was not used for a bet."""
    client.claim("k")
    for key in ("b1", "k", ""):
        asked = {"params": {"idempotency_key": key}}
        assert refusal(client, "GET", "/api/bet", **asked) == (404, "not_found")


def test_it_repeats_reorders_and_invents(
    casino: Casino, client: CasinoClient, house: CasinoClient
) -> None:
    """Pages hold transactions twice, in no order, and of types that nobody knows."""
    client.claim("k")
    told(casino, house, repeat=1.0, reorder=1.0, unknown=1.0)
    for number in range(5):
        client.bet(f"b{number}", "1", "USDC", "98.00")
    ids = [t["id"] for t in listed(client)]
    assert len(ids) == 2 * len(set(ids))
    assert ids != sorted(ids, key=lambda id: int(id.removeprefix("tx-")))
    assert [t["type"] for t in listed(client)].count("badge") == 10


def test_it_lists_late_with_the_time_of_when_it_was(
    casino: Casino, client: CasinoClient, house: CasinoClient
) -> None:
    """What is not listed yet is in the books, and counts for the balance."""
    told(casino, house, late_s=1e6)
    client.claim("k")
    assert listed(client) == []
    statement = house.service.get("/admin/statement", ME).value
    assert statement["unlisted"] == [each["id"] for each in statement["transactions"]]
    assert len(statement["unlisted"]) == 1
    assert client.bet("b1", "1", "USDC", "98.00").bet_id


def test_its_clock_may_be_wrong(casino: Casino, client: CasinoClient, house: CasinoClient) -> None:
    """The times of transactions and the Date header are of the same wrong clock."""
    told(casino, house, skew_s=-7_200.0)
    answer = client.service.get(LISTED, ME)
    assert answer.skew is not None
    assert abs(answer.skew[0] + 7_200_000_000) <= answer.skew[1] + 1_000_000
    client.claim("k")
    (claimed,) = listed(client)
    assert abs(to_us(claimed["at"]) - casino.now_us()) < 60_000_000


def test_it_asks_for_patience(casino: Casino, client: CasinoClient, house: CasinoClient) -> None:
    """Over its limit it says 429 and when to come back; nothing was done."""
    told(casino, house, requests_per_second=0.0001, retry_after_s=500.0)
    listed(client)
    with pytest.raises(Unavailable) as raised:
        client.claim("k")
    assert (raised.value.status, raised.value.retry_after_s) == (429, 500.0)
    assert casino.books.accounts["001"].entries == []


def test_unknown_faults_are_refused(house: CasinoClient) -> None:
    """A typing error must not look like a casino that is well."""
    asked = {"body": {"fial": 1}}
    assert refusal(house, "POST", "/admin/faults", **asked) == (422, "bad_faults")


def test_a_port_that_cannot_be_used_is_told_in_a_line(casino: Casino) -> None:
    """One that another program has, and a number that is none."""
    for port, why in ((casino.url.rpartition(":")[2], "in use"), ("99999", "0-65535")):
        command = [sys.executable, "-m", "examples.casino", "serve", "--port", port]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
        assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1), done.stderr
        assert f"error: port {port} cannot be used" in done.stderr
        assert why in done.stderr
        assert "--port" in done.stderr
