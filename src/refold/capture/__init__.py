"""Record what an agent really sent to its model and got back, exactly, with one line.

For one client of an SDK (OpenAI's, Anthropic's, Google's, and what stands on httpx2 or httpx)::

    client = openai.OpenAI(http_client=refold.capture.client("agents.db"))

for a whole process, whichever clients its frameworks make::

    refold.capture.install("agents.db")

and without a line of code, ``refold run --db agents.db -- python agent.py``. The bytes are kept as
they were sent and received, in space that grows as the conversation does, and read as events of
the vocabulary (:mod:`refold.conversation`), so that a captured conversation folds, replays and
compares as any other. Secrets are not kept: of headers an allow-list, of addresses no query and
nothing in a path that is likely a key.

Recording is in no one's way: it is done on another thread, and when it fails, or the store is away
from the start, the agent's call does not, unless ``on_error="raise"``; :func:`lost` counts what is
not recorded. It is all in the store when :func:`flush` returns, and when the program ends.
"""

from refold.capture.exact import answer_of, request_of
from refold.capture.install import async_client, client, install, uninstall
from refold.capture.threads import conversation
from refold.capture.writer import flush, lost

__all__ = [
    "answer_of",
    "async_client",
    "client",
    "conversation",
    "flush",
    "install",
    "lost",
    "request_of",
    "uninstall",
]
