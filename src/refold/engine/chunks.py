"""An import in chunks: while one is being stored, the next one is taken and made ready.

What is appended is taken and encoded in the caller's thread; another, which is there for one chunk
alone, commits. Of a store on a server both have their own work, and wait for each other little.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from threading import Thread
from typing import Final

from refold.errors import RefoldError
from refold.ports import Appended, Batch

BATCHES_MAX: Final = 256
CHARS_MAX: Final = 4 * 1024 * 1024
"""An import commits after so many batches or so much text, whichever comes first."""
HEAD_START_S: Final = 0.004
"""So long a commit has Python's one lock for itself, to plan and to send: it would wait longer for
it between two steps than it then takes for all of them."""

Chunk = Sequence[Batch | RefoldError]
Told = Sequence[Appended | RefoldError]
"""What came of each of a chunk."""


def chunked(batches: Iterable[Batch | RefoldError]) -> Iterator[tuple[Chunk, bool]]:
    """Batches in commits of a bounded size, whatever stands between them included.

    With each, whether nothing comes after it for sure.
    """
    chunk: list[Batch | RefoldError] = []
    chars = 0
    for batch in batches:
        chunk.append(batch)
        if isinstance(batch, Batch):
            chars += sum(len(write.body) for write in batch.writes)
        if len(chunk) == BATCHES_MAX or chars >= CHARS_MAX:
            yield chunk, False
            chunk, chars = [], 0
    if chunk:
        yield chunk, True


def stored(
    batches: Iterable[Batch | RefoldError], store: Callable[[Chunk], Told]
) -> Iterator[Told]:
    """What came of each chunk of them, in order; it is stored by then, and no thread goes on.

    Where the chunk after it cannot be taken, that is raised once what came of it was told; an
    interrupt at once, when it is stored.
    """
    chunks = chunked(batches)
    taken = next(chunks, None)
    while taken is not None:
        (chunk, is_last), failure = taken, None
        if is_last:
            yield store(chunk)
            return
        told = Future[Told]()
        # Not of a pool: those take nothing more when the main thread has ended, and others go on.
        beside = Thread(target=_store, args=(told, store, chunk), name="refold-import")
        beside.start()
        try:
            beside.join(HEAD_START_S)
            taken = next(chunks, None)
        except Exception as error:
            failure = error
        finally:
            beside.join()
        yield told.result()
        if failure is not None:
            raise failure


def _store(told: Future[Told], store: Callable[[Chunk], Told], chunk: Chunk) -> None:
    try:
        told.set_result(store(chunk))
    except BaseException as error:
        told.set_exception(error)
