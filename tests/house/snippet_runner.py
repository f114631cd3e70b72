"""Run the blocks of one Markdown file in one folder, as a reader would type them."""

import ast
import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Self

from tests.house.snippets import RUN, SHOWN, Block, blocks_of, commands_of, is_as_shown
from tests.house.tree import BIN, shown

BLOCK_SECONDS_MAX = 120
_MARK = "-- refold snippet ended:"

# The other end of a Session: takes one JSON line a block, answers with one.
_DRIVER = """
def drive():
    # All names are local: a snippet may use the same ones.
    import asyncio, contextlib, inspect, io, json, sys, traceback
    answers, sys.argv = sys.stdout, ["snippet"]
    for line in sys.stdin:
        asked, printed, error = json.loads(line), io.StringIO(), ""
        with contextlib.redirect_stdout(printed):
            try:
                text = "\\n" * asked["line"] + asked["text"]
                code = compile(text, asked["page"], "exec", flags=asked["flags"])
                awaited = eval(code, globals())
                if inspect.iscoroutine(awaited):
                    asyncio.run(awaited)
            except BaseException:
                error = traceback.format_exc()
        answer = json.dumps({"printed": printed.getvalue(), "error": error})
        print(answer, file=answers, flush=True)
drive()
"""


def run_page(page: Path, folder: Path) -> list[str]:
    """Run a file's blocks in ``folder``; ``file:line: what is wrong`` of each that fails."""
    with Session(page, folder) as session:
        blocks = blocks_of(page)
        shown_after = [b if b.language == "output" and b.follows_directly else None for b in blocks]
        pairs = zip(blocks, [*shown_after, None][1:], strict=True)
        return [hit for block, output in pairs for hit in session.check(block, output)]


def needs_brokers(page: Path) -> bool:
    """Whether its reader has brokers of Kafka, whose addresses `KAFKA` holds."""
    return re.search(r"\$KAFKA\b|environ\[.KAFKA.\]", page.read_text()) is not None


def needs_postgres(page: Path) -> bool:
    """Whether its reader has a store in PostgreSQL, whose address `POSTGRES` holds."""
    return re.search(r"\$POSTGRES\b|environ\[.POSTGRES.\]", page.read_text()) is not None


def needs_strangers(page: Path) -> bool:
    """Whether its reader has a witness, whose address `WITNESS` holds, and programs in Go."""
    return "$WITNESS" in page.read_text()


def reasons_not_run(page: Path) -> list[str]:
    """``file:line: reason`` of each block that its writer left out."""
    return [
        f"{shown(page)}:{block.line}: {block.not_run_because}"
        for block in blocks_of(page)
        if block.not_run_because
    ]


class Session:
    """One reader at one folder: a Python interpreter that stays, and a bash a block."""

    def __init__(self, page: Path, folder: Path) -> None:
        self._page = page
        self._folder = folder
        self._environment = _reader_environment(folder)
        self._python: subprocess.Popen[str] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._python:
            _close(self._python)

    def check(self, block: Block, output: Block | None) -> list[str]:
        """What is wrong with a block, given the output block below it: nothing, or one line."""
        wrong = "; ".join(self._problems(block, output))
        return [f"{shown(self._page)}:{block.line}: {wrong}"] if wrong else []

    def _problems(self, block: Block, output: Block | None) -> Iterator[str]:
        if block.language not in RUN | SHOWN:
            known = ", ".join(sorted(RUN | SHOWN - {""}))
            yield f"```{block.language} is not run by anything; use one of {known}"
        elif block.not_run_because:
            return
        elif block.file_name:
            path = self._folder / block.file_name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(block.text)
        elif block.language == "python":
            yield from self._python_problems(block, output)
        elif block.language == "console":
            yield from self._console_problems(block)

    def _python_problems(self, block: Block, output: Block | None) -> Iterator[str]:
        answer = self._ask_python(block)
        if answer["error"]:
            yield answer["error"]
        elif output and not is_as_shown(output.lines, answer["printed"]):
            yield f"prints\n{answer['printed']}"

    def _ask_python(self, block: Block) -> dict[str, str]:
        if self._python is None:
            self._python = self._start(
                [sys.executable, "-c", _DRIVER], stdin=subprocess.PIPE, stderr=None
            )
        python = self._python
        question = {
            "page": shown(self._page),
            "line": block.line,
            "text": block.text,
            "flags": ast.PyCF_ALLOW_TOP_LEVEL_AWAIT,
        }
        assert python.stdin and python.stdout
        # The alarm ends the interpreter, which ends the line that is waited for.
        with _deadline(python):
            python.stdin.write(json.dumps(question) + "\n")
            python.stdin.flush()
            line = python.stdout.readline()
        if not line:
            return {"error": f"the interpreter ended, or took over {BLOCK_SECONDS_MAX} s"}
        answer: dict[str, str] = json.loads(line)
        return answer

    def _console_problems(self, block: Block) -> Iterator[str]:
        commands = commands_of(block)
        script = "".join(f'{c.text}\nprintf "\\n%s%s\\n" "{_MARK}" "$?"\n' for c in commands)
        bash = self._start(
            ["bash", "-c", script], stdin=subprocess.DEVNULL, stderr=subprocess.STDOUT
        )
        with _deadline(bash):
            printed, _ = bash.communicate()
        _close(bash)
        parts = printed.split(f"\n{_MARK}")
        for number, command in enumerate(commands):
            if number + 1 >= len(parts):
                yield f"`{command.text}` ended the shell, or took over {BLOCK_SECONDS_MAX} s"
                return
            # What follows a mark on its own line is the status of the command before it.
            text = parts[number] if number == 0 else parts[number].partition("\n")[2]
            status = int(parts[number + 1].partition("\n")[0])
            wanted = block.exit_status if command is commands[-1] else 0
            if status != wanted:
                yield f"`{command.text}` exits {status}, not {wanted}\n{text}"
            elif command.expected and not is_as_shown(command.expected, text):
                yield f"`{command.text}` prints\n{text}"

    def _start(
        self, command: list[str], *, stdin: int, stderr: int | None
    ) -> subprocess.Popen[str]:
        return subprocess.Popen(
            command,
            cwd=self._folder,
            env=self._environment,
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
            start_new_session=True,
        )


@contextmanager
def _deadline(process: subprocess.Popen[str]) -> Iterator[None]:
    """End the process and its children when the block runs over; its pipes then read as closed."""
    timer = threading.Timer(BLOCK_SECONDS_MAX, _end, [process])
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        timer.join()


def _end(process: subprocess.Popen[str]) -> None:
    # The group outlives its leader when a snippet left a child behind.
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def _close(process: subprocess.Popen[str]) -> None:
    _end(process)
    process.wait()
    for pipe in (process.stdin, process.stdout):
        if pipe:
            pipe.close()


def _reader_environment(home: Path) -> dict[str, str]:
    """A reader's terminal: the project's commands first, no settings of refold, no colours."""
    names = ("LANG", "LC_ALL", "TMPDIR", "KAFKA", "POSTGRES", "WITNESS", "WITNESS_KEY")
    kept = {name: os.environ[name] for name in names if name in os.environ}
    return kept | {
        "PATH": f"{BIN}:{os.environ['PATH']}",
        "HOME": str(home),
        "COLUMNS": "100",
        "NO_COLOR": "1",
        "PYTHONUTF8": "1",
    }
