"""Blocks of an archived month as the row groups of a Parquet file, for other tools.

A row is an append with the columns of the table ``log``; the index beside it is refold's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any, Final

import msgspec

from refold.archive.manifest import damaged
from refold.archive.month import ArchivedAppend
from refold.archive.packed import Block
from refold.errors import UsageError
from refold.extras import needs

_TYPES: Final = {"int": "int64", "str": "string", "bytes": "binary"}


@contextmanager
def row_groups(path: Path) -> Iterator[Callable[[Block], None]]:
    """Makes a file; what it gives writes a block as the next row group of it."""
    arrow, parquet = _arrow()
    fields = ArchivedAppend.__annotations__.items()
    schema = arrow.schema([(name, _type_of(arrow, said)) for name, said in fields])
    with parquet.ParquetWriter(path, schema, compression="zstd") as writer:

        def write(block: Block) -> None:
            rows = [msgspec.structs.asdict(one) for one in block]
            table = arrow.Table.from_pylist(rows, schema=schema)
            writer.write_table(table, row_group_size=len(rows))

        yield write


def row_group_of(path: Path) -> Callable[[int], Block]:
    """Reads the block of a number from a file."""
    _, parquet = _arrow()

    def read(number: int) -> Block:
        try:
            with parquet.ParquetFile(path) as file:
                return [ArchivedAppend(**row) for row in file.read_row_group(number).to_pylist()]
        except (OSError, ValueError) as error:
            raise damaged(path, str(error)) from error

    return read


def _type_of(arrow: Any, said: str) -> Any:
    """The type of a column, by what a field is annotated with."""
    if said == "list[str]":
        return arrow.list_(arrow.string())
    return arrow.type_for_alias(_TYPES[said.partition(" ")[0]])


def _arrow() -> tuple[Any, Any]:
    try:
        return import_module("pyarrow"), import_module("pyarrow.parquet")
    except ModuleNotFoundError as error:
        raise UsageError(needs("an archive in Parquet needs pyarrow", "export")) from error
