"""What can be changed through the pages: by whom, from their own forms alone, whole and once."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx2 as httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from starlette.testclient import TestClient

import refold
from refold.conversation import Attributes, UserUtterance
from refold.errors import Unavailable
from refold.privacy import CONVERSATION, Privacy, new_keyring
from refold.privacy.holds import place_hold
from refold.replay import ChatEndpoint, compare, replays
from refold.replay.datasets import Dataset
from refold.ui import app, starting
from refold.ui.forms import FORMS
from refold.ui.sending import FIELDS_MAX, SENT_BYTES_MAX
from refold.ui.writing import Writing
from tests.replay.pages import Page
from tests.replay.stories import as_message, record
from tests.support.browser import Browser, browser
from tests.support.chat_server import HANG, ChatServer
from tests.ui.serving import served

BASE = "http://localhost"
CARD = "4242 4242 4242 4242"
HERE = {"origin": BASE}


@pytest.fixture
def store() -> Iterator[refold.Store]:
    with refold.open("memory:") as made:
        record(made, "call-1")
        made.append("call-1", [UserUtterance(text=f"My card is {CARD}.")])
        yield made


@pytest.fixture
def client(store: refold.Store) -> TestClient:
    """Pages that ann may write."""
    return reader(store, Writing(actor="ann"))


def reader(store: refold.Store, writing: Writing | None) -> TestClient:
    return TestClient(app(store, writing=writing), base_url=BASE, follow_redirects=False)


def token(client: TestClient, form: str = "label", **asked: str) -> str:
    """The token of a form as a page shows it."""
    found = Page(client.get(f"/write/{form}", params=asked).text)
    sent = [e for e in found.all("input") if e.attributes.get("name") == "token"]
    return sent[0].attributes["value"]


def send(client: TestClient, form: str, **fields: str) -> httpx.Response:
    """Send a form as its page would."""
    given = fields if form == "redact" else {}
    return client.post(
        f"/write/{form}", data={"token": token(client, form, **given), **fields}, headers=HERE
    )


def problem(answer: httpx.Response) -> str:
    """What an answer says is to be mended."""
    return " ".join(
        e.text for e in Page(answer.text).elements if e.attributes.get("role") == "alert"
    )


@pytest.mark.parametrize("form", FORMS)
def test_no_page_elsewhere_opens_a_form(client: TestClient, form: str) -> None:
    """Filled in by others it would need but a click, and what would go is tried before that."""
    asked = {"stream": "call-1", "event": "call-1@0", "field": "/text", "match": "(a|a)+$"}
    for site, code in (("cross-site", 400), ("same-site", 400), ("same-origin", 200)):
        answer = client.get(f"/write/{form}", params=asked, headers={"sec-fetch-site": site})
        assert answer.status_code == code
        assert ("from these pages themselves" in problem(answer)) is (code == 400)


def test_a_word_is_an_event_of_who_says_it(store: refold.Store, client: TestClient) -> None:
    """Label, score, tag and note at once, of the whole conversation; its page is shown then."""
    answer = send(client, "label", stream="call-1", name="outcome", value="lost", tag="odd")
    assert (answer.status_code, answer.headers["location"]) == (303, "/conversations/call-1")
    send(client, "label", stream="call-1", name="helpful", value="2", note="Asked\r\ntwice")
    known = Attributes.of(store.read("call-1"))
    assert (known.outcome, known.tags, known.scores) == ("lost", ["odd"], {"helpful": 2.0})
    assert known.labels["note"] == "Asked\ntwice"
    said = [e for e in store.read("call-1") if e.type.endswith(".recorded")]
    assert {(e.data["rater"], e.metadata["actor"]) for e in said} == {("ann", "ann")}
    assert "lost" in client.get("/conversations/call-1").text


def test_a_word_on_one_event_leads_back_to_it(store: refold.Store, client: TestClient) -> None:
    """It is about that event alone."""
    answer = send(client, "label", stream="call-1", at="call-1@5", name="right", value="no")
    assert answer.headers["location"] == "/events/call-1%405"
    (said,) = [e for e in store.read("call-1") if e.type == "label.recorded"]
    assert said.data["at"] == "call-1@5"


def test_marked_conversations_are_kept_as_a_dataset(store: refold.Store) -> None:
    """One a line, each up to its last event, with who made it."""
    record(store, "call-2")
    client = reader(store, Writing(actor=lambda request: request.headers["x-user"]))
    client.headers["x-user"] = "bo"
    asked = Page(client.get("/write/dataset?stream=call-1&stream=call-2").text)
    assert asked.by_id("dataset-stream").text == "call-1\ncall-2"
    answer = send(client, "dataset", name="odd", stream="call-1\ncall-2")
    assert answer.status_code == 303
    assert "odd" in client.get(answer.headers["location"]).text
    assert Dataset.named(store, "odd").items == ["call-1@6", "call-2@5"]
    assert store.event("dataset~odd@0").metadata["actor"] == "bo"


def test_what_would_go_is_shown_before_it_goes(store: refold.Store, client: TestClient) -> None:
    """With a reason, and by whose word; a hole is left that says so."""
    before = store.log_head()
    asked = Page(client.get("/write/redact?event=call-1@6&field=text&match=(\\d{4} ?)%2B").text)
    assert "call-1@6 /text span" in " ".join(asked.text.split())
    assert store.log_head() == before
    fields = {"event": "call-1@6", "field": "text", "match": r"(\d{4} ?)+"}
    assert problem(send(client, "redact", **fields)) == "reason: fill it in"
    assert CARD in client.get("/events/call-1@6").text
    answer = send(client, "redact", **fields, reason="asked by mail")
    assert (answer.status_code, answer.headers["location"]) == (303, "/events/call-1%406")
    shown = client.get("/events/call-1@6").text
    assert "My card is [redacted]." in shown
    assert CARD not in shown
    told = next(iter(store.read("refold-privacy"))).data
    assert (told["reason"], told["authority"]) == ("asked by mail", "ann")


def test_what_is_held_stays(store: refold.Store, client: TestClient) -> None:
    """And the page says by what."""
    place_hold(store, category="call", reason="a claim")
    before = store.log_head()
    what = {"event": "call-1@6", "field": "text"}
    assert "hold" in problem(client.get("/write/redact", params=what))
    fields = {"token": token(client), **what, "reason": "asked"}
    answer = client.post("/write/redact", data=fields, headers=HERE)
    assert answer.status_code == 400
    assert "hold" in problem(answer)
    assert store.log_head() == before


@pytest.mark.parametrize(
    ("form", "fields", "said", "status"),
    [
        ("label", {"stream": "call-1"}, "say what it is", 400),
        ("label", {"stream": "call-1", "name": "outcome"}, "value: fill it in", 400),
        ("label", {"stream": "call-9", "tag": "odd"}, "call-9", 404),
        ("label", {"stream": "dataset~x", "tag": "odd"}, "no conversation", 400),
        ("label", {"stream": "call-1", "at": "call-1@99", "tag": "odd"}, "call-1@99", 404),
        ("label", {"stream": "call-1", "note": "x" * 5_000}, "4,000 are taken", 400),
        ("dataset", {"name": "../x", "stream": "call-1"}, "a name of letters", 400),
        ("dataset", {"name": "x", "stream": "call-1\ncall-9"}, "call-9", 404),
        ("redact", {"event": "call-1@6", "field": "text"}, "reason: fill it in", 400),
    ],
)
def test_what_is_to_be_mended_is_said_on_the_form(
    store: refold.Store,
    client: TestClient,
    form: str,
    fields: dict[str, str],
    said: str,
    status: int,
) -> None:
    """With all that was filled in, and nothing of it done."""
    before = store.log_head()
    answer = send(client, form, **fields)
    assert answer.status_code == status
    assert said in problem(answer)
    inputs = {
        e.attributes.get("name"): e.attributes.get("value") for e in Page(answer.text).all("input")
    }
    assert all(inputs[name] == one for name, one in fields.items() if name in inputs)
    assert store.log_head() == before


FOREIGN: list[dict[str, str]] = [
    {"origin": "https://elsewhere.example"},
    {"origin": "http://localhost.elsewhere.example"},
    {"origin": "http://localhost:81"},
    {"origin": "null"},
    {"origin": ""},
    {"origin": BASE, "sec-fetch-site": "cross-site"},
    {"origin": BASE, "sec-fetch-site": "same-site"},
    {"origin": BASE, "host": "elsewhere.example"},
]


@pytest.mark.parametrize("headers", FOREIGN)
def test_a_page_elsewhere_changes_nothing(
    store: refold.Store, client: TestClient, headers: dict[str, str]
) -> None:
    """Even one that has come by a token: what its browser says of it is enough."""
    before = store.log_head()
    fields = {"token": token(client), "stream": "call-1", "tag": "odd"}
    answer = client.post("/write/label", data=fields, headers=headers)
    assert answer.status_code in (403, 421)
    assert store.log_head() == before


def test_who_says_not_where_it_comes_from_changes_nothing(
    store: refold.Store, client: TestClient
) -> None:
    """A browser always says; a form that a page elsewhere sends in the simplest way is refused."""
    before = store.log_head()
    fields = {"token": token(client), "stream": "call-1", "tag": "odd"}
    assert client.post("/write/label", data=fields).status_code == 403
    assert store.log_head() == before


def test_a_form_that_was_not_made_here_changes_nothing(store: refold.Store) -> None:
    """No token, one of somebody else's, one of another server, one that was made up."""
    made = Writing(actor=lambda request: request.headers["x-user"])
    ann, eve, other = reader(store, made), reader(store, made), reader(store, Writing(actor="ann"))
    ann.headers["x-user"], eve.headers["x-user"] = "ann", "eve"
    before = store.log_head()
    for made_up in ("", token(eve), token(other), "0" * 32 + "." + "0" * 64, "é.é"):
        fields = {"token": made_up, "stream": "call-1", "tag": "odd"}
        answer = ann.post("/write/label", data=fields, headers=HERE)
        assert answer.status_code == 403
        assert "send it again" in problem(answer)
    assert store.log_head() == before
    shared = Writing(actor="ann", secret=made.secret)
    fields = {"token": token(reader(store, shared)), "stream": "call-1", "tag": "odd"}
    assert ann.post("/write/label", data=fields, headers=HERE).status_code == 303


def test_who_is_not_known_changes_nothing(store: refold.Store) -> None:
    """Nor is shown a form: who has no name only reads."""
    client = reader(store, Writing(actor=lambda request: request.headers.get("x-user", "")))
    assert '<form class="write' not in client.get("/conversations/call-1").text
    assert client.get("/write/label").status_code == 404
    assert client.post("/write/label", data={"tag": "x"}, headers=HERE).status_code == 404


def test_a_form_that_is_sent_again_does_nothing_twice(
    store: refold.Store, client: TestClient
) -> None:
    """However often and at once; even where somebody else has said otherwise between."""
    fields = {"token": token(client), "stream": "call-1", "name": "outcome", "value": "lost"}
    before = store.log_head()

    def again(_: int) -> httpx.Response:
        return client.post("/write/label", data=fields, headers=HERE)

    with ThreadPoolExecutor(8) as pool:
        answers = [*pool.map(again, range(16))]
    assert {(one.status_code, one.headers["location"]) for one in answers} == {
        (303, "/conversations/call-1")
    }
    assert store.log_head() == before + 1
    send(client, "label", stream="call-1", name="outcome", value="won")
    assert again(0).status_code == 303
    assert Attributes.of(store.read("call-1")).outcome == "won"


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"tag=odd", "text/plain"),
        (b'{"tag": "odd"}', "application/json"),
        (b"tag=%ff", "application/x-www-form-urlencoded"),
        (b"\xff", "application/x-www-form-urlencoded"),
        (b"a=1&" * (FIELDS_MAX + 1), "application/x-www-form-urlencoded"),
        (b"tag=" + b"x" * SENT_BYTES_MAX, "application/x-www-form-urlencoded"),
    ],
)
def test_what_is_no_form_is_refused(
    store: refold.Store, client: TestClient, body: bytes, kind: str
) -> None:
    """Other kinds of bodies, what is no text, too many fields, too much."""
    before = store.log_head()
    answer = client.post("/write/label", content=body, headers={**HERE, "content-type": kind})
    assert answer.status_code == 400
    assert store.log_head() == before


def test_without_leave_there_is_no_form(store: refold.Store) -> None:
    """Nor does one that is sent all the same do anything."""
    client, before = reader(store, None), store.log_head()
    for address in ("/conversations/call-1", "/events/call-1@6"):
        posting = [
            e
            for e in Page(client.get(address).text).all("form")
            if e.attributes.get("method") == "post"
        ]
        assert posting == []
    for form in FORMS:
        assert client.get(f"/write/{form}").status_code == 404
        assert (
            client.post(f"/write/{form}", data={"stream": "call-1"}, headers=HERE).status_code
            == 405
        )
    assert store.log_head() == before


def test_reading_never_writes(store: refold.Store, client: TestClient) -> None:
    """All addresses that can be come to leave the log where it was, filled in or not."""
    before = store.log_head()
    waiting, seen = ["/", *(f"/write/{one}" for one in FORMS)], set[str]()
    waiting += [
        "/write/redact?event=call-1@6&field=text&reason=x",
        "/write/label?stream=call-1&tag=x",
    ]
    while waiting and len(seen) < 60:
        address = waiting.pop()
        seen.add(address)
        answer = client.get(address)
        assert answer.status_code < 500, (address, answer.text)
        if "html" in answer.headers["content-type"]:
            here = httpx.URL(BASE).join(address)
            to = [str(here.join(one).copy_with(fragment=None)) for one in Page(answer.text).links]
            waiting += [one.removeprefix(BASE) for one in to if one.removeprefix(BASE) not in seen]
    assert len(seen) > 15
    assert store.log_head() == before


WORDS: Any = st.sampled_from(
    [
        "",
        "call-1",
        "call-9",
        "call-1@6",
        "call-1@99",
        "dataset~x",
        "text",
        "/text",
        "[",
        "\\d",
        "odd",
    ]
) | st.text(max_size=20)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    form=st.sampled_from([*FORMS, "nothing"]),
    fields=st.dictionaries(
        st.sampled_from(
            [
                "stream",
                "at",
                "name",
                "value",
                "tag",
                "note",
                "event",
                "field",
                "match",
                "reason",
                "x",
            ]
        ),
        WORDS,
    ),
    is_signed=st.booleans(),
)
def test_a_form_does_one_whole_thing_or_nothing(
    store: refold.Store, client: TestClient, form: str, fields: dict[str, str], is_signed: bool
) -> None:
    """Whatever is sent: it leads on and what it did is on record, or says why and did nothing."""
    before = store.log_head()
    signed = {"token": token(client, "dataset")} if is_signed else {}
    answer = client.post(f"/write/{form}", data={**fields, **signed}, headers=HERE)
    grown = store.log_head() - before
    assert answer.status_code in (303, 400, 403, 404)
    if answer.status_code != 303:
        assert problem(answer)
        assert grown == 0
    else:
        assert is_signed
        assert client.get(answer.headers["location"]).status_code == 200
    if grown:
        streams = {e.stream for e in store.read_all(after=before)}
        assert len(streams) == 1


@pytest.fixture(scope="module")
def tab() -> Iterator[Browser]:
    with browser() as one:
        yield one


def test_a_label_and_a_redaction_are_seen_in_the_browser(store: refold.Store, tab: Browser) -> None:
    """Filled in and sent as a person would, without a complaint on the console."""
    with served(store, writing=Writing(actor="ann")) as client:
        tab.said.clear()
        tab.go(str(client.base_url.join("/conversations/call-1")))
        tab.value("document.querySelector('details.writing').open = true")
        fill(tab, "label-name", "outcome")
        fill(tab, "label-value", "misheard")
        tab.value("document.querySelector('form[action$=label] button').click()")
        tab.until("document.querySelector('.steps').innerText.includes('misheard')")
        tab.go(str(client.base_url.join("/events/call-1@6")))
        tab.value("document.querySelector('a[href*=\"/write/redact\"]').click()")
        tab.until("!!document.getElementById('redact-field')")
        fill(tab, "redact-field", "text")
        tab.value("document.querySelector('form.write button').click()")
        tab.until("!!document.getElementById('redact-reason')")
        fill(tab, "redact-reason", "asked by mail")
        tab.value("document.querySelector('form[method=post].write button').click()")
        tab.until("location.pathname.startsWith('/events/') && document.body")
        tab.until("document.body.innerText.includes('[redacted]')")
        tab.go(str(client.base_url.join("/conversations/call-1")))
        assert CARD not in tab.value("document.body.innerText")
    assert [one for one in tab.said if "favicon" not in one] == []


def fill(tab: Browser, name: str, text: str) -> None:
    """Put a text into a field."""
    tab.value(f"document.getElementById('{name}').value = '{text}'")


@pytest.fixture
def answering(store: refold.Store) -> Iterator[TestClient]:
    """Pages whose replays are answered by a local server."""
    with ChatServer(as_message) as server:
        asked = ChatEndpoint(server.base_url, api_key="-")
        yield reader(store, Writing(actor="ann", candidate=asked))


def ended(client: TestClient) -> str:
    """What the page says of the last replay, when it has ended."""
    started = client.app.state.forms.started  # type: ignore[attr-defined]
    limit = time.monotonic() + 60
    while not next(iter(started)).ended:
        assert time.monotonic() < limit
        time.sleep(0.01)
    return Page(client.get("/write/replay").text).all("li")[0].text


def test_a_replay_is_started_and_goes_on_by_itself(
    store: refold.Store, answering: TestClient
) -> None:
    """With what the plan says of who started it; the same again asks nothing more."""
    what = {"stream": "call-1", "prompt": "Be brief.\r\n", "model": "small", "control": "yes"}
    answer = send(answering, "replay", **what)
    assert (answer.status_code, answer.headers["location"]) == (303, "/write/replay")
    assert ended(answering).endswith("on 1 conversation: 4 of 4 decisions asked, done")
    assert "/replays" in Page(answering.get("/write/replay").text).links
    assert "Be brief." in answering.get("/replays").text
    run, control = (one for one in replays(store) if one.streams)
    changed = run.variant if run.variant.prompt else control.variant
    assert (changed.prompt, changed.model) == ("Be brief.\n", "small")
    plans = [e for e in store.read_all() if e.type == "replay.planned"]
    assert {e.metadata["actor"] for e in plans} == {"ann"}
    assert len(compare(store, ["call-1"], changed).conversations) == 1
    Dataset.make(store, "one", ["call-1"])
    send(answering, "replay", dataset="one", prompt="Be brief.\n", model="small")
    assert ended(answering).endswith("0 of 0 decisions asked, done")


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"stream": "call-1"}, "a prompt, or a model"),
        ({"model": "small"}, "a dataset, or one a line"),
        ({"model": "small", "stream": "call-1", "dataset": "one"}, "a dataset, or one a line"),
        ({"model": "small", "stream": "call-9"}, "call-9"),
        ({"model": "small", "dataset": "none"}, "no dataset"),
        ({"model": "small", "stream": "call-1", "max_cost": "much"}, "US dollars"),
        ({"model": "small", "stream": "empty-1"}, "empty-1"),
    ],
)
def test_a_replay_that_cannot_be_is_not_begun(
    store: refold.Store, answering: TestClient, fields: dict[str, str], said: str
) -> None:
    """What is to be mended stands on the form, before anything is asked."""
    before = store.log_head()
    answer = send(answering, "replay", **fields)
    assert answer.status_code in (400, 404)
    assert said in problem(answer)
    assert "Started here" not in answer.text
    assert store.log_head() == before


def test_what_fails_when_nobody_waits_any_more_is_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """On the page that lists what was started; an error nobody foresaw on the terminal too."""
    monkeypatch.setattr(starting, "BEGIN_MAX_S", 0)
    told: list[BaseException | None] = []
    monkeypatch.setattr(threading, "excepthook", lambda hooked: told.append(hooked.exc_value))
    for error, said in ((Unavailable("it is away"), "it is away"), (KeyError("x"), "terminal")):
        kept, until = starting.StartedReplays(), threading.Event()

        def run(_: object, why: Exception = error, until: threading.Event = until) -> Any:
            assert until.wait(60)
            raise why

        others = {*threading.enumerate()}
        kept.start("v", 1, run)
        (going,) = {*threading.enumerate()} - others
        until.set()
        going.join(60)
        (one,) = kept
        assert said in one.ended
    assert [type(one) for one in told] == [KeyError]


def test_one_replay_goes_on_at_a_time(store: refold.Store) -> None:
    """The second is told how far the first is; who stops answering is told of too."""
    with ChatServer(as_message) as server:
        server.always = HANG
        asked = ChatEndpoint(server.base_url, api_key="-")
        client = reader(store, Writing(actor="ann", candidate=asked))
        what = {"stream": "call-1", "model": "small"}
        assert send(client, "replay", **what).status_code == 303
        again = send(client, "replay", **what)
        assert again.status_code == 400
        assert "goes on (0 of 2)" in problem(again)
    assert "stopped: " in ended(client) or "failed" in ended(client)


def test_without_an_endpoint_no_replay_is_offered(client: TestClient) -> None:
    """The page says how there would be one."""
    assert "--base-url" in problem(client.get("/write/replay?stream=call-1"))


def test_what_is_encrypted_is_not_looked_past(tmp_path: Path) -> None:
    """A repetition could stay that these pages cannot read: the command is named that can."""
    ring = new_keyring()
    with refold.open(tmp_path / "a.db", privacy=Privacy(ring, CONVERSATION, actor="a")) as made:
        made.append("call-1", [UserUtterance(text=f"My card is {CARD}.")])
    with refold.open(tmp_path / "a.db", mode="write") as made:
        made.append("call-1", [refold.Event("note.made", {"card": CARD})])
        client, before = reader(made, Writing(actor="ann")), made.log_head()
        what = {"event": "call-1@1", "field": "card"}
        assert "refold redact" in problem(client.get("/write/redact", params=what))
        fields = {"token": token(client), **what, "reason": "asked"}
        answer = client.post("/write/redact", data=fields, headers=HERE)
        assert answer.status_code == 400
        assert made.log_head() == before


def test_with_the_keyring_what_is_encrypted_is_taken_out_too(tmp_path: Path) -> None:
    """What repeats it goes wherever it stands, and who looked into it is on record."""
    ring = new_keyring()
    with refold.open(tmp_path / "a.db", privacy=Privacy(ring, CONVERSATION, actor="a")) as made:
        made.append("call-1", [UserUtterance(text=f"My card is {CARD}.")])
    reads = Privacy(ring, actor="ann", purpose="redaction")
    with (
        refold.open(tmp_path / "a.db", mode="write") as made,
        refold.open(tmp_path / "a.db", mode="write", privacy=reads) as unlocked,
    ):
        made.append("call-1", [refold.Event("note.made", {"card": CARD})])
        client = reader(made, Writing(actor="ann", unlocked=unlocked))
        what = {"event": "call-1@1", "field": "card"}
        shown = client.get("/write/redact", params=what).text
        assert "call-1@0" in shown
        assert send(client, "redact", **what, reason="asked").status_code == 303
        assert CARD not in client.get("/conversations/call-1").text
        kept = [one.data for one in unlocked.read("call-1")]
    assert CARD not in str(kept)
    assert "My card is" in str(kept)


def test_what_is_marked_in_the_list_fills_the_form(client: TestClient) -> None:
    """As the list sends it."""
    asked = Page(client.get("/write/dataset?mark=call-1&mark=call-2").text)
    assert asked.by_id("dataset-stream").text == "call-1\ncall-2"
