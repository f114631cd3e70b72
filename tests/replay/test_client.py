"""An endpoint over real HTTP: what is sent, what comes back, and every way to fail."""

import socket
from collections.abc import Iterator

import pytest

from refold.errors import UsageError
from refold.replay import Action, ChatEndpoint, ChatRequest, ModelFailure
from refold.replay.candidate import KEY_VARIABLES, FailureKind
from tests.support.chat_server import (
    BROKEN,
    GARBAGE,
    HANG,
    OTHER_JSON,
    Body,
    ChatServer,
    Fault,
    busy,
)

REQUEST = ChatRequest(
    messages=[{"role": "user", "content": "Hi"}], model="small", params={"temperature": 0}
)


def hello(body: Body) -> Body:
    return {"role": "assistant", "content": "Hello."}


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[ChatServer]:
    for name in ("REFOLD_API_KEY", "OPENAI_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    with ChatServer(hello) as served:
        yield served


def failure_of(endpoint: ChatEndpoint) -> ModelFailure:
    with pytest.raises(ModelFailure) as failed:
        endpoint(REQUEST)
    endpoint.close()
    return failed.value


def test_a_request_goes_out_whole_and_the_answer_comes_back(server: ChatServer) -> None:
    """The body is the request as given; the action is the answer."""
    endpoint = ChatEndpoint(server.base_url)
    action = endpoint(REQUEST)
    endpoint.close()
    assert server.requests == [
        {
            "model": "small",
            "messages": [{"role": "user", "content": "Hi"}],
            "temperature": 0,
        }
    ]
    assert (action.text, action.model, action.finish_reason) == ("Hello.", "small", "stop")
    assert "authorization" not in server.headers[0]


def test_a_closed_endpoint_can_be_used_again(server: ChatServer) -> None:
    """Closing lets go of connections and nothing else."""
    endpoint = ChatEndpoint(server.base_url)
    for _ in range(2):
        assert isinstance(endpoint(REQUEST), Action)
        endpoint.close()


@pytest.mark.parametrize("end", ["", "/", "/chat/completions", "/chat/completions/"])
def test_the_whole_address_is_the_same_place(end: str) -> None:
    """As a provider's page gives it for a request by hand."""
    endpoint = ChatEndpoint(f"http://example.test/v1{end}", api_key="k")
    assert endpoint.url == "http://example.test/v1/chat/completions"


@pytest.mark.parametrize(
    ("variables", "given", "sent"),
    [
        ({}, None, None),
        ({"OPENAI_API_KEY": "o"}, None, "Bearer o"),
        ({"OPENAI_API_KEY": "o", "REFOLD_API_KEY": "r\n"}, None, "Bearer r"),
        ({"REFOLD_API_KEY": "r"}, "mine", "Bearer mine"),
        ({"REFOLD_API_KEY": "r"}, "", None),
    ],
)
def test_the_key_is_the_one_given_or_that_of_the_environment(
    server: ChatServer,
    monkeypatch: pytest.MonkeyPatch,
    variables: dict[str, str],
    given: str | None,
    sent: str | None,
) -> None:
    """An argument comes before REFOLD_API_KEY, that before OPENAI_API_KEY."""
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    endpoint = ChatEndpoint(server.base_url, api_key=given)
    endpoint(REQUEST)
    endpoint.close()
    assert server.headers[0].get("authorization") == sent


def test_a_key_is_never_shown(server: ChatServer) -> None:
    """Not where the endpoint is printed, not where a key is refused, not where a call fails."""
    server.always = Fault(401, b'{"error": {"message": "who are you?"}}')
    endpoint = ChatEndpoint(f"{server.base_url}?key=s3cret", api_key="s3cret")
    assert "s3cret" not in f"{endpoint!r} {failure_of(endpoint)}"
    with pytest.raises(UsageError) as refused:
        ChatEndpoint(server.base_url, api_key="s3\x00cret")
    assert "cret" not in str(refused.value)


@pytest.mark.parametrize("status", [401, 403])
def test_who_is_not_let_in_is_told_whose_key_was_sent(
    server: ChatServer, monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    """The variable that it was read from, and those that there are where none was."""
    server.always = Fault(status, b"no")
    asked = {"REFOLD_API_KEY": "a", "OPENAI_API_KEY": "b"}
    none = "none, set REFOLD_API_KEY or OPENAI_API_KEY"
    for said in ("REFOLD_API_KEY", "OPENAI_API_KEY", none):
        for name in KEY_VARIABLES:
            monkeypatch.delenv(name, raising=False)
        if said in asked:
            monkeypatch.setenv(said, asked[said])
        failure = failure_of(ChatEndpoint(server.base_url))
        assert failure.message.endswith(f"; the key sent: {said}")
    given = failure_of(ChatEndpoint(server.base_url, api_key="c"))
    assert given.message.endswith("; the key sent: api_key=")


@pytest.mark.parametrize(
    ("fault", "kind", "status"),
    [
        (busy(), "busy", 429),
        (BROKEN, "busy", 500),
        (Fault(503, b""), "busy", 503),
        (Fault(401), "refused", 401),
        (Fault(404, b"no"), "refused", 404),
        (Fault(307, b"", {"Location": "/elsewhere"}), "refused", 307),
        (GARBAGE, "garbage", None),
        (OTHER_JSON, "garbage", None),
        (Fault(200, b"[" * 100_000), "garbage", None),
        (Fault(200, b"x", {"Content-Encoding": "gzip"}), "garbage", None),
        (HANG, "timeout", None),
    ],
)
def test_every_bad_answer_is_a_failure_of_its_kind(
    server: ChatServer, fault: Fault, kind: FailureKind, status: int | None
) -> None:
    """Nothing that a service can answer escapes as another error."""
    server.always = fault
    failure = failure_of(ChatEndpoint(server.base_url, timeout_s=0.2 if fault.hangs else 10))
    assert (failure.kind, failure.status) == (kind, status)


def test_a_service_says_when_to_come_back(server: ChatServer) -> None:
    """Retry-After comes with the failure."""
    server.always = busy("7")
    assert failure_of(ChatEndpoint(server.base_url)).retry_after_s == 7.0


def test_the_services_own_words_are_the_reason(server: ChatServer) -> None:
    """The error's message is kept, and where it came from."""
    server.always = busy()
    assert failure_of(ChatEndpoint(server.base_url)).message == (
        f"{server.base_url}/chat/completions: status 429: slow down"
    )


def test_an_endpoint_that_is_down_is_unreachable() -> None:
    """A port that nobody listens on is told from one that answers badly."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        failure = failure_of(ChatEndpoint(f"http://127.0.0.1:{port}/v1"))
    assert failure.kind == "unreachable"


class Dripping:
    """A server that sends one more byte of its answer whenever the last one was taken."""

    def __init__(self, every_s: float, begin: bytes) -> None:
        import threading

        self._listener = socket.create_server(("127.0.0.1", 0))
        self._every_s = every_s
        self._begin = begin
        self.stop = threading.Event()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()
        self.base_url = f"http://127.0.0.1:{self._listener.getsockname()[1]}/v1"

    def _serve(self) -> None:
        connection, _ = self._listener.accept()
        with connection:
            connection.recv(65_536)
            connection.sendall(self._begin)
            while not self.stop.wait(self._every_s):
                try:
                    connection.sendall(b" ")
                except OSError:
                    return

    def close(self) -> None:
        self.stop.set()
        self._thread.join()
        self._listener.close()


@pytest.mark.parametrize("begin", [b"Content-Length: 100000\r\n\r\n", b"X-Header: "])
def test_an_answer_that_drips_ends_by_the_timeout_all_the_same(begin: bytes) -> None:
    """The timeout is for the whole answer, headers too, not for each byte of it.

    One whose headers dripped held a request for as long as they did.
    """
    server = Dripping(every_s=0.01, begin=b"HTTP/1.1 200 OK\r\n" + begin)
    try:
        failure = failure_of(ChatEndpoint(server.base_url, timeout_s=0.2))
    finally:
        server.close()
    assert failure.kind == "timeout"


def test_a_dropped_connection_may_be_asked_again() -> None:
    """A server that hangs up without a word is busy, not wrong."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        import threading

        def hang_up() -> None:
            connection, _ = listener.accept()
            connection.recv(65_536)
            connection.close()

        thread = threading.Thread(target=hang_up)
        thread.start()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/v1"
        failure = failure_of(ChatEndpoint(url))
        thread.join()
    assert failure.kind == "busy"


@pytest.mark.parametrize(
    "url",
    ["", "localhost:8000", "ftp://host/v1", "http://", "http://host:99999", "http://u:p@host/v1"],
)
def test_an_address_that_cannot_be_one_is_refused_at_once(url: str) -> None:
    """Before anything is asked."""
    with pytest.raises(UsageError):
        ChatEndpoint(url)


def test_a_request_without_a_model_is_wrong_use() -> None:
    """The message says how to name one."""
    with pytest.raises(UsageError) as refused:
        ChatEndpoint("http://127.0.0.1:1/v1")(ChatRequest(messages=[], at="call-1@2"))
    assert refused.value.at == "call-1@2"
