"""A newcomer at the demo: what went wrong, why, and what the new prompt would have done."""

from __future__ import annotations

from pathlib import Path

import refold
from refold.conversation import Conversation
from refold.demo import Demo
from tests.support.browser import browser
from tests.ui.serving import served

CLICK = "(one => {{ one.scrollIntoView({{block: 'center'}}); one.click() }})({})"
WRONG = "document.querySelector('tr:has(.bad) a.open')"
WHY = "document.querySelector('.facts a[href^=\"#v\"]')"
OTHER_PROMPT = "[...document.querySelectorAll('.tree li li')].find(li => \
li.innerText.includes('changed: shorter prompt')).querySelector('a[aria-label^=compare]')"


def test_three_clicks_lead_from_the_list_to_what_the_new_prompt_would_have_done(
    tmp_path: Path,
) -> None:
    """The list says where something failed, the conversation what, and its replay is beside it."""
    path = tmp_path / "demo.db"
    with Demo() as demo:
        demo.run(path, report_path=tmp_path / "demo.html")
    with refold.open(path) as store, served(store) as client, browser() as tab:
        tab.go(str(client.base_url.join("/")))
        tab.until(f"!!{WRONG}")  # It comes by itself when the log has been read.
        stream = tab.value(f"{WRONG}.textContent")

        tab.value(CLICK.format(WRONG))
        tab.until(f"document.querySelector('h1')?.textContent === '{stream}'")

        tab.until(f"!!{WHY}")
        tab.value(CLICK.format(WHY))
        tab.until("!!document.querySelector('.step.wrong:target')")
        uses = store.fold(stream, Conversation).state.tool_calls
        call, result = next(
            (use.event, use.answer.event)
            for use in uses
            if use.answer is not None and use.answer.event.is_error
        )
        told = tab.value("document.querySelector('.step.wrong:target').innerText")
        assert f"{call.name}: {result.result}" in " ".join(told.split())
        asker = "document.querySelector(':target').parentElement.closest('.step')"
        assert f"{call.name}({call.arguments})" in tab.value(f"{asker}.innerText")

        tab.until(f"!!{OTHER_PROMPT}")
        tab.value(CLICK.format(OTHER_PROMPT))
        tab.until("location.pathname === '/compare'")
        tab.until("!!document.querySelector('.turns')")
        compared = tab.value("document.querySelector('main').innerText")
        assert "answered each decision as variant" in compared
        replay = tab.value("new URLSearchParams(location.search).get('b')")
        answers = [one for one in store.read(replay) if one.stream == replay]
        words = [one.data["text"] for one in answers if one.type == "agent.utterance"]
        assert words
        assert all(one in compared for one in words[:3])
