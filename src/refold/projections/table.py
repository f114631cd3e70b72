"""Tables of a projection: a class of rows, and how its values stand in SQL.

Columns follow from the fields of a ``msgspec.Struct``: ``str`` is TEXT, ``int`` and ``bool``
INTEGER, ``float`` REAL, ``bytes`` BLOB; ``Decimal``, times, enums and identifiers are TEXT as JSON
writes them; lists, dicts and structs are TEXT with their JSON. A field that may be None is
nullable. Amounts stay exact: a ``Decimal`` is never a REAL.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from decimal import Decimal
from inspect import Parameter, signature
from operator import attrgetter, itemgetter
from typing import Any, Final, Generic, NamedTuple, TypeVar

import msgspec
from msgspec import inspect

from refold.errors import UsageError, refuse_unless, shown
from refold.ports import SqlValue

R = TypeVar("R", bound=msgspec.Struct)
Values = tuple[SqlValue, ...]

_NAME: Final = re.compile(r"[a-z][a-z0-9_]{0,62}")
_TYPES_KEPT_MAX: Final = 4_096
_encode_json = msgspec.json.Encoder().encode


class Column(NamedTuple):
    """A column: its SQL type, the class of a value that stands in SQL as it is, and the ways.

    ``encode`` is for any other value, and raises where that is none of the column's; ``decode`` is
    None where what SQL gives needs no change.
    """

    name: str
    sql: str
    nullable: bool
    plain: type | None
    encode: Callable[[Any], SqlValue]
    decode: Callable[[Any], Any] | None


class Table(Generic[R]):
    """A table of rows of one class, found by ``key``, its primary key.

    ``name`` is how SQL knows it; ``indexes`` are lists of columns. With ``words`` it is a full-text
    table (SQLite's FTS5) that finds rows by the words of these columns and keeps nothing else of
    them: they are read back as None. Its key is then ``rowid``, a whole number, and it has no
    indexes. Raises :class:`~refold.errors.UsageError` for a name or column that cannot be one.
    """

    def __init__(
        self,
        name: str,
        row: type[R],
        *,
        key: Sequence[str] | str,
        indexes: Sequence[Sequence[str]] = (),
        words: Sequence[str] = (),
    ) -> None:
        check_sql_name(name, what="table")
        self.name = name
        self.row = row
        self.columns = _columns_of(name, row)
        for names in (key, words, *(indexes if isinstance(indexes, Sequence) else (indexes,))):
            right = isinstance(names, Sequence) and all(isinstance(one, str) for one in names)
            refuse_unless(right, "the names of columns", key_or_index_or_words=names)
        self.key = (key,) if isinstance(key, str) else tuple(key)
        self.indexes = tuple((one,) if isinstance(one, str) else tuple(one) for one in indexes)
        self.words = (words,) if isinstance(words, str) else tuple(words)
        self._check_columns()
        names = [column.name for column in self.columns]
        places = [names.index(name) for name in self.key]
        self._key_columns = [self.columns[place] for place in places]
        self._values = _tuple_of(attrgetter, names)
        self.key_in = _tuple_of(itemgetter, places)
        self._decoders = [
            (place, column.decode) for place, column in enumerate(self.columns) if column.decode
        ]
        # Which values SQL cannot take as they are, by the types of a whole row, for these repeat.
        self._changed: dict[tuple[type, ...], list[int]] = {}
        self._key_types = tuple(column.plain for column in self._key_columns)
        kinds = [parameter.kind for parameter in signature(row).parameters.values()]
        self._by_name = Parameter.KEYWORD_ONLY in kinds

    def values(self, row: R) -> Values:
        """A row as SQL takes it; :class:`~refold.errors.UsageError` where a value is no such."""
        if row.__class__ is not self.row:
            raise UsageError(
                f"table {self.name!r} holds {self.row.__name__}, not {type(row).__name__}"
            )
        values: tuple[Any, ...] = self._values(row)
        types = tuple(map(type, values))
        places = self._changed.get(types)
        if places is None:
            places = self._changed_in(types, values)
        if not places:
            return values
        encoded = list(values)
        for place in places:
            encoded[place] = self._encoded(self.columns[place], values[place])
        return tuple(encoded)

    def row_of(self, values: Values) -> R:
        """The row that SQL gives back."""
        given: Sequence[Any] = values
        if self._decoders:
            given = list(values)
            for place, decode in self._decoders:
                if given[place] is not None:
                    given[place] = decode(given[place])
        if self._by_name:
            return self.row(**{c.name: v for c, v in zip(self.columns, given, strict=True)})
        return self.row(*given)

    def key_of(self, key: object) -> Values:
        """A key as a caller gives it (a tuple, or the value of a single column) in SQL's values."""
        given = key if isinstance(key, tuple) else (key,)
        if tuple(map(type, given)) == self._key_types:
            return given
        if len(given) != len(self.key):
            raise UsageError(f"the key of table {self.name!r} is {self.key}, not {key!r}")
        return tuple(map(self._encoded, self._key_columns, given))

    def shape(self) -> tuple[object, ...]:
        """What two tables that hold the same have in common."""
        columns = [(c.name, c.sql, c.nullable) for c in self.columns]
        words = (self.words,) if self.words else ()  # Of no table that was made before there were.
        return self.name, columns, self.key, self.indexes, *words

    def _changed_in(self, types: tuple[type, ...], values: tuple[Any, ...]) -> list[int]:
        pairs = zip(self.columns, values, strict=True)
        places = [place for place, (c, v) in enumerate(pairs) if not _is_plain(c, v)]
        if len(self._changed) >= _TYPES_KEPT_MAX:
            self._changed.clear()
        self._changed[types] = places
        return places

    def _encoded(self, column: Column, value: Any) -> SqlValue:
        if _is_plain(column, value):
            plain: SqlValue = value
            return plain
        try:
            return column.encode(value)
        except (TypeError, ValueError, AttributeError) as error:
            kind = column.sql if column.nullable else f"{column.sql}, never None"
            raise UsageError(
                f"{self.name}.{column.name} is {kind}: {value!r} is no such value",
                table=self.name,
                column=column.name,
            ) from error

    def _check_columns(self) -> None:
        known = {column.name: column for column in self.columns}
        for name in (*self.key, *self.words, *(name for index in self.indexes for name in index)):
            if name not in known:
                raise UsageError(f"table {self.name!r} has no column {name!r}")
        if self.words and (self.key != ("rowid",) or self.indexes):
            raise UsageError(f"table {self.name!r} has words: its key is rowid, without indexes")
        if not self.key or any(known[name].nullable for name in self.key):
            raise UsageError(f"table {self.name!r} needs a key of columns that are never None")


def _is_plain(column: Column, value: Any) -> bool:
    """Whether a value stands in SQL as it is."""
    return column.nullable if value is None else type(value) is column.plain


def check_sql_name(name: str, *, what: str) -> None:
    """Refuse a name that SQL would need quotes for, or that refold or SQLite keep."""
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise UsageError(f"a {what} is named like tool_calls, not {shown(name)}")
    if name.startswith(("refold_", "sqlite_")):
        raise UsageError(f"{name!r}: names that begin with refold_ or sqlite_ are taken")


def _columns_of(table: str, row: type) -> list[Column]:
    if not (isinstance(row, type) and issubclass(row, msgspec.Struct)):
        raise UsageError(f"the rows of table {table!r} must be a msgspec.Struct, not {shown(row)}")
    info = inspect.type_info(row)
    assert isinstance(info, inspect.StructType)
    types = {field.name: field.type for field in msgspec.structs.fields(row)}
    return [_column(field.name, field.type, types[field.name]) for field in info.fields]


def _column(name: str, kind: inspect.Type, annotated: Any) -> Column:
    options = kind.types if isinstance(kind, inspect.UnionType) else (kind,)
    others = [option for option in options if not isinstance(option, inspect.NoneType)]
    nullable = len(others) < len(options) or isinstance(kind, inspect.AnyType)
    match others:
        case [inspect.StrType()]:
            return Column(name, "TEXT", nullable, str, _none_but_plain, None)
        case [inspect.IntType()]:
            return Column(name, "INTEGER", nullable, int, _none_but_plain, None)
        case [inspect.FloatType()]:
            return Column(name, "REAL", nullable, float, _real, None)
        case [inspect.BytesType()]:
            return Column(name, "BLOB", nullable, bytes, _none_but_plain, None)
        case [inspect.BoolType()]:
            return Column(name, "INTEGER", nullable, None, _bit, bool)
        case [inspect.DecimalType()]:
            return Column(name, "TEXT", nullable, None, _decimal_text, Decimal)
        case [inspect.EnumType() | inspect.LiteralType() as one]:
            values = _values_of(one)
            sql = "INTEGER" if values and all(type(v) is int for v in values) else "TEXT"
            return Column(name, sql, nullable, None, _plainly(annotated), _convert_to(annotated))
        case [
            inspect.DateTimeType()
            | inspect.DateType()
            | inspect.TimeType()
            | inspect.TimeDeltaType()
            | inspect.UUIDType()
        ]:
            return Column(name, "TEXT", nullable, None, _plainly(annotated), _convert_to(annotated))
    decode = msgspec.json.Decoder(annotated).decode
    return Column(name, "TEXT", nullable, None, _json_text, decode)


def _values_of(kind: inspect.EnumType | inspect.LiteralType) -> list[object]:
    if isinstance(kind, inspect.LiteralType):
        return list(kind.values)
    return [member.value for member in kind.cls]


def _none_but_plain(value: Any) -> SqlValue:
    raise TypeError(f"{value!r} is of another type")


def _real(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{value!r} is no number")
    return float(value)


def _bit(value: Any) -> int:
    if not isinstance(value, bool):
        raise TypeError(f"{value!r} is neither True nor False")
    return int(value)


def _decimal_text(value: Any) -> str:
    if not isinstance(value, Decimal) or not value.is_finite():
        raise TypeError(f"{value!r} is not an exact number")
    return str(value)


def _json_text(value: Any) -> str:
    return _encode_json(value).decode()


def _plainly(annotated: Any) -> Callable[[Any], SqlValue]:
    """Checked as what it is said to be, then as JSON would write it."""

    def encode(value: Any) -> SqlValue:
        plain: SqlValue = msgspec.to_builtins(value)
        msgspec.convert(plain, annotated)
        return plain

    return encode


def _convert_to(annotated: Any) -> Callable[[Any], Any]:
    return lambda value: msgspec.convert(value, annotated)


def _tuple_of(getter: Callable[..., Any], wanted: Sequence[Any]) -> Callable[[Any], Values]:
    """``attrgetter`` or ``itemgetter`` that gives a tuple for one thing too."""
    get = getter(*wanted)
    return get if len(wanted) > 1 else lambda held: (get(held),)
