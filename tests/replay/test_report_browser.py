"""The report in a real browser: it shows, its script works, and it asks nobody for anything.

Chromium comes with `make system`.
"""

from __future__ import annotations

import re
import struct
import threading
import zlib
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

import refold
from refold.conversation.events import AgentUtterance, UserUtterance
from refold.replay import (
    Action,
    Call,
    ChatRequest,
    ModelFailure,
    Variant,
    compare,
    compare_recorded,
    replay,
)
from refold.replay.checks.reading import read_check
from refold.replay.report import lists, render_report, write_report
from tests.replay.pages import Page
from tests.replay.stories import as_recorded, record
from tests.replay.test_report import VARIANT, told
from tools.screenshot import chromium, find_chromium, take_picture

ITS_MAKER = re.compile(r"\b(google|googleapis|gstatic)\.com\b")


class Proxy(ThreadingHTTPServer):
    """A proxy that serves one page under any name, and remembers everything it is asked for."""

    daemon_threads = True

    def __init__(self, page: bytes) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.page = page
        self.asked: list[str] = []


class _Handler(BaseHTTPRequestHandler):
    server: Proxy

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        self.send_response(200)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(self.server.page)))
        self.end_headers()
        self.wfile.write(self.server.page)

    def do_CONNECT(self) -> None:
        self.server.asked.append(self.path)
        self.send_error(502)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report on three conversations, two decisions each."""
    assert find_chromium() is not None, "no Chromium: run `make system`"
    store = refold.open("memory:")
    for number in range(1, 4):
        record(store, f"call-{number}")
    path = tmp_path_factory.mktemp("report") / "report.html"
    return write_report(told(store), path, read=store.read)


@pytest.fixture
def proxy(report: Path) -> Iterator[Proxy]:
    served = Proxy(report.read_bytes())
    thread = threading.Thread(target=served.serve_forever, args=(0.01,))
    thread.start()
    yield served
    served.shutdown()
    served.server_close()
    thread.join()


def dumped(report: Path, fragment: str = "") -> Page:
    """The page as it stands after its script ran; fails on anything the console says."""
    url = report.as_uri() + fragment
    done = chromium(url, "--dump-dom", "--enable-logging=stderr", "--virtual-time-budget=2000")
    assert done.returncode == 0, done.stderr
    assert "CONSOLE" not in done.stderr, done.stderr
    return Page(done.stdout)


def test_the_script_runs_without_a_word_on_the_console(report: Path) -> None:
    """The filter appears, columns can be sorted, and links still lead somewhere."""
    found = dumped(report)
    (form,) = found.all("form", "filter")
    assert "hidden" not in form.attributes
    (table,) = found.all("table", "sortable")
    assert len(found.inside(table, "button")) == 7
    assert {link.removeprefix("#") for link in found.links} <= set(found.ids)


def test_a_link_to_a_turn_opens_its_conversation(report: Path) -> None:
    """`report.html#call-2@5` shows that turn: what hides it is opened, the rest stays shut."""
    found = dumped(report, "#call-2@5")
    opened = [e for e in found.all("details", "conversation") if "open" in e.attributes]
    assert [e.attributes["id"] for e in opened] == ["conversation:call-2"]


def test_a_link_to_a_turn_on_a_later_page_turns_to_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is packed is unpacked, put in the place of the first page, and opened."""
    monkeypatch.setattr(lists, "TURNS_A_PAGE", 2)
    store = refold.open("memory:")
    for number in range(1, 6):
        record(store, f"call-{number}")
    path = write_report(told(store), tmp_path / "report.html", read=store.read)
    found = dumped(path, "#call-5@2")
    shown = [e.attributes["id"] for e in found.all("details", "conversation")]
    assert shown == ["conversation:call-5"]
    assert "open" in found.by_id("conversation:call-5").attributes
    assert "At gate five." in found.by_id("conversation:call-5").text
    assert "5 to 5 of 5" in found.by_id("side-by-side").text


@pytest.mark.parametrize(("width", "height"), [(1280, 900), (390, 844)], ids=["desk", "phone"])
def test_a_picture_of_it_is_not_blank(
    report: Path, tmp_path: Path, width: int, height: int
) -> None:
    """Ink on paper: many colours, and rows that are not all alike."""
    picture = tmp_path / "report.png"
    take_picture(report, picture, width=width, height=height)
    rows = rows_of(picture.read_bytes())
    assert len(rows) == height
    assert len(set(rows)) > height // 4
    colours = {row[at : at + 3] for row in rows[::4] for at in range(0, len(row), 12)}
    assert len(colours) > 30


MEASURES = """<script>
const tables = ".levels, .verdicts, .patterns, .conversations, .tasks";
const wide = [...document.querySelectorAll(tables)].filter(
  (table) => table.parentElement.scrollWidth > table.parentElement.clientWidth);
const heads = [...document.querySelectorAll(".verdicts .plain td")].filter(
  (one) => one.clientWidth < 300);
const names = [...document.querySelectorAll(".patterns code")].filter(
  (name) => name.getClientRects().length > 1);
const told = (cell) => getComputedStyle(cell, "::before").content;
const figures = document.querySelectorAll(
  ".verdicts tr:not(.plain) td.number, .conversations td.number, .tasks td.number");
const unnamed = [...figures].filter((cell) => !/\\w/.test(told(cell).replace("none", "")));
const counts = [wide, heads, names, unnamed].map((found) => found.length);
parent.postMessage([...counts, figures.length > 8 ? "all" : "none"].join(), "*");
</script>"""
FRAME = """<iframe src="narrow.html" style="width: 400px; height: 900px; border: 0"></iframe><p>
<script>onmessage = ({ data }) => { document.querySelector("p").textContent = data; };</script>"""


def test_its_tables_can_be_read_on_a_phone(tmp_path: Path) -> None:
    """No column is off the edge, no name of a tool is broken, and each figure has its name."""
    store = refold.open("memory:")
    record(store, "call-1")
    control = Variant(params={"seed": 2})
    replay(store, ["call-1"], control, as_recorded)

    def other_tool(_request: ChatRequest) -> Action:
        return Action(calls=(Call("request_nurse_callback", "{}"),))

    told(store, other_tool)
    replayed = render_report(compare(store, ["call-1"], VARIANT, control=control), read=store.read)
    for n in range(4):
        events = [UserUtterance("Hi."), AgentUtterance("Hello.")]
        store.append(f"{'ab'[n % 2]}-{n}", events, metadata={"task": f"t{n // 2}"})
    made = compare_recorded(
        store, ["a-0", "a-2"], ["b-1", "b-3"], checks=[read_check("max_words=9")]
    )
    for number, text in enumerate((replayed, render_report(made, read=store.read))):
        page = re.sub(r"<meta http-equiv[^>]*>", "", text)
        (tmp_path / "narrow.html").write_text(page.replace("</body>", f"{MEASURES}</body>"))
        frame = tmp_path / f"frame{number}.html"
        frame.write_text(FRAME, encoding="utf-8")
        options = ("--dump-dom", "--hide-scrollbars", "--virtual-time-budget=2000")
        done = chromium(frame.as_uri(), *options)
        assert "<p>0,0,0,0,all</p>" in done.stdout.replace("\n", ""), done.stdout[-3000:]


WIDE = """<script>
parent.postMessage([document.documentElement.scrollWidth,
  ...[...document.querySelectorAll("main *")].filter((one) =>
    !one.closest(".scroll, .unseen") && one.getBoundingClientRect().right > 401)
    .map((one) => one.outerHTML.slice(0, 80))].join(" "), "*");
</script>"""
LONG_NAME = "request_a_callback_from_the_nurse_who_is_responsible_for_the_whole_ward_by_tomorrow"


def pages_with_long_names() -> Iterator[str]:
    """A report on a replay, and one on two recordings, in which every name is long."""
    store = refold.open("memory:")
    names = [f"call-{'0a1b2c3d' * 4}", "f" * 32, f"chat-{'x' * 180}"]
    for name in names:
        record(store, name)
        events = [UserUtterance("Hi."), AgentUtterance(f"Hello{'o' * 300}.")]
        store.append(f"b{name}", events, metadata={"task": name * 3})
        store.append(f"c{name}", events, metadata={"task": name * 3})

    def odd(request: ChatRequest) -> Action:
        if request.messages[-1]["role"] == "tool":
            raise ModelFailure(f"the line broke: {'z' * 300}", kind="refused")
        long = f'{{"{LONG_NAME}": "{"y" * 300}", "id": "B2"}}'
        return Action(calls=(Call(LONG_NAME, long), Call("lookup", long)))

    variant = Variant(label=LONG_NAME * 2, model=LONG_NAME, prompt=f"Be {'kind' * 100}.")
    replay(store, names, variant, odd, attempts_max=1)
    checks = [read_check(f"only_tools=lookup,{LONG_NAME}"), read_check("repeated_calls")]
    made = compare(store, names, variant, checks=checks)
    yield render_report(made, read=store.read, title=LONG_NAME, note=LONG_NAME)
    sides = [[f"{side}{name}" for name in names] for side in "bc"]
    yield render_report(compare_recorded(store, *sides, checks=checks), read=store.read)


def test_nothing_is_cut_off_on_a_phone(tmp_path: Path) -> None:
    """At 400 pixels no page is wider, whatever is called how, with all of it open."""
    for number, text in enumerate(pages_with_long_names()):
        opened = re.sub(r"<meta http-equiv[^>]*>", "", text).replace("<details", "<details open")
        (tmp_path / "narrow.html").write_text(opened.replace("</body>", f"{WIDE}</body>"))
        frame = tmp_path / f"frame{number}.html"
        frame.write_text(FRAME, encoding="utf-8")
        options = ("--dump-dom", "--hide-scrollbars", "--virtual-time-budget=2000")
        done = chromium(frame.as_uri(), *options)
        assert "<p>400</p>" in done.stdout.replace("\n", ""), done.stdout


def test_it_asks_nobody_for_anything(proxy: Proxy) -> None:
    """With every request going through one proxy, the page itself is all that is asked for."""
    done = chromium(
        "http://report.example/",
        f"--proxy-server=http://127.0.0.1:{proxy.server_port}",
        "--proxy-bypass-list=<-loopback>",
        "--dump-dom",
        "--virtual-time-budget=2000",
    )
    assert "The candidate acted differently" in done.stdout
    # What Chromium asks its maker on its own account does not come from the page.
    asked = [url for url in proxy.asked if not ITS_MAKER.search(url)]
    assert asked == ["http://report.example/"]
    assert not ITS_MAKER.search(done.stdout)


def rows_of(png: bytes) -> list[bytes]:
    """The rows of an 8-bit RGB picture, 3 bytes a pixel (PNG, ISO/IEC 15948, section 9)."""
    assert png[:8] == b"\x89PNG\r\n\x1a\n"
    width, height, depth, colour = struct.unpack(">IIBB", png[16:26])
    samples = {2: 3, 6: 4}[colour]
    assert depth == 8
    packed, at = b"", 8
    while at < len(png):
        (length,) = struct.unpack(">I", png[at : at + 4])
        if png[at + 4 : at + 8] == b"IDAT":
            packed += png[at + 8 : at + 8 + length]
        at += length + 12
    raw, stride = zlib.decompress(packed), width * samples
    rows: list[bytes] = []
    above = bytes(stride)
    for y in range(height):
        line = raw[y * (stride + 1) : (y + 1) * (stride + 1)]
        above = _unfiltered(line[0], line[1:], above, samples)
        rows.append(above)
    if samples == 3:
        return rows
    return [bytes(b for n, b in enumerate(row) if n % 4 != 3) for row in rows]


def _unfiltered(kind: int, line: bytes, above: bytes, step: int) -> bytes:
    found = bytearray(line)
    for n, value in enumerate(line):
        left = found[n - step] if n >= step else 0
        up, corner = above[n], above[n - step] if n >= step else 0
        found[n] = (value + _predicted(kind, left, up, corner)) & 0xFF
    return bytes(found)


def _predicted(kind: int, left: int, up: int, corner: int) -> int:
    match kind:
        case 0:
            return 0
        case 1:
            return left
        case 2:
            return up
        case 3:
            return (left + up) // 2
    guess = left + up - corner
    return min((left, up, corner), key=lambda near: abs(guess - near))
