"""How a run ends: the exit code, and one line on stderr that names the error and the fix."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import click

from refold.cli.text import clean
from refold.errors import BackendError, Conflict, Overloaded, ProofError, RefoldError, Rejected
from refold.secrecy import without_password

FINE: Final = 0
FINDING: Final = 1
WRONG_USAGE: Final = 2
FAILED: Final = 3
INTERRUPTED: Final = 130
OUTPUT_CLOSED: Final = 141
"""What a shell reports of a program that a closed pipe ended (128 + SIGPIPE)."""

_FINDINGS: Final = (Conflict, Rejected, ProofError)
_FAILURES: Final = (BackendError, Overloaded)
_OF_A_MODEL: Final = "model_failed"
"""The code of an error whose class is not imported for commands that ask nobody."""
_USAGE: Final = {"code": "usage", "retry": "never"}
_TRUE: Final = ("1", "true", "yes", "on", "t", "y")


@dataclass
class Run:
    """One run of the program, known to every command as ``ctx.obj``."""

    as_json: bool = False
    """Whether data, and an error, is JSON; settled when the command has read its options."""

    @classmethod
    def of(cls, args: Sequence[str]) -> Run:
        """What can be told before the options are read."""
        return cls("--json" in args or os.environ.get("REFOLD_JSON", "").lower() in _TRUE)


def exit_code(call: Callable[[], int | None], run: Run) -> int:
    """Call a command; its answer, or the code of the error that it ended with, as reported."""
    try:
        code = call()
        sys.stdout.flush()
        return code or FINE
    except (click.Abort, KeyboardInterrupt):
        _say("interrupted", run, {"code": "interrupted", "retry": "later"})
        return INTERRUPTED
    except RefoldError as error:
        _say(error.message, run, {**error.facts, "code": error.code, "retry": error.retry})
        return _code_of(error)
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        return WRONG_USAGE
    except click.ClickException as error:
        _say(_with_hint(error), run, _USAGE)
        return WRONG_USAGE
    except UnicodeEncodeError as error:  # bytes of an argument that are no UTF-8
        _say(f"text that cannot be kept or shown: {error}", run, _USAGE)
        return WRONG_USAGE
    except BrokenPipeError:
        close_output()
        return OUTPUT_CLOSED
    except OSError as error:
        close_output()
        _say(f"the operating system refused: {error}", run, {"code": "os", "retry": "later"})
        return FAILED
    except Exception:
        sys.excepthook(*sys.exc_info())
        _say("this is a bug in refold: please report it", Run(), {})
        return FAILED


def close_output() -> None:
    """Send what is still buffered nowhere, so that the interpreter's own flush cannot fail."""
    try:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError:  # stdout is not a file: there is nothing to flush into
        return


def _code_of(error: RefoldError) -> int:
    if isinstance(error, _FINDINGS):
        return FINDING
    has_failed = isinstance(error, _FAILURES) or error.code == _OF_A_MODEL
    return FAILED if has_failed else WRONG_USAGE


def _with_hint(error: click.ClickException) -> str:
    context = getattr(error, "ctx", None)
    message = error.format_message().rstrip(".")
    if isinstance(error, click.NoSuchOption) and context is not None and context.parent is None:
        message += ": options stand behind a command"
    return message if context is None else f"{message}; see `{context.command_path} --help`"


def _say(message: str, run: Run, facts: Mapping[str, Any]) -> None:
    try:
        if run.as_json:
            from json import dumps

            error = {"code": facts["code"], "retry": facts["retry"], "message": message, **facts}
            said = dumps({"error": error}, default=str)
        else:
            said = f"error: {clean(message)}"
        print(without_password(said), file=sys.stderr)
    except OSError:  # nobody is left to tell
        return
