"""Replays in the pages: how far they are, the verdict, and the conversations behind each figure."""

from __future__ import annotations

import re
import shlex
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx2
import pytest
from click.testing import CliRunner

import refold
from refold.cli.main import main
from refold.errors import Unavailable
from refold.replay import Action, ChatEndpoint, ChatRequest, ModelFailure, Variant, replay
from refold.replay.answer import Verdict
from refold.replay.metrics import METRICS
from refold.replay.replays import replays
from refold.ui import verdict
from refold.ui.verdict import drawn
from tests.replay.pages import Page
from tests.replay.stories import as_message, as_recorded, opening, record, tells
from tests.replay.test_report import HOSTILE, answer, hostile_store
from tests.support.browser import Browser, browser
from tests.support.chat_server import GARBAGE, ChatServer
from tests.ui.reading import page
from tests.ui.serving import served

BRIEF = Variant(prompt="Be brief.", label="brief")
CONTROL = Variant(label="control")
BEING_MADE = re.compile("It is being compared|being looked for")
HALF = Variant(prompt="Be kind and brief.", label="half")


def half_down(request: ChatRequest) -> Action:
    """A candidate that answers only the first of two questions."""
    if request.messages[-1]["role"] != "user":
        raise ModelFailure("down", kind="refused")
    return answer(request)


@pytest.fixture(scope="module")
def store() -> Iterator[refold.Store]:
    with refold.open("memory:") as made:
        streams = [record(made, f"call-{number}") for number in range(1, 7)]
        replay(made, streams, BRIEF, answer, control=CONTROL, samples=2)
        replay(made, streams[:2], HALF, half_down, attempts_max=1)
        yield made


@pytest.fixture(scope="module")
def client(store: refold.Store) -> Iterator[httpx2.Client]:
    with served(store) as reader:
        yield reader


@pytest.fixture(scope="module")
def tab() -> Iterator[Browser]:
    with browser() as one:
        yield one


def commands(found: Page) -> list[list[str]]:
    """The commands that a page offers, as a shell reads them."""
    return [shlex.split(e.text) for e in found.all("code", "command")]


def ran(*words: str, **env: str) -> Any:
    assert words[0] == "refold"
    return CliRunner().invoke(main, list(words[1:]), env=env)


def test_the_list_is_that_of_the_command(store: refold.Store, client: httpx2.Client) -> None:
    """Each sample of each variant, with how much was asked, and what is left."""
    found = page(client, "/replays")
    rows = [e.text for e in found.all("tr")][1:]
    every = [(one.variant.label, n) for one in replays(store) for n in one.streams]
    assert len(rows) == len(every) == 5
    assert sum("12 of 12" in row and "complete" in row for row in rows) == 4
    (half,) = (row for row in rows if "half" in row)
    assert "4 of 4" in half
    assert "2 decisions failed" in half
    assert not [e for e in found.elements if "hx-trigger" in e.attributes and e.tag == "div"]


def test_the_verdict_is_in_plain_words_first(client: httpx2.Client) -> None:
    """Whether to ship it, before any figure; then how sure that is, and its runs side by side."""
    found = page(client, f"/replays/{BRIEF.id}")
    assert "Do not ship it yet" in found.all("h1")[0].text
    order = [e.text for e in found.elements if e.tag in ("h1", "h2")]
    assert order.index("How sure that is") == 1
    assert {"The verdict", "Its runs side by side", "What to do next"} <= {*order}
    heads = [e.text for e in found.all("th") if "sample" in e.text]
    assert heads == [f"{role}, sample {n}" for role in ("candidate", "control") for n in (0, 1)]
    assert len(found.all("svg", "small")) == 4
    assert not [e for e in found.elements if "style" in e.attributes]


def test_a_label_and_the_start_of_an_id_name_a_replay(client: httpx2.Client) -> None:
    """As everywhere; what names none, or a figure that there is not, is said."""
    assert page(client, "/replays/brief").text == page(client, f"/replays/{BRIEF.id[:6]}").text
    for address in (
        "/replays/none",
        "/replays/brief?behind=none",
        "/replays/brief?behind=change:9",
    ):
        assert client.get(address).status_code == 404


@pytest.mark.parametrize("name", [BRIEF.id, HALF.id])
def test_each_figure_leads_to_just_what_it_counts(client: httpx2.Client, name: str) -> None:
    """A count is as long as the lists behind it, and each item there leads to the place."""
    found = page(client, f"/replays/{name}")
    figures = [e for e in found.all("a") if e.attributes["href"].startswith("?")]
    assert len({e.attributes["href"] for e in figures}) > 8
    opened: dict[str, Page] = {}
    for figure in figures:
        address = f"/replays/{name}{figure.attributes['href']}"
        if address not in opened:
            opened[address] = page(client, address)
        number = figure.text.partition(" ")[0].replace(",", "")
        if "count" in figure.classes and number.isdigit():
            samples = 1 + (name != HALF.id) if address.endswith("=conversations") else 1
            assert int(number) * samples == sum(lengths(opened[address])), (figure.text, address)
    links = {link for one in opened.values() for link in one.links if "/compare?" in link}
    assert links
    for link in sorted(links)[:4]:
        place, _, anchor = link.partition("#")
        assert not anchor or anchor in page(client, place).ids


def test_a_large_replay_keeps_one_list_at_a_time(
    store: refold.Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What stands behind a figure is the same, whether all lists are kept or only that one."""
    with served(store) as whole:
        figures = ("assessed", "conversations", "change:1", "control:throughout", "run:control:1")
        addresses = [f"/replays/{BRIEF.id}", *(f"/replays/{BRIEF.id}?behind={f}" for f in figures)]
        first = [whole.get(address).text for address in addresses]
    monkeypatch.setattr(verdict, "SMALL_MAX", 0)
    with served(store, patience_s=0) as part:
        assert [awaited(part, address) for address in addresses] == first


def awaited(client: httpx2.Client, address: str) -> str:
    """A page, when it is made: until then it says so, and asks again by itself."""
    text = client.get(address).text
    while BEING_MADE.search(text):
        assert Page(text).by_id("replay").attributes["hx-trigger"] == "every 2s"
        text = client.get(address).text
    return text


def test_a_page_that_is_being_made_becomes_the_page(
    store: refold.Store, tab: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In Chromium, without a click; also where it is the list behind a figure."""
    monkeypatch.setattr(verdict, "SMALL_MAX", 0)
    with served(store, patience_s=0) as client:
        tab.go(str(client.base_url.join(f"/replays/{CONTROL.id}?behind=levels")))
        tab.until("document.querySelector('h1').innerText.startsWith('Behind a figure')")
        assert tab.value("document.querySelectorAll('h1').length") == 1
        assert tab.value("document.querySelectorAll('[hx-trigger]').length") == 0


def test_what_kept_a_verdict_from_being_made_is_said_once_and_then_tried_again(
    store: refold.Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The page asks until there is an answer."""

    begun, again = threading.Event(), threading.Event()
    waited = iter((begun, again))

    def failing(*_: Any) -> Any:
        next(waited).wait(60)
        raise Unavailable("the disk is away")

    with served(store, patience_s=0) as reader, monkeypatch.context() as broken:
        broken.setattr(verdict, "compared_as_planned", failing)
        address = f"/replays/{BRIEF.id}"
        texts = (reader.get(address).text for _ in range(1_000))
        assert any("It is being compared" in text for text in texts)
        begun.set()
        asked = (reader.get(address) for _ in range(1_000))
        told = next((one for one in asked if one.status_code != 200), None)
        again.set()
        assert told is not None
        assert "the disk is away" in told.text
        broken.undo()
        assert "Do not ship it yet" in awaited(reader, address)


def lengths(found: Page) -> Iterator[int]:
    (main,) = found.all("main")
    for head in found.inside(main, "h2"):
        yield int(head.text.removeprefix("the control: ").split()[0].replace(",", ""))


def test_it_asks_nobody_and_writes_nothing(store: refold.Store, client: httpx2.Client) -> None:
    """Neither the list nor a verdict adds to the log."""
    before = store.log_head()
    for address in ("/replays", f"/replays/{BRIEF.id}", f"/replays/{BRIEF.id}?behind=levels"):
        page(client, address)
    assert store.log_head() == before


def test_a_verdict_is_made_anew_when_more_was_answered() -> None:
    """What was kept of a page is that of the same events."""
    with refold.open("memory:") as made:
        streams = [record(made, f"call-{number}") for number in (1, 2)]
        replay(made, streams[:1], BRIEF, answer)
        with served(made) as client:
            first = page(client, f"/replays/{BRIEF.id}").text
            assert page(client, f"/replays/{BRIEF.id}").text == first
            replay(made, streams, BRIEF, answer)
            assert "2 recorded conversations" in page(client, f"/replays/{BRIEF.id}").text
    assert "1 recorded conversation " in first


@pytest.mark.parametrize(
    "address", ["", f"/{BRIEF.id}", f"/{HALF.id}", f"/{BRIEF.id}?behind=conversations"]
)
@pytest.mark.parametrize("width", [400, 1280])
def test_a_page_fits_its_window(
    client: httpx2.Client, tab: Browser, address: str, width: int
) -> None:
    """No page is wider than its window, and the console is quiet."""
    tab.said.clear()
    tab.go(str(client.base_url.join(f"/replays{address}")), width=width)
    assert tab.value("document.documentElement.scrollWidth") <= width
    assert [one for one in tab.said if "favicon" not in one] == []


def test_a_run_without_an_answer_is_told_of() -> None:
    """Its plan is on record with its first answer; until then it is known that it goes on."""
    begun, until = threading.Event(), threading.Event()

    def waiting(request: ChatRequest) -> Action:
        begun.set()
        assert until.wait(60)
        return as_recorded(request)

    how = {"samples": 2}  # One conversation all the same.
    with refold.open("memory:") as made, served(made) as client:
        record(made, "call-1")
        running = threading.Thread(
            target=replay, args=(made, ["call-1"], BRIEF, waiting), kwargs=how
        )
        running.start()
        try:
            assert begun.wait(60)
            found = page(client, "/replays")
        finally:
            until.set()
            running.join(60)
    assert "1 conversation of a run that has no answer yet" in found.text
    assert found.by_id("runs").attributes["hx-trigger"] == "every 2s"


def test_a_run_is_followed_until_it_is_over(tab: Browser) -> None:
    """In Chromium, without a click: progress while it goes on, then the verdict, then silence."""
    goes_on, until = threading.Event(), threading.Event()

    def waiting(request: ChatRequest) -> Action:
        if request.messages[-1]["role"] != "user":
            goes_on.set()
            assert until.wait(60)
        return as_recorded(request)

    with refold.open("memory:") as made, served(made) as client:
        streams = [record(made, f"call-{number}") for number in (1, 2)]
        running = threading.Thread(
            target=replay, args=(made, streams, BRIEF, waiting), kwargs={"workers": 1}
        )
        running.start()
        try:
            assert goes_on.wait(60)
            tab.go(str(client.base_url.join(f"/replays/{BRIEF.id}")))
            tab.until("document.body.innerText.includes('goes on')")
            assert "1 of 4" in tab.value("document.body.innerText")
        finally:
            until.set()
            running.join(60)
        tab.until("document.body.innerText.includes('What to do next')")
        assert tab.value("document.querySelectorAll('#replay[hx-trigger]').length") == 0
        assert "4 of 4" in tab.value("document.body.innerText")


def test_a_run_that_was_cut_off_is_not_waited_for() -> None:
    """Nobody holds it any more: what was not asked is said, and the page does not ask again."""
    with refold.open("memory:") as made:
        streams = [record(made, f"call-{number}") for number in (1, 2)]
        with pytest.raises(refold.errors.Unavailable):
            replay(made, streams, BRIEF, down, attempts_max=1, outage_max_s=0)
        with served(made) as client:
            found = page(client, "/replays")
            shown = page(client, f"/replays/{BRIEF.id}")
    assert "not asked" in found.text
    assert not [e for e in found.all("div") if "hx-trigger" in e.attributes]
    assert "not complete" in shown.text


def down(_: ChatRequest) -> Action:
    raise ModelFailure("gone", kind="unreachable")


def test_the_next_commands_are_right(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each runs as it stands: it asks what is missing, or comes to the same verdict."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("REFOLD_URL", "calls.db")
    variant = Variant(prompt="Be brief.\nAnd kind.", params={"stop": ["\n"], "seed": 7})
    with ChatServer(as_message) as server, refold.open("calls.db") as made:
        streams = [record(made, f"call-{number}") for number in (1, 2, 3)][:2]
        server.faults.extend([GARBAGE] * 2)
        endpoint = ChatEndpoint(server.base_url)
        asked: dict[str, Any] = {"primary": "same_calls", "margin": 0.02, "attempts_max": 1}
        replay(made, streams, variant, endpoint, workers=1, **asked)
        with served(made) as client:
            again, *others = commands(page(client, f"/replays/{variant.id}"))
            assert again[:2] == ["refold", "replay"]
            before = len(server.requests)
            done = ran(*again)
            assert done.exit_code == 0, done.output
            assert len(server.requests) - before == 2
            found = page(client, f"/replays/{variant.id}")
        more, *rest = commands(found)
        assert rest == others
        before = len(server.requests)
        assert ran(*more).exit_code == 0
        assert len(server.requests) - before == 2
        (only,) = replays(made)
        assert (only.variant.id, only.streams) == (variant.id, {0: ["call-1", "call-2", "call-3"]})
        with served(made) as client:
            found = page(client, f"/replays/{variant.id}")
        assert commands(found) == others
    codes = [ran(*words).exit_code for words in others]
    assert set(codes) <= {0, 1, 4}
    assert found.all("h1")[0].text in (tmp_path / "replay.html").read_text()


def test_what_is_declared_and_cannot_be_seen_is_said() -> None:
    """A check decides only where it is made; the page says that another metric does."""
    with refold.open("memory:") as made:
        record(made, "call-1")
        replay(made, ["call-1"], BRIEF, answer, primary="repeated_calls")
        with served(made) as client:
            found = page(client, f"/replays/{BRIEF.id}")
    (note,) = (e for e in found.elements if e.attributes.get("role") == "alert")
    assert "repeated_calls was to decide" in note.text


@pytest.mark.parametrize("margin", [None, 0.1])
@pytest.mark.parametrize("ends", [(-0.2, 0.3), (0.1, 0.4), (0.0, 0.0), (-1.0, -1.0)])
def test_an_interval_is_drawn_to_scale(ends: tuple[float, float], margin: float | None) -> None:
    """What lies between in numbers lies between in the picture, all of it inside."""
    low, high = ends
    middle = (low + high) / 2
    one = Verdict(
        metric=METRICS["same_calls"],
        answer="inconclusive",
        plain="",
        difference=middle,
        low=low,
        high=high,
        margin=margin,
    )
    at = drawn(one)
    assert at is not None
    places = [at.low, at.at, at.high, at.zero, *(at.margin or ())]
    assert all(0 < place < 1000 for place in places)
    assert at.low <= at.at <= at.high
    assert (at.low < at.zero) == (low < 0)
    assert (at.high > at.zero) == (high > 0)
    assert (at.margin is None) == (margin is None)


@pytest.mark.parametrize("text", HOSTILE)
def test_what_others_wrote_is_only_text(text: str) -> None:
    """Labels, prompts, models, names of tools and streams, in figures, lists and commands."""
    made = hostile_store(text)
    variant = Variant(prompt=text, model=text, label=text, params={text: text})

    def candidate(_: ChatRequest) -> Action:
        return Action(text=f"{text} again")

    (info,) = list(made.streams())
    replay(made, [info.stream], variant, candidate)
    with served(made) as client:
        for address in ("", f"/{variant.id}", f"/{variant.id}?behind=levels"):
            found = page(client, f"/replays{address}")
            assert not {"img", "iframe"} & {e.tag for e in found.elements}
            assert len(found.all("script")) == 2
            assert not [n for e in found.elements for n in e.attributes if n.startswith("on")]
            assert not [link for link in found.links if link.lower().startswith("javascript")]
            assert text in found.text
        marked = page(client, f"/marked?mark={quote(info.stream)}")
    assert all(words[-1] == info.stream for words in commands(marked))


# -- marks ----------------------------------------------------------------------------------------


def test_what_can_be_done_with_marked_ones_is_offered_and_right(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a form that needs no script; each command does it, of those streams and no others."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("REFOLD_URL", "calls.db")
    Path("prompt.txt").write_text("Be brief.")
    names = ["call-1", "call 'it's'", "-x"]
    with refold.open("calls.db") as made:
        for name in (*names, "call-other"):
            record(made, name, [*opening(), *tells()])
        with served(made) as client:
            listed = page(client, "/?q=gate")
            (form,) = listed.all("form", "marks")
            marks = [e for e in listed.all("input") if e.is_in(form)]
            assert {names[0], names[1]} < {e.attributes["value"] for e in marks}
            asked = "&".join(f"mark={quote(name)}" for name in names)
            offered = commands(page(client, f"{form.attributes['action']}?q=gate&{asked}"))
            two = page(client, "/marked?mark=call-1&mark=-x")
            assert "Compare these two" in [e.text for e in two.all("a")]
            assert client.get("/marked?mark=call-9").status_code == 404
            assert "None is marked" in page(client, "/marked").text
    assert [words[1] for words in offered] == ["datasets", "replay", "export"]
    with ChatServer(as_message) as server:
        done = [ran(*words, REFOLD_BASE_URL=server.base_url) for words in offered]
    assert [one.exit_code for one in done] == [0, 0, 0], [one.output for one in done]
    with refold.open("calls.db", mode="read") as made:
        (found,) = replays(made)
        assert found.streams == {0: names}
        from refold.replay import Dataset

        assert list(Dataset.named(made, "marked").versions) == names
    assert len(done[2].stdout.splitlines()) == len(names)


def test_where_changes_are_allowed_the_forms_are_offered(store: refold.Store) -> None:
    """Filled in with those that are marked; pages that only read lead to none."""
    from starlette.testclient import TestClient

    from refold.ui import app
    from refold.ui.writing import Writing

    asked = "/marked?mark=call-1&mark=call-2"
    reader, writer = (
        TestClient(app(store, writing=may), base_url="http://127.0.0.1")
        for may in (None, Writing(actor="ann", candidate=answer))
    )
    assert not [link for link in Page(reader.get(asked).text).links if "/write/" in link]
    links = [link for link in Page(writer.get(asked).text).links if "/write/" in link]
    assert len(links) == 2
    assert all("call-1\ncall-2" in writer.get(link).text for link in links)


def test_marks_are_told_at_once(client: httpx2.Client, tab: Browser) -> None:
    """In Chromium a bar tells what can be done while rows are marked."""
    tab.go(str(client.base_url.join("/")), width=400)
    for name in ("call-1", "call-2"):
        tab.value(f"document.querySelector('input[value={name}]').click()")
    tab.until("document.querySelector('#marked').innerText.includes('2 conversations marked')")
    assert "refold datasets make marked" in tab.value("document.body.innerText")
    assert tab.value("document.documentElement.scrollWidth") <= 400
    tab.value("document.querySelector('#marked a').click()")
    tab.until("location.pathname === '/compare'")
