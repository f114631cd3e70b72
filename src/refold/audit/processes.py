"""Every event of a sealed log looked at by several processes, each at stretches of it by turns.

Hashing holds the interpreter, so threads do not help. Each process opens the log anew, for reading;
where none can be had, or it would not pay, this one looks alone.
"""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from itertools import cycle, pairwise
from typing import Final

from refold.audit.findings import Findings
from refold.audit.reading import appends_after
from refold.audit.remaking import Progress, Remaker, check_events
from refold.audit.tables import tables_of
from refold.engine.store import Store
from refold.errors import RefoldError, Unavailable
from refold.privacy.stored import stored_backend

EVENTS_A_STRETCH: Final = 65_536
Reopen = Callable[[], Store]
"""Opens the log anew, for reading; can be pickled."""
Helper = subprocess.Popen[bytes]


@contextmanager
def looking(
    store: Store, until: int, *, jobs: int, reopen: Reopen | None
) -> Iterator[Callable[..., None]]:
    """Look at every event up to a position while the block runs; what it gives tells the outcome.

    By this process alone, once it is asked, unless there is work for ``jobs`` others.
    """
    stretches = _stretches(store, until) if jobs > 1 and sys.executable else []
    with ExitStack() as started:
        if reopen is None or len(stretches) < 2:
            yield partial(check_events, _remaker(store), after=0, until=until)
            return
        shares = [stretches[first::jobs] for first in range(min(jobs, len(stretches)))]
        helpers = [_started(started, reopen, share) for share in shares]

        def gathered(findings: Findings, *, progress: Progress) -> None:
            for stretch, helper in zip(stretches, cycle(helpers), strict=False):
                findings.take(_found_by(helper, *stretch))
                progress(stretch[1], until)

        yield gathered


def _stretches(store: Store, until: int) -> list[tuple[int, int]]:
    """Stretches of a log: over one position up to another, at both of which an append ends."""
    ends, due, log = [0], EVENTS_A_STRETCH, stored_backend(store)
    while due < until and (rows := appends_after(log, due - 1, gaps=True, rows_max=1)):
        start, end = rows[0].position, rows[0].position + rows[0].event_count - 1
        ends.append(start - 1 if start > due else end)
        due = ends[-1] + EVENTS_A_STRETCH
    return [*pairwise([*(end for end in ends if end < until), until])]


def _started(stack: ExitStack, reopen: Reopen, share: Sequence[tuple[int, int]]) -> Helper:
    """A process that looks at its share; it ends with the stack, and with this process."""
    code = f"from {__name__} import help_verify; help_verify()"
    # Without the folder that we are in (-P): it may be a stranger's.
    paths = os.pathsep.join(filter(None, sys.path))
    environment = {**os.environ, "PYTHONPATH": paths}
    command, pipe = [sys.executable, "-P", "-c", code], subprocess.PIPE
    # In a session of its own: an interrupt is for its parent, which ends it.
    helper = stack.enter_context(
        Helper(command, stdin=pipe, stdout=pipe, env=environment, start_new_session=True)
    )
    stack.callback(helper.kill)
    assert helper.stdin is not None
    with suppress(BrokenPipeError), helper.stdin as asked:  # If it has ended, that is told below.
        pickle.dump((reopen, share), asked)  # Not as an argument: there may be a password in it.
    return helper


def _found_by(helper: Helper, after: int, until: int) -> Findings:
    try:
        found = pickle.load(helper.stdout)  # type: ignore[arg-type]
    except EOFError as error:
        why = f"the process that looked at positions {after + 1:,} to {until:,} has ended"
        raise Unavailable(f"{why}: `--jobs 1` needs no other") from error
    if isinstance(found, RefoldError):
        raise found
    return Findings(*found)


def help_verify() -> None:
    """What such a process does: open the log, look at each stretch of its share, and tell."""
    parent = os.getppid()

    def go_on(*_: int) -> None:
        if os.getppid() != parent:
            raise EOFError

    # Where its parent has ended, nobody asks or hears.
    with suppress(BrokenPipeError, EOFError), os.fdopen(1, "wb", buffering=0) as answers:
        reopen, share = pickle.load(sys.stdin.buffer)
        try:
            with reopen() as store:
                remaker = _remaker(store)
                for after, until in share:
                    findings = Findings()
                    check_events(remaker, findings, after=after, until=until, progress=go_on)
                    pickle.dump((findings.told, findings.count), answers)
        except RefoldError as error:
            pickle.dump(error, answers)


def _remaker(store: Store) -> Remaker:
    return Remaker(stored_backend(store), tables_of(store))
