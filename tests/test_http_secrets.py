"""A secret stands in no error, log or answer, whoever says it; and no answer goes on for ever."""

from __future__ import annotations

import base64
import json
import logging
import socket
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from refold.errors import RefoldError, Unavailable, UsageError
from refold.feeds import JsonService, Source
from refold.replay import ChatEndpoint, ModelFailure
from refold.replay.request import ChatRequest

KEY = "sk-s3/cr+et-9=="
PASSWORD = "s3cr:et pass"
BASIC = "Basic " + base64.b64encode(f"user:{PASSWORD}".encode()).decode()
HEADERS = {
    "authorization": f"Bearer {KEY}",
    "api-key": KEY,
    "cookie": f"theme=dark; session={KEY}",
}
ASK = ChatRequest(messages=[{"role": "user", "content": "hi"}], model="m")


@contextmanager
def answering(answer: Callable[[socket.socket, bytes], None]) -> Iterator[str]:
    """A service that reads the head of a request and answers with bytes; its URL."""
    server = socket.create_server(("127.0.0.1", 0))

    def one(connection: socket.socket) -> None:
        with connection:
            head = b""
            while b"\r\n\r\n" not in head:
                head += connection.recv(65_536)
            try:
                answer(connection, head)
            except OSError:  # The client has had enough.
                return

    def serve() -> None:
        while True:
            try:
                connection, _ = server.accept()
            except OSError:  # closed
                return
            threading.Thread(target=one, args=(connection,), daemon=True).start()

    threading.Thread(target=serve, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"
    finally:
        server.shutdown(socket.SHUT_RDWR)
        server.close()


def whole(status: str, body: bytes, head: bytes = b"") -> bytes:
    """An answer."""
    said = b"HTTP/1.1 %s\r\ncontent-length: %d\r\nconnection: close\r\n%s\r\n"
    return said % (status.encode(), len(body), head) + body


def everything(error: BaseException) -> str:
    """All that an error and those behind it say: texts, facts, traces."""
    said, seen = "", []
    pending: list[BaseException | None] = [error]
    while pending:
        one = pending.pop()
        if one is not None and one not in seen:
            seen.append(one)
            said += f"{one!s} {one!r} {getattr(one, 'facts', '')} {one.__dict__}"
            said += "".join(traceback.format_exception(one))
            pending += [one.__cause__, one.__context__]
    return said


def _forms(key: str) -> list[bytes]:
    """A key as services repeat it."""
    from urllib.parse import quote

    return [
        key.encode(),
        json.dumps(key).replace("/", "\\/").encode(),
        quote(key, safe="").encode(),
        "".join(f"\\u{ord(char):04x}" for char in key).encode(),
    ]


ECHOES: dict[str, Callable[[bytes], bytes]] = {
    "a refusal": lambda key: whole("401 X", b'{"error": {"message": "bad key: %s"}}' % key),
    "a refusal that is no JSON": lambda key: whole("403 X", b"<p>bad key: %s</p>" % key),
    "an overload": lambda key: whole("503 X", b"key %s waits" % key),
    "no JSON": lambda key: whole("200 OK", b"<p>hello %s</p>" % key),
    "an error in a good answer": lambda key: whole("200 OK", b'{"error": "bad key: %s"}' % key),
    "a bad header": lambda key: b"HTTP/1.1 200 OK\r\nx\0%s: 1\r\n\r\n{}" % key,
    "a bad status": lambda key: b"HTTP/1.1 %s\r\n\r\n" % key,
    "a bad length": lambda key: b"HTTP/1.1 200 OK\r\ncontent-length: %s\r\n\r\n" % key,
    "a bad packing": lambda key: whole("200 OK", key, b"content-encoding: gzip\r\n"),
    "a redirect": lambda key: whole("302 X", key, b"location: /?key=%s\r\n" % key),
}


@pytest.mark.parametrize("echo", ECHOES)
@pytest.mark.parametrize("form", range(4))
def test_what_a_service_repeats_is_not_said(
    echo: str, form: int, caplog: pytest.LogCaptureFixture
) -> None:
    """Headers, cookies, parameters of the URL and of the call; of feeds and of replays."""
    caplog.set_level(logging.DEBUG)
    secret = _forms(KEY)[form]
    with answering(lambda to, _: to.sendall(ECHOES[echo](secret))) as url:
        service = JsonService(url, headers=HEADERS, tries_max=1, timeout_s=5)
        model = ChatEndpoint(f"{url}/v1?api-key={KEY}", api_key=KEY, timeout_s=5)
        bare = JsonService(url, tries_max=1, timeout_s=5)
        said = ""
        calls: list[Callable[[], object]] = [
            lambda: service.get("/x"),
            lambda: bare.get("/x", {"token": KEY}),
            lambda: model(ASK),
        ]
        for call in calls:
            try:
                said += repr(call())
            except RefoldError as error:
                said += everything(error)
                # A library's error would bring its request and all its headers with it.
                assert not (error.__cause__ and not isinstance(error.__cause__, RefoldError))
        for one in (service, model, bare):
            one.close()
    said += caplog.text + repr(Source(name="bank", params={"key": KEY})) + repr(model)
    for form_of_it in _forms(KEY):
        assert form_of_it.decode().strip('"') not in said


def test_a_password_that_is_unpacked_is_not_said() -> None:
    """Services decode Basic and say who could not log in with what."""
    body = f"user with {PASSWORD} is unknown".encode()
    with answering(lambda to, _: to.sendall(whole("401 X", body))) as url:
        service = JsonService(url, headers={"authorization": BASIC}, tries_max=1)
        with pytest.raises(RefoldError) as raised:
            service.get()
        service.close()
    assert PASSWORD not in everything(raised.value)


def test_data_is_left_whole(caplog: pytest.LogCaptureFixture) -> None:
    """An idempotency key and a plain parameter are no secrets: data that has them stays whole."""
    caplog.set_level(logging.DEBUG)
    body = b'{"reference": "bet-00001", "account": "account-7"}'
    with answering(lambda to, _: to.sendall(whole("200 OK", body))) as url:
        service = JsonService(url, tries_max=1)
        got = service.get("/x", {"account": "account-7"}, headers={"idempotency-key": "bet-00001"})
        service.close()
    assert got.value == {"reference": "bet-00001", "account": "account-7"}
    assert "account-7" not in caplog.text


@pytest.mark.parametrize(
    "url",
    [
        f"http://u:{KEY}@h/v1", f"u:{KEY}@h/v1", f"http:/u:{KEY}@h", f"//u:{KEY}@h",
        f"htp://h?key={KEY}", f"http://?key={KEY}", f"http://u:p?{KEY}@h", f"http://h:x#{KEY}",
        f"http://h/v1#{KEY}",
    ],
)  # fmt: skip
def test_a_url_that_is_refused_is_not_shown_where_it_may_hold_a_secret(url: str) -> None:
    """Neither in the words nor in the facts nor behind them."""
    for made in (JsonService, ChatEndpoint):
        with pytest.raises(UsageError) as raised:
            made(url)
        assert KEY not in everything(raised.value)


@pytest.mark.parametrize("value", ["a\nb", "a\r\nx: y", "a\0b", "clé", " a", "a ", "\x7f", b"a", 7])
def test_values_that_no_header_has_are_refused_before_they_are_used(value: object) -> None:
    """Whatever they are, and unnamed."""
    headers: dict[str, str] = {"x-api-key": value}  # type: ignore[dict-item]
    for made in (JsonService, ChatEndpoint):
        with pytest.raises(UsageError) as raised:
            made("http://127.0.0.1:9", headers=headers)
        assert "x-api-key" in str(raised.value)
        assert "clé" not in str(raised.value)


@pytest.mark.parametrize("name", [f"authorization: Bearer {KEY}", f"{KEY}\n", "", 7])
def test_names_that_no_header_has_are_refused_unnamed(name: object) -> None:
    """Where a value stands for its name, that is the secret."""
    headers: dict[str, str] = {name: "x"}  # type: ignore[dict-item]
    for made in (JsonService, ChatEndpoint):
        with pytest.raises(UsageError) as raised:
            made("http://127.0.0.1:9", headers=headers)
        assert KEY not in everything(raised.value)


def test_an_answer_without_secrets_keeps_its_escapes() -> None:
    """It is taken apart as it was sent."""
    body = rb'{"a": "\u0041\"\u0022\\u0041\u00e9"}'
    with answering(lambda to, _: to.sendall(whole("200 OK", body))) as url:
        service = JsonService(url, headers=HEADERS, tries_max=1)
        got = service.get()
        service.close()
    assert got.value == json.loads(body)


def test_what_is_left_of_an_answer_is_read() -> None:
    """Only the secret is taken out of it, also where it stands beside escapes that are needed."""
    secret = _forms(KEY)[3]
    body = b'{"a": "\\u0022%s\\u005c\\n", "b": "\\\\u0041"}' % secret
    with answering(lambda to, _: to.sendall(whole("200 OK", body))) as url:
        service = JsonService(url, headers=HEADERS, tries_max=1)
        got = service.get()
        service.close()
    assert got.value == {"a": '"[secret]\\\n', "b": "\\u0041"}


@pytest.mark.parametrize("path", ["@evil.example/x", "x", ":9/x"])
def test_a_path_does_not_lead_to_another_host(path: str) -> None:
    """The headers would go there."""
    with pytest.raises(UsageError):
        JsonService("http://127.0.0.1:9", headers=HEADERS, tries_max=1).get(path)


@pytest.mark.parametrize(
    "proxy", [f"http://u:{KEY}@[", f"foo://u:{KEY}@h", f"socks5://u:{KEY}@h:x"]
)
def test_a_proxy_that_is_none_is_told_without_its_password(
    proxy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The HTTP library's words would show it."""
    monkeypatch.setenv("HTTP_PROXY", proxy)
    service = JsonService("http://service.example", tries_max=1, timeout_s=2)
    with pytest.raises(Unavailable) as raised:
        service.get("/x")
    assert "prox" in str(raised.value)
    assert KEY not in everything(raised.value)


def _forever(piece: bytes, head: bytes = b"", pause_s: float = 0.0) -> Callable[..., None]:
    def answer(to: socket.socket, _: bytes) -> None:
        to.sendall(head)
        while True:
            to.sendall(piece)
            time.sleep(pause_s)

    return answer


CHUNKED = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
ENDLESS: dict[str, Callable[..., None]] = {
    "a header, slowly": _forever(b"a", b"HTTP/1.1 200 OK\r\nx: ", 0.02),
    "a status line, slowly": _forever(b"2", b"HTTP/1.1 ", 0.02),
    "chunks, slowly": _forever(b"1\r\na\r\n", CHUNKED, 0.02),
    "chunks, fast": _forever(b"1\r\na\r\n" * 1_000, CHUNKED),
    "a chunk's extension": _forever(b"a", CHUNKED + b"5;x=", 0.02),
    "100s, slowly": _forever(b"HTTP/1.1 100 Continue\r\n\r\n", pause_s=0.02),
    "100s, fast": _forever(b"HTTP/1.1 100 Continue\r\n\r\n" * 1_000),
    "103s": _forever(b"HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n", pause_s=0.02),
    "nothing": _forever(b"", pause_s=0.02),
}


@pytest.mark.parametrize("kind", ENDLESS)
def test_no_answer_goes_on_for_ever(kind: str) -> None:
    """Whatever trickles in, it ends with a time-out; feeds and replays alike."""
    with answering(ENDLESS[kind]) as url:
        service = JsonService(url, tries_max=1, timeout_s=0.3)
        model = ChatEndpoint(url, timeout_s=0.3)
        with pytest.raises(Unavailable) as raised:
            service.get()
        assert raised.value.code == "timeout"
        with pytest.raises(ModelFailure) as failed:
            model(ASK)
        assert failed.value.kind == "timeout"
        service.close()
        model.close()
