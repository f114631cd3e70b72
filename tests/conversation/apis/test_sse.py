"""The parser of event streams: what WHATWG HTML says, whatever the chunks."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from refold.conversation.apis.sse import Frame, SseParser, frames_of
from tests.conversation.apis.frames import chunked, cuts


@pytest.mark.parametrize(
    ("raw", "frames"),
    [
        # The examples of the standard, 9.2.6.
        (b"data: YHOO\ndata: +2\ndata: 10\n\n", [("", "YHOO\n+2\n10")]),
        (
            b": test stream\n\ndata: first event\nid: 1\n\ndata:second event\nid\n\ndata:  3rd\n\n",
            [("", "first event"), ("", "second event"), ("", " 3rd")],
        ),
        (b"data\n\ndata\ndata\n\ndata:\n\n", [("", ""), ("", "\n"), ("", "")]),
        (b"data:test\n\ndata: test\n\n", [("", "test"), ("", "test")]),
        (b"event: add\ndata: 1\n\nevent: remove\ndata: 2\n\n", [("add", "1"), ("remove", "2")]),
        (b"event: none\n\ndata: 1\n\n", [("", "1")]),
        (b"\xef\xbb\xbfdata: bom\n\n", [("", "bom")]),
        (b"data: a\r\rdata: b\r\n\r\ndata: c\n\n", [("", "a"), ("", "b"), ("", "c")]),
        ("data: ä€😀\u2028x\n\n".encode(), [("", "ä€😀\u2028x")]),
        (b"data: \xff\n\n", [("", "\ufffd")]),
        (b"retry: 10\n:\n\n", []),
        (b"", []),
        # Without the blank line behind it: some servers leave it out.
        (b"data: [DONE]", [("", "[DONE]")]),
        (b"data: a\n\ndata: [DONE]\n", [("", "a"), ("", "[DONE]")]),
    ],
)
def test_a_stream_is_read_as_the_standard_says(raw: bytes, frames: list[tuple[str, str]]) -> None:
    """Fields, comments, line ends, the byte order mark; bytes one by one give the same."""
    assert frames_of([raw]) == [Frame(*one) for one in frames]
    assert frames_of([bytes([byte]) for byte in raw]) == [Frame(*one) for one in frames]


lines = st.lists(
    st.sampled_from(
        ["data: a", "data:", "data", "data: ä😀", "event: e", ": c", "", "", "id: 1", "\ufeffdata"]
    ).flatmap(lambda line: st.sampled_from(["\n", "\r", "\r\n"]).map(lambda end: line + end)),
    max_size=12,
)


@given(lines, cuts)
def test_chunks_make_no_difference(given_lines: list[str], cut_at: list[int]) -> None:
    """However the bytes come, in the middle of a character or a line end, the frames are those."""
    raw = "".join(given_lines).encode()
    assert frames_of(chunked(raw, cut_at)) == frames_of([raw])


@given(lines, st.integers(0, 200))
def test_a_frame_is_given_as_soon_as_it_is_there(given_lines: list[str], cut: int) -> None:
    """What a beginning of the stream gives is the beginning of what all of it gives."""
    raw = "".join(given_lines).encode()
    parser = SseParser()
    first = parser.feed(raw[:cut])
    assert [*first, *parser.feed(raw[cut:]), *parser.end()] == frames_of([raw])
    assert frames_of([raw])[: len(first)] == first
