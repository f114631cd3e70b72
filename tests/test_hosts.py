"""Addresses: one service under one name, however it is written."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

import refold
from refold.conversation.events import AgentUtterance, UserUtterance
from refold.hosts import normal_url
from refold.replay import ChatEndpoint, Variant, replay
from tests.support.chat_server import ChatServer


@pytest.mark.parametrize(
    "written",
    [
        *("HTTP://localhost/v1", "http://LOCALHOST/v1", "http://localhost:80/v1"),
        *("http://localhost:/v1", "http://localhost/v1/", "http://localhost/%76%31"),
        *("http://localhost/./v1", "http://localhost/v2/../v1", "http://localhost:080/v1"),
    ],
)
def test_equivalent_addresses_are_written_alike(written: str) -> None:
    """RFC 3986, 6.2.2 and 6.2.3: case, default port, dot segments, escapes, a last slash."""
    assert normal_url(written) == "http://localhost/v1"


@pytest.mark.parametrize(
    ("written", "normal"),
    [
        ("https://A.example:443", "https://a.example"),
        ("http://a.example:443/", "http://a.example:443"),
        ("http://a.example/V1?Q=%2f&b=%7E", "http://a.example/V1?Q=%2F&b=~"),
        ("http://a.example/a%2fb", "http://a.example/a%2Fb"),
        ("http://user:Pass@A.example/", "http://user:Pass@a.example"),
        ("http://B\u00fccher.example/x", "http://xn--bcher-kva.example/x"),
        ("http://[::1]:80/v1", "http://[::1]/v1"),
        ("http://[::1", "http://[::1"),
        ("http://a.example:99999/", "http://a.example:99999/"),
        ("a function", "a function"),
        ("", ""),
    ],
)
def test_what_differs_stays(written: str, normal: str) -> None:
    """Another port, path, query or escape that means something is another address."""
    assert normal_url(written) == normal


@given(st.text("/.%2fFaA:?#@[]\u00e9", max_size=20))
def test_normal_is_normal(rest: str) -> None:
    """Whatever was written, once more changes nothing."""
    once = normal_url(f"http://a{rest}")
    assert normal_url(once) == once


def test_one_service_answers_once_however_its_address_is_written() -> None:
    """The answers of ``localhost`` are those of ``LOCALHOST``: nobody is asked again."""
    with refold.open("memory:") as store, ChatServer(lambda _: {"content": "Yes."}) as server:
        store.append("call-1", [UserUtterance("Is it?"), AgentUtterance("It is.")])
        asked = server.base_url.replace("127.0.0.1", "localhost")
        ids = set()
        for written in (asked, asked.upper().replace("V1", "v1"), f"{asked}/"):
            endpoint = ChatEndpoint(written, model="m")
            ids.add(replay(store, ["call-1"], Variant(prompt="p"), endpoint).variant_id)
        assert (len(ids), len(server.requests)) == (1, 1)
        other = ChatEndpoint(server.base_url, model="m")
        assert replay(store, ["call-1"], Variant(prompt="p"), other).variant_id not in ids
        assert len(server.requests) == 2
