"""The code blocks of a Markdown file: found, run in order in one folder, and compared.

What a writer can use (the language stands after the three backticks):

- `python` blocks are run; those of a file share one interpreter, and `await` may stand alone.
  An `output` block directly after one is what it prints.
- `console` blocks are run: each `$ ` line, with the `> ` lines that continue it, is a command;
  the lines below it, where there are any, are what it prints. One bash runs the whole block.
- A first line `# file: NAME` writes the block to that file instead, in any language.
- `...` in expected output stands for any text, and alone on a line for any lines.
- `<!-- exits N -->` directly above: the last command of the block ends with N.
- `<!-- not run: REASON -->` directly above: left out; every reason is counted.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

RUN = {"python", "console"}
SHOWN = frozenset(
    (
        "", "go", "html", "ini", "java", "javascript", "json", "jsonl", "mermaid", "output", "sql",
        "text", "toml", "typescript", "yaml",
    )
)  # fmt: skip

_FENCE = re.compile(r"^(?P<indent> *)(?P<ticks>`{3,})(?P<language>[^`]*)$")
_NOT_RUN = re.compile(r"<!-- not run: (?P<reason>\S.*) -->")
_EXITS = re.compile(r"<!-- exits (?P<status>\d+) -->")
_FILE = re.compile(r"# file: (?P<name>[\w./-]+)")


@dataclass(frozen=True, kw_only=True)
class Block:
    """A fenced block; ``line`` is that of its fence, ``above`` the line before the fence."""

    line: int
    language: str
    lines: list[str]
    above: str
    follows_directly: bool

    @property
    def not_run_because(self) -> str | None:
        """Why the writer left it out, or None."""
        found = _NOT_RUN.search(self.above)
        return found["reason"] if found else None

    @property
    def exit_status(self) -> int:
        """What the last command is meant to end with."""
        found = _EXITS.search(self.above)
        return int(found["status"]) if found else 0

    @property
    def file_name(self) -> str | None:
        """The file that the block is the text of, or None."""
        found = _FILE.fullmatch(self.lines[0].strip()) if self.lines else None
        return found["name"] if found else None

    @property
    def text(self) -> str:
        """The block as one text."""
        return "".join(f"{line}\n" for line in self.lines)


@dataclass(kw_only=True)
class Command:
    """One `$ ` line of a console block and what the document shows below it."""

    text: str
    expected: list[str] = field(default_factory=list)


def blocks_of(page: Path) -> list[Block]:
    """The fenced blocks of a Markdown file in order; ValueError when a fence is left open."""
    return list(_blocks(page.read_text().splitlines()))


def commands_of(block: Block) -> list[Command]:
    """The commands of a console block; ValueError when output comes before any command."""
    commands: list[Command] = []
    for line in block.lines:
        if line.startswith("$ "):
            commands.append(Command(text=line[2:]))
        elif not commands:
            raise ValueError(f"line {block.line}: a console block starts with a `$ ` line")
        elif line.startswith("> ") and not commands[-1].expected:
            commands[-1].text += "\n" + line[2:]
        else:
            commands[-1].expected.append(line)
    return commands


def is_as_shown(expected: list[str], printed: str) -> bool:
    """Whether the printed text is what the document shows; space at line ends does not count."""
    pattern = "".join(_line_pattern(line) for line in _trimmed(expected))
    actual = "".join(f"{line}\n" for line in _trimmed(printed.splitlines()))
    return re.fullmatch(pattern, actual) is not None


def _blocks(lines: list[str]) -> Iterator[Block]:
    number, after_block = 0, -1
    while number < len(lines):
        fence = _FENCE.match(lines[number])
        if fence is None:
            number += 1
            continue
        end = _closing(lines, number, fence["ticks"])
        indent = len(fence["indent"])
        yield Block(
            line=number + 1,
            language=fence["language"].strip(),
            lines=[line[min(indent, _indent(line)) :] for line in lines[number + 1 : end]],
            above=lines[number - 1] if number else "",
            follows_directly=after_block >= 0 and not "".join(lines[after_block:number]).strip(),
        )
        number = after_block = end + 1


def _closing(lines: list[str], start: int, ticks: str) -> int:
    for number in range(start + 1, len(lines)):
        if lines[number].strip() == ticks:
            return number
    raise ValueError(f"line {start + 1}: the code block is never closed")


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip(" "))


def _trimmed(lines: list[str]) -> list[str]:
    return "\n".join(line.rstrip() for line in lines).strip("\n").splitlines()


def _line_pattern(line: str) -> str:
    if line.strip() == "...":
        return r"(?:.*\n)*?"
    return re.escape(line).replace(re.escape("..."), ".*") + r"\n"
