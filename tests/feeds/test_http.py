"""Requests are repeated where that can help, as late as the service asks, and bounded."""

from __future__ import annotations

import errno
import json
from collections.abc import Iterator
from decimal import Decimal

import pytest

from refold.errors import Rejected, Unavailable, UsageError
from refold.feeds import JsonService
from tests.feeds.listing import NOON, US, Listing, Reply, Standing, asking, serving

GOOD = Reply(200, b'{"ok": 1.10}')


@pytest.fixture
def listing() -> Iterator[Listing]:
    with serving() as listing:
        yield listing


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504])
def test_what_may_pass_is_asked_again(listing: Listing, status: int) -> None:
    """The service is overloaded or down: the next try may find it well."""
    listing.replies = [Reply(status), Reply(status), GOOD]
    with asking(listing) as service:
        assert service.get().value == {"ok": Decimal("1.10")}
    assert len(listing.asked) == 3


@pytest.mark.parametrize("status", [400, 401, 402, 404, 409, 410, 422, 301])
def test_a_refusal_is_final_and_says_why(listing: Listing, status: int) -> None:
    """It is asked once; the status and what the service said are facts of the error."""
    listing.replies = [Reply(status, b'{"error": {"code": "no", "owed": 0.5}}'), GOOD]
    with asking(listing) as service, pytest.raises(Rejected) as raised:
        service.get()
    assert raised.value.status == status
    assert raised.value.answer == {"error": {"code": "no", "owed": Decimal("0.5")}}
    assert len(listing.asked) == 1


def test_a_refusal_in_no_unicode_is_final_too(listing: Listing) -> None:
    """What it says is shown as far as it can be read."""
    listing.replies = [Reply(404, b'{"error": "\xff"}'), GOOD]
    with asking(listing) as service, pytest.raises(Rejected, match=r"404.*\ufffd") as raised:
        service.get()
    assert (raised.value.answer, len(listing.asked)) == (None, 1)


def test_it_gives_up_after_its_tries(listing: Listing) -> None:
    """No request is repeated for ever; the last failure is the answer."""
    listing.replies = [Reply(500)] * 5 + [Reply(503)]
    with asking(listing, tries_max=6) as service, pytest.raises(Unavailable) as raised:
        service.get()
    assert (raised.value.code, raised.value.status, len(listing.asked)) == ("busy", 503, 6)


@pytest.mark.parametrize(
    ("reply", "code"),
    [
        (Reply(200, b"{"), "garbage"),
        (Reply(200, b'{"id": "\xff"}'), "garbage"),
        (Reply(500, b'{"error": "\xff"}'), "busy"),
        (Reply(200, content_length="9"), "broken"),
    ],
)
def test_a_broken_answer_is_asked_for_again(listing: Listing, reply: Reply, code: str) -> None:
    """One cut short or that is no JSON is no answer; what it was is in the code."""
    listing.replies = [reply, GOOD]
    with asking(listing, timeout_s=0.5) as service:
        assert service.get().value == {"ok": Decimal("1.10")}
        listing.replies = [reply]
        with pytest.raises(Unavailable) as raised:
            service.request("GET", tries_max=1)
    assert raised.value.code in (code, "timeout")


def test_silence_ends_in_time(listing: Listing) -> None:
    """A service that takes a request and says nothing is asked again."""
    listing.replies = [Reply(None), Reply(None)]
    with (
        asking(listing, timeout_s=0.5, tries_max=2) as service,
        pytest.raises(Unavailable) as raised,
    ):
        service.get()
    assert (raised.value.code, len(listing.asked)) == ("timeout", 2)


def test_nobody_there_is_told_apart(listing: Listing) -> None:
    """Where there was no connection, the request was surely not carried out."""
    service = JsonService("http://127.0.0.1:1", pace=Standing())
    with pytest.raises(Unavailable) as raised:
        service.get()
    assert raised.value.code == "unreachable"
    assert f"[Errno {errno.ECONNREFUSED}]" in str(raised.value)


def test_an_answer_without_end_is_cut(listing: Listing, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is over the bound is not read."""
    monkeypatch.setattr("refold.http.ANSWER_BYTES_MAX", 100)
    listing.replies = [Reply(200, b'"' + b"x" * 100 + b'"')]
    with asking(listing, tries_max=1) as service, pytest.raises(Unavailable) as raised:
        service.get()
    assert raised.value.code == "garbage"


def test_waits_grow_and_retry_after_is_kept(listing: Listing) -> None:
    """The own wait comes first, then what is left of the one the service asked for."""
    pace = Standing(roll=1.0)
    listing.replies = [Reply(503), Reply(429, Retry_After="7"), Reply(500), GOOD]
    with asking(listing, first_delay_s=0.5, pace=pace) as service:
        service.get()
    assert pace.waits == [0.5, 1.0, 7.0, 2.0, 7.0]


def test_a_pause_that_is_too_long_is_a_failure(listing: Listing) -> None:
    """Who asks for an hour is not waited for."""
    listing.replies = [Reply(429, Retry_After="3600"), GOOD]
    with asking(listing) as service, pytest.raises(Unavailable) as raised:
        service.get()
    assert raised.value.retry_after_s == 3600
    assert len(listing.asked) == 1


def test_requests_keep_to_the_rate(listing: Listing) -> None:
    """Repetitions count as well."""
    pace = Standing(roll=0.0)
    listing.replies = [GOOD, Reply(500), GOOD]
    with asking(listing, requests_per_second=4, pace=pace) as service:
        service.get()
        service.get()
    assert [wait for wait in pace.waits if wait] == [0.25, 0.5]


def test_a_body_and_its_headers_go_with_every_try(listing: Listing) -> None:
    """A repetition is the same request, down to its idempotency key."""
    listing.replies = [Reply(500), GOOD]
    with asking(listing, headers={"authorization": "Bearer s3cret"}) as service:
        key = {"idempotency-key": "k1"}
        service.request("POST", "/bet", body={"stake": Decimal("0.1")}, headers=key)
    for headers, body in zip(listing.headers, listing.bodies, strict=True):
        assert (headers["authorization"], headers["idempotency-key"]) == ("Bearer s3cret", "k1")
        assert (headers["content-type"], json.loads(body)) == ("application/json", {"stake": "0.1"})


def test_errors_tell_no_secrets(listing: Listing) -> None:
    """Neither headers nor parameters are named."""
    listing.replies = [Reply(403)]
    with (
        asking(listing, headers={"authorization": "Bearer s3cret"}) as service,
        pytest.raises(Rejected) as raised,
    ):
        service.get("/x", {"token": "s3cret"})
    assert "s3cret" not in f"{raised.value!s} {raised.value.facts}"


def test_a_key_that_the_service_repeats_is_not_quoted(listing: Listing) -> None:
    """Services answer "incorrect API key: …", and errors are recorded."""
    listing.replies = [Reply(401, b'{"error": {"message": "incorrect API key: s3cret-9"}}')]
    with (
        asking(listing, headers={"authorization": "Bearer s3cret-9"}) as service,
        pytest.raises(Rejected) as raised,
    ):
        service.get()
    assert "incorrect API key: [secret]" in str(raised.value)
    assert "s3cret" not in f"{raised.value!s} {raised.value.facts}"


@pytest.mark.parametrize("ahead_s", [-3_600, 0, 5])
def test_the_skew_is_that_of_the_date_header(listing: Listing, ahead_s: int) -> None:
    """To half a second, as the header cuts off what is below a whole one."""
    listing.now_us = NOON + ahead_s * US + 900_000
    with asking(listing) as service:
        listing.replies = [GOOD, Reply(200, date="soon")]
        skew = service.get().skew
        assert service.get().skew is None
    assert skew is not None
    assert abs(skew[0] - (ahead_s * US + 900_000)) <= skew[1] == US // 2


@pytest.mark.parametrize(
    "url", ["", "example.org", "ftp://x", "http://", "http://u:p@x", "http://x?key=1", "http://x:y"]
)
def test_what_is_no_address_is_refused(url: str) -> None:
    """Said before anything is asked, without naming what may be a secret."""
    with pytest.raises(UsageError):
        JsonService(url)


@pytest.mark.parametrize("value", ["Bearer ", " x", "Bearer s3cret\n", "Bearer s3crét"])
def test_a_header_that_cannot_be_sent_is_refused_unnamed(listing: Listing, value: str) -> None:
    """The HTTP library's own message would show the secret."""
    with pytest.raises(UsageError) as raised:
        JsonService(listing.url, headers={"authorization": value})
    assert "s3cr" not in str(raised.value)
    with asking(listing) as service, pytest.raises(UsageError):
        service.get(headers={"authorization": value})
