"""The files that a comparison is written to: none of an earlier run passes for one of this."""

from __future__ import annotations

import html
import os
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self, TypeVar

from msgspec.structs import replace

from refold.cli import output
from refold.cli.errors import FINE
from refold.cli.text import clean, counted
from refold.errors import RefoldError, UsageError
from refold.secrecy import without_password

if TYPE_CHECKING:
    from refold import Store
    from refold.replay.compare import Comparison
    from refold.replay.gate import Gate
    from refold.replay.recorded import RecordedComparison

    Compared = TypeVar("Compared", Comparison, RecordedComparison)

FILES: Final = ("report", "junit", "summary")
_NO_REPORT: Final = '<!doctype html>\n<meta charset="utf-8">\n<title>refold</title>\n<p>{}</p>\n'


class Results:
    """The files that a command is to write, taken out of its ``options``; used in a ``with``.

    What an earlier run wrote is gone when the block begins; where it ends with an error before
    these are written, they say so.
    """

    def __init__(self, options: dict[str, Any]) -> None:
        self.paths: dict[str, str | None] = {name: options.pop(name) for name in FILES}
        self._is_written = False

    def __enter__(self) -> Self:
        for path in filter(None, self.paths.values()):
            # Not what a link leads to, such as /dev/stdout.
            if os.path.lexists(path) and stat.S_ISREG(os.lstat(path).st_mode):
                Path(path).unlink()
        return self

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        if isinstance(error, RefoldError) and not self._is_written:
            self.failed(error.message)

    def failed(self, why: str) -> None:
        """Write that the run failed, and why, so that there is no verdict."""
        from refold.replay import gate

        found = gate.failed(clean(without_password(why)))
        self._write_texts(found)
        if path := self.paths["report"]:
            _write(path, _NO_REPORT.format(html.escape(found.ship)))

    def write(
        self, store: Store, comparison: Compared, fail_on: Sequence[str], inconclusive: Any
    ) -> tuple[Compared, Gate]:
        """Write them, before anything is printed: whoever reads that may stop before its end.

        Gives the comparison, which says first what the gate does where there is one, and the gate.
        """
        from refold.replay import gate
        from refold.replay.report import write_report

        found = gate.gate(comparison.verdicts, fail_on, inconclusive=inconclusive)
        if fail_on:
            comparison = replace(comparison, verdicts=replace(comparison.verdicts, ship=found.ship))
        if path := self.paths["report"]:
            write_report(comparison, path, read=store.read)
        self._write_texts(found)
        for path in filter(None, self.paths.values()):
            output.note(f"wrote {path}")
        if comparison.without_cluster:
            output.note(
                f"{counted(comparison.without_cluster, 'conversation')} without a "
                f"{clean(comparison.question.cluster or '')}: each stands for itself"
            )
        return comparison, found

    def _write_texts(self, found: Gate) -> None:
        from refold.replay import gate

        for name, written in (("junit", gate.junit), ("summary", gate.markdown)):
            if path := self.paths[name]:
                _write(path, written(found))
        self._is_written = True


def gated(found: Gate, fail_on: Sequence[str]) -> int:
    """The exit code of a gate, 0 where none is asked for; why it is shut is told."""
    if not fail_on:
        return FINE
    for one in found.gated:
        if one.state in ("failed", "inconclusive"):
            output.note(f"{one.state}: {clean(one.reason)}")
    return found.exit_code


def _write(path: str, text: str) -> None:
    """Write a file; :class:`UsageError` where that cannot be."""
    try:
        Path(path).write_bytes(text.encode())
    except OSError as error:
        raise UsageError(
            f"{path} cannot be written: {error.strerror or error}", path=path
        ) from error
