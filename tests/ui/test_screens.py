"""What holds for every screen, those that come later too, over a store full of odd text.

A screen whose address is no page by itself is looked at where tests/ui/screens.py says.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator

import httpx2
import pytest

from refold.ui.writing import Writing
from tests.house.tree import ROOT
from tests.support.browser import Browser, browser
from tests.ui.screens import NOTHING, looked_at, odd_store
from tests.ui.serving import served

SHIFT_MAX = 0.001
"""Less than a pixel of a line: a fraction of one comes of rounding."""
WIDTHS = (400, 1280)
PICTURE_MIN = 5_000
"""A picture that is empty takes fewer bytes."""
NOTED = """
window.noted = {shift: 0, moved: [], refused: []};
new PerformanceObserver(list => {
  for (const one of list.getEntries()) {
    window.noted.shift += one.value;
    for (const {node, previousRect, currentRect} of one.sources)
      window.noted.moved.push([node?.outerHTML?.slice(0, 80), previousRect, currentRect]);
  }
}).observe({type: "layout-shift", buffered: true});
document.addEventListener("securitypolicyviolation", event => {
  window.noted.refused.push(event.violatedDirective + " " + event.blockedURI);
});
window.alert = () => window.noted.refused.push("alert");
"""
VIOLATIONS = """
axe.run(document, %s).then(found => found.violations.map(one => one.id + ": " + one.nodes.map(
  node => node.html.slice(0, 200) + " " + node.failureSummary.slice(0, 300)).slice(0, 3)))
"""
ALL = {"resultTypes": ["violations"]}
COLOURS = {**ALL, "runOnly": ["color-contrast"]}


@pytest.fixture(scope="module")
def client() -> Iterator[httpx2.Client]:
    with odd_store() as store, served(store, writing=Writing(actor="ada")) as reader:
        yield reader


@pytest.fixture(scope="module")
def axe() -> str:
    """axe-core, as `make system` puts it beside."""
    subprocess.run(["sh", "tools/axe.sh"], cwd=ROOT, check=True, capture_output=True)
    return (ROOT / ".cache/axe/node_modules/axe-core/axe.min.js").read_text()


@pytest.fixture(scope="module")
def tab() -> Iterator[Browser]:
    with browser() as one:
        one.call("Page.addScriptToEvaluateOnNewDocument", source=NOTED)
        yield one


@pytest.mark.parametrize(("screen", "address"), looked_at())
def test_a_screen_is_for_everybody_and_still(
    client: httpx2.Client, tab: Browser, axe: str, screen: str, address: str
) -> None:
    """Narrow and wide, dark and light: axe-core finds nothing, and nothing moves, runs or leaks.

    Each is photographed, into REFOLD_PICTURES where that names a folder.
    """
    for width in WIDTHS:
        tab.said.clear()
        tab.asked.clear()
        in_colours(tab, "light")
        tab.go(str(client.base_url.join(address)), width=width)
        is_shown = tab.value("document.title") != "Nothing to show · refold"
        assert is_shown == (address != NOTHING)
        tab.value(f"{axe}; 0")
        found = violations(tab, ALL)
        in_colours(tab, "dark")
        found += violations(tab, COLOURS)
        assert found == [], (screen, address, width)
        assert tab.value("htmx.version").startswith("2.")
        assert tab.value("noted.shift") < SHIFT_MAX, tab.value("noted.moved")
        assert tab.value("noted.refused") == []
        assert tab.value("document.documentElement.scrollWidth") <= width
        assert tab.value("document.querySelectorAll('img, iframe, [style], [onerror]').length") == 0
        assert tab.value("document.links.length") > 0
        assert tab.value("[...document.links].every(link => /^http:/.test(link.protocol))")
        assert [one for one in tab.said if "404" not in one] == []
        assert len(tab.picture()) > PICTURE_MIN
        assert {httpx2.URL(one).host for one in tab.asked} == {"127.0.0.1"}


def test_what_is_wrong_is_found(client: httpx2.Client, tab: Browser, axe: str) -> None:
    """The checks are no formality: words that cannot be read, and what runs or moves, are told."""
    tab.go(str(client.base_url.join("/")))
    tab.value(f"{axe}; 0")
    tab.value("document.documentElement.removeAttribute('lang')")
    tab.value(
        "(main => { const p = document.createElement('p'); p.className = 'totals key model';"
        "p.textContent = 'pale'; p.style.color = '#bbb'; main.prepend(p);"
        "const run = document.createElement('script'); run.textContent = 'alert(1)';"
        "main.append(run) })(document.querySelector('main'))"
    )
    in_colours(tab, "light")
    assert {one.partition(":")[0] for one in violations(tab, ALL)} == {
        "color-contrast",
        "html-has-lang",
    }
    tab.until("noted.refused.length && noted.shift > 0")
    assert [one.split()[0] for one in tab.value("noted.refused")] == ["script-src-elem"]


def in_colours(tab: Browser, scheme: str) -> None:
    feature = {"name": "prefers-color-scheme", "value": scheme}
    tab.call("Emulation.setEmulatedMedia", features=[feature])


def violations(tab: Browser, options: object) -> list[str]:
    asked = {"expression": VIOLATIONS % json.dumps(options), "awaitPromise": True}
    done = tab.call("Runtime.evaluate", **asked, returnByValue=True)
    assert "exceptionDetails" not in done, done
    found: list[str] = done["result"]["value"]
    return found
