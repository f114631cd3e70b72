"""`refold gate`."""

from __future__ import annotations

from typing import Any

from refold.cli.options import command
from refold.cli.replay import replay_options, run_replay

WORSE = ("worse",)


@command("gate")
@replay_options
def gate_command(fail_on: tuple[str, ...], **options: Any) -> int:
    """Replay, judge, and exit with what a pipeline needs to know.

    `refold replay` with a gate that is always there, as the table [gate] of refold.toml says: which
    conversations, what is changed, what decides. Exits with 0: better, equivalent, no change seen,
    or a change that was not asked about; 1: worse, changed where --fail-on says so, or over a
    threshold; 4: that cannot be said, or the run is not complete; 2 and 3 as everywhere.

        refold gate
        refold gate --config refold.toml --last 7d --prompt new-prompt.md --margin 2pt
    """
    return run_replay(fail_on=fail_on or WORSE, **options)
