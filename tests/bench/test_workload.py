"""What the benchmarks store is the same everywhere, and no easier to compress than real talk."""

import json
from statistics import mean

import pytest

from bench.workload import TYPES, Made, State, Text, events, folded
from refold.backends.sqlite.compression import zstd


def payloads(made: list[Made]) -> list[bytes]:
    """The payloads as a store would write them."""
    return [json.dumps(one.data, separators=(",", ":")).encode() for one in made]


def test_the_same_seed_makes_the_same_events() -> None:
    """Every subject, on every machine, stores the same bytes."""
    assert events(120, seed=3) == events(120, seed=3)
    assert events(120, seed=3)[:60] == events(60, seed=3)
    assert events(60, seed=3) != events(60, seed=4)


@pytest.mark.parametrize(("text", "size_bytes"), [("short", 300), ("long", 1_500)])
def test_events_are_as_large_as_they_are_said_to_be(text: Text, size_bytes: int) -> None:
    """Payloads are of about 300 or 1,500 bytes on average, and of no type far from it."""
    made = events(600, text=text)
    sizes = {
        kind: mean(
            len(raw) for raw, one in zip(payloads(made), made, strict=True) if one[0] == kind
        )
        for kind in TYPES
    }
    assert 0.9 * size_bytes < mean(sizes.values()) < 1.1 * size_bytes
    assert all(0.8 * size_bytes < size < 1.2 * size_bytes for size in sizes.values())


def test_events_compress_as_conversations_do() -> None:
    """zstd finds no more in them than in recorded turns of the same size.

    Those shrink 1.4 times alone, 3.6 times with a dictionary, and 4.9 times in blocks of 128
    (measured on the 1,238 utterances of 150 to 600 characters in tau-bench's gpt-4o-airline).
    """
    raws = payloads(events(3_600))
    learnt, kept = raws[:1_800], raws[1_800:]
    dictionary = zstd().train_dict(learnt, 64 * 1024)
    in_all = sum(map(len, kept))
    alone = sum(len(zstd().compress(raw, 3)) for raw in kept)
    helped = sum(len(zstd().compress(raw, 3, zstd_dict=dictionary)) for raw in kept)
    blocks = [b",".join(kept[start : start + 128]) for start in range(0, len(kept), 128)]
    in_blocks = sum(len(zstd().compress(block, 3, zstd_dict=dictionary)) for block in blocks)
    assert 1.2 < in_all / alone < 1.5
    assert 2 < in_all / helped < 3.6
    assert 2.5 < in_all / in_blocks < 4.9


def test_the_state_counts_what_happened() -> None:
    """Folding uses every type but the request to the model."""
    made = events(12)
    state = folded((one.type, one.data) for one in made)
    results = [one.data for one in made if one.type == "tool.result"]
    assert state[:2] == (2, sum(e.data["usage"]["output_tokens"] for e in (made[2], made[8])))
    assert (state.tools, state.errors) == (2, sum(not result["ok"] for result in results))
    assert state.last == made[6].data["text"]
    assert folded([]) == State()
