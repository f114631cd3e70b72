"""A page of the server as a strict reader sees it."""

from __future__ import annotations

import httpx2

from tests.replay.pages import Page


def page(client: httpx2.Client, address: str) -> Page:
    """A page, parsed strictly."""
    answer = client.get(address)
    assert answer.status_code == 200, answer.text
    return Page(answer.text)
