"""What a fingerprint sees: every kind of thing that a step can reach in its module."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Mapping
from itertools import count
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import refold
from refold.core import fingerprint, snapshot
from refold.core.fingerprint import code_of, digest_of
from refold.core.snapshot import snapshotter_of
from refold.projections import Projection, Table


class Kind(NamedTuple):
    """A kind of thing: what stands in the module, and how a step uses it; 7 is what may change."""

    module: str
    use: str


KINDS = {
    "a constant in the step": Kind("", "event.n + 7"),
    "a table in the step": Kind("", "event in {'x', 'y', 'z7'}"),
    "a nested table in the step": Kind("", "event in ({'x', 'y', 'z7'}, 'q')"),
    "a lambda in the step": Kind("", "(lambda x: x + 7)(1)"),
    "a comprehension in the step": Kind("", "[x + 7 for x in (1, 2)]"),
    "a helper": Kind("def helper(x):\n    return x + 7", "helper(1)"),
    "a helper of a helper": Kind(
        "def inner(x):\n    return x + 7\ndef outer(x):\n    return inner(x)", "outer(1)"
    ),
    "a helper used in a nested function": Kind(
        "def deep(x):\n    return x + 7\ndef shallow(x):\n"
        "    def within(y):\n        return [deep(z) for z in (y,)]\n    return within(x)",
        "shallow(1)",
    ),
    "functions that call each other": Kind(
        "def even(x):\n    return x == 0 or odd(x - 1)\n"
        "def odd(x):\n    return x != 7 and even(x - 1)",
        "even(1)",
    ),
    "where an exception is caught": Kind(
        "def tried(x):\n    try:\n        y = int(x)\n    except ValueError:\n        return 7\n"
        "    return y",
        "tried(1)",
    ),
    "a default": Kind("def of_default(x, by=7):\n    return x * by", "of_default(1)"),
    "a keyword's default": Kind("def of_keyword(x, *, by=7):\n    return x * by", "of_keyword(1)"),
    "what a function closes over": Kind(
        "def made(by):\n    return lambda x: x * by\ntimes = made(7)", "times(1)"
    ),
    "a table that it closes over": Kind(
        "def made_of(by):\n    def of(x):\n        return by['a'] * x\n    return of\n"
        "of_table = made_of({'a': 7})",
        "of_table(1)",
    ),
    "an attribute of a function": Kind(
        "def marked(x):\n    return marked.rate * x\nmarked.rate = 7", "marked(1)"
    ),
    "an array": Kind("import array\nnumbers = array.array('i', [1, 7])", "numbers[1]"),
    "an array of objects": Kind(
        "import numpy\nmixed = numpy.array([object(), 'a', 7], dtype=object)", "mixed[2]"
    ),
    "a view of bytes": Kind("view = memoryview(bytes([1, 7]))", "view[1]"),
    "functools.cache": Kind("@functools.cache\ndef cached(x):\n    return x + 7", "cached(1)"),
    "functools.lru_cache": Kind(
        "@functools.lru_cache(maxsize=3)\ndef kept(x):\n    return x + 7", "kept(1)"
    ),
    "what a cached helper calls": Kind(
        "def called(x):\n    return x + 7\n@functools.cache\ndef caching(x):\n    return called(x)",
        "caching(1)",
    ),
    "functools.partial": Kind(
        "def of_two(x, by):\n    return x * by\npart = functools.partial(of_two, by=7)", "part(1)"
    ),
    "what a partial calls": Kind(
        "def of_three(x, by):\n    return x * by * 7\npart_of = functools.partial(of_three, by=2)",
        "part_of(1)",
    ),
    "a decorator": Kind(
        "def plus(f):\n    @functools.wraps(f)\n    def wrapper(x):\n        return f(x) + 7\n"
        "    return wrapper\n@plus\ndef decorated(x):\n    return x",
        "decorated(1)",
    ),
    "what a decorator wraps": Kind(
        "def same(f):\n    @functools.wraps(f)\n    def wrapper(x):\n        return f(x)\n"
        "    return wrapper\n@same\ndef wrapped(x):\n    return x + 7",
        "wrapped(1)",
    ),
    "what a decorator of another module wraps": Kind(
        "@contextlib.contextmanager\ndef managed(x):\n    yield x + 7", "managed(1)"
    ),
    "singledispatch": Kind(
        "@functools.singledispatch\ndef by_type(x):\n    return x\n"
        "@by_type.register\ndef _(x: str):\n    return 7",
        "by_type(1)",
    ),
    "a method": Kind("class C:\n    def m(self, x):\n        return x + 7", "C().m(1)"),
    "a static method": Kind(
        "class S:\n    @staticmethod\n    def m(x):\n        return x + 7", "S.m(1)"
    ),
    "a class method": Kind(
        "class L:\n    @classmethod\n    def m(cls, x):\n        return x + 7", "L.m(1)"
    ),
    "a property": Kind("class P:\n    @property\n    def p(self):\n        return 7", "P().p"),
    "a cached property": Kind(
        "class CP:\n    @functools.cached_property\n    def p(self):\n        return 7", "CP().p"
    ),
    "an operator": Kind("class O:\n    def __add__(self, x):\n        return 7", "O() + 1"),
    "an attribute of a class": Kind("class A:\n    rate = 7", "A.rate"),
    "a table of a class": Kind("class T:\n    _rates = {'a': [7]}", "T._rates['a']"),
    "a class in a class": Kind("class Out:\n    class In:\n        rate = 7", "Out.In.rate"),
    "a base class": Kind(
        "class Base:\n    def m(self, x):\n        return x + 7\nclass Derived(Base):\n    pass",
        "Derived().m(1)",
    ),
    "a metaclass": Kind(
        "class Meta(type):\n    def m(cls, x):\n        return x + 7\n"
        "class Made(metaclass=Meta):\n    pass",
        "Made.m(1)",
    ),
    "a descriptor": Kind(
        "class D:\n    def __get__(self, it, cls):\n        return 7\nclass Has:\n    d = D()",
        "Has().d",
    ),
    "a default of a struct": Kind("class Of(msgspec.Struct):\n    n: int = 7", "Of().n"),
    "a default that a struct makes": Kind(
        "class Makes(msgspec.Struct):\n    n: list = msgspec.field(default_factory=lambda: [7])",
        "Makes().n",
    ),
    "a default of a dataclass": Kind(
        "@dataclasses.dataclass\nclass Data:\n    n: int = 7", "Data().n"
    ),
    "a default of a dataclass with slots": Kind(
        "@dataclasses.dataclass(slots=True, frozen=True)\nclass Slotted:\n    n: int = 7",
        "Slotted().n",
    ),
    "a default that a dataclass makes": Kind(
        "@dataclasses.dataclass\nclass DataMakes:\n"
        "    n: list = dataclasses.field(default_factory=lambda: [7])",
        "DataMakes().n",
    ),
    "a default of a named tuple": Kind(
        "class Pair(typing.NamedTuple):\n    a: int = 7\n    b: int = 2", "Pair().a"
    ),
    "the class of a field": Kind(
        "class Leaf(msgspec.Struct):\n    def m(self):\n        return 7\n"
        "class Tree(msgspec.Struct):\n    leaves: 'list[Leaf]' = []",
        "Tree().leaves",
    ),
    "an enum": Kind("class E(enum.Enum):\n    A = 7\n    B = 'b'", "E.A.value"),
    "an enum's method": Kind(
        "class EM(enum.Enum):\n    A = 1\n    def m(self):\n        return 7", "EM.A.m()"
    ),
    "a member of an enum": Kind("class F(enum.IntEnum):\n    A = 7\nMEMBER = F.A", "MEMBER.value"),
    "an object that is called": Kind(
        "class Called:\n    def __call__(self, x):\n        return x + 7\ncalled_one = Called()",
        "called_one(1)",
    ),
    "what an object was made with": Kind(
        "class Scale:\n    def __init__(self, by):\n        self.by = by\n"
        "    def __call__(self, x):\n        return x * self.by\nscale = Scale(7)",
        "scale(1)",
    ),
    "what an object with slots was made with": Kind(
        "class Slim:\n    __slots__ = ('by',)\n    def __init__(self, by):\n        self.by = by\n"
        "slim = Slim(7)",
        "slim.by",
    ),
    "a method of an object": Kind(
        "class Bound:\n    def __init__(self, by):\n        self.by = by\n"
        "    def m(self, x):\n        return x * self.by\nbound = Bound(7).m",
        "bound(1)",
    ),
    "a constant": Kind("RATE = 7", "RATE"),
    "a constant in small letters": Kind("rate = 7.5", "rate"),
    "a text": Kind("text = 'x7'", "text"),
    "a list": Kind("names = ['a', ['x7']]", "names"),
    "a table": Kind("table = {'a': {'b': (7, None)}}", "table['a']"),
    "the order of a table": Kind(
        "tiers = dict(sorted({'a': 1, 'b': 7}.items(), key=lambda i: i[1] == 7))", "tiers"
    ),
    "a set": Kind("members = {'a', 'b', 'x7'}", "'x' in members"),
    "a frozen set": Kind("frozen = frozenset({'a', 'b', ('x7',)})", "'x' in frozen"),
    "a table of functions": Kind(
        "def first(x):\n    return x + 7\nways = {'a': first, 'b': lambda x: x}", "ways['a'](1)"
    ),
    "a default dict": Kind("spread = collections.defaultdict(lambda: 7, {'a': 1})", "spread['b']"),
    "an amount": Kind("amount = decimal.Decimal('7.10')", "amount"),
    "a day": Kind("day = datetime.date(2026, 3, 7)", "day"),
    "a time zone": Kind("zone = datetime.timezone(datetime.timedelta(hours=7))", "zone"),
    "a pattern": Kind("pattern = re.compile('x7')", "pattern.match('x')"),
    "an itemgetter": Kind("getter = operator.itemgetter(7)", "getter"),
    "a dataclass with values": Kind(
        "@dataclasses.dataclass\nclass Terms:\n    n: int\nterms = Terms(7)", "terms.n"
    ),
    "a struct with values": Kind(
        "class Limits(msgspec.Struct):\n    n: int\nlimits = Limits(7)", "limits.n"
    ),
    "a named tuple with values": Kind(
        "class Range(typing.NamedTuple):\n    n: int\nspan = Range(7)", "span.n"
    ),
    "a namespace": Kind("names_of = types.SimpleNamespace(rate=7)", "names_of.rate"),
    "a class of numbers": Kind("class Cents(int):\n    pass\ncents = Cents(7)", "cents"),
    "a class of tables": Kind(
        "class Rates(dict):\n    pass\nrates_of = Rates(a=7)", "rates_of['a']"
    ),
    "another fold": Kind(
        "Other = refold.Fold('other', int)\n@Other.on('o')\ndef other(state, event):\n"
        "    return state + 7",
        "Other.evolve(0, event)",
    ),
    "the class of an alias": Kind("class Aliased:\n    n = 7\nAlias = list[Aliased]", "Alias"),
}
"""Each named by what changes."""
HEAD = """
import collections, contextlib, dataclasses, datetime, decimal, enum, functools, operator, re
import types, typing
import msgspec, refold
"""
TAIL = """
class Step:
    def __init__(self, by):
        self.by = by
    def __call__(self, state, event):
        return state + self.by
class Event(msgspec.Struct):
    n: int = 1
    @property
    def worth(self):
        return {event}
class Total(msgspec.Struct):
    n: int = 0
    def add(self, n):
        self.n += n * {method}
        return self
def begun():
    return Total({begun})
def step(state, event):
    {uses}
    return state.add(event.worth)
"""
ROOTS = ("event", "method", "begun")
_numbers = count()


def written(changed: Mapping[str, int], kinds: Mapping[str, Kind] = KINDS) -> str:
    """The text of a module with kinds of things, 7 in each but those that changed."""

    def told(text: str, name: str) -> str:
        return text.replace("7", str(changed.get(name, 7)))

    uses = "; ".join(told(kind.use, name) for name, kind in kinds.items()) or "pass"
    roots = {name: changed.get(name, 7) for name in ROOTS}
    parts = [told(kind.module, name) for name, kind in kinds.items()]
    return "\n".join([HEAD, *parts, TAIL.format(uses=uses, **roots)])


def imported(text: str) -> ModuleType:
    """The module of a text."""
    module = ModuleType("rules")
    sys.modules["rules"] = module
    exec(compile(text, f"rules-{next(_numbers)}.py", "exec", dont_inherit=True), vars(module))
    return module


def fold_of(module: Any) -> refold.Fold[Any]:
    """The fold of a module's step."""
    registry = refold.Registry()
    registry.event("e")(module.Event)
    fold = refold.Fold("sum", module.begun, state_type=module.Total, registry=registry)
    fold.on(module.Event)(module.step)
    return fold


def printed(text: str) -> str:
    """The fingerprint of the fold in a text."""
    snapshotter = snapshotter_of(fold_of(imported(text)))
    assert snapshotter is not None
    return snapshotter.fingerprint


@pytest.fixture(autouse=True)
def _forgotten() -> Iterator[None]:
    yield
    sys.modules.pop("rules", None)


@pytest.mark.parametrize("name", KINDS)
def test_each_kind_is_seen(name: str) -> None:
    """A change of one thing that a step reaches is another fingerprint; the same again is not."""
    one = {name: KINDS[name]}
    before, after = printed(written({}, one)), printed(written({name: 8}, one))
    assert before != after
    assert printed(written({}, one)) == before
    assert printed("\n\n# Moved.\n" + written({}, one)) == before


@pytest.mark.parametrize("name", ROOTS)
def test_what_a_fold_is_made_of_is_seen(name: str) -> None:
    """The methods of its state and of its events, and how its state begins."""
    assert printed(written({name: 8}, {})) != printed(written({}, {}))


@settings(max_examples=12, deadline=None)
@given(st.dictionaries(st.sampled_from([*KINDS, *ROOTS]), st.sampled_from([7, 8, 9]), max_size=4))
def test_fingerprints_are_the_same_where_all_is(changed: dict[str, int]) -> None:
    """All kinds in one module: whatever changed, the fingerprint did, and only then."""
    same = all(number == 7 for number in changed.values())
    assert (printed(written(changed)) == printed(written({}))) is same
    assert printed(written(changed)) == printed(written(changed))


def test_it_is_the_same_in_every_process(tmp_path: Path) -> None:
    """Imported anew, from source or from what Python keeps of it, with any hashes."""
    (tmp_path / "rules.py").write_text(written({}))
    program = (
        "import sys; sys.path[:0] = sys.argv[1:]\n"
        "import rules\n"
        "from tests.inspection.test_reach import fold_of\n"
        "from refold.core.snapshot import snapshotter_of\n"
        "print(snapshotter_of(fold_of(rules)).fingerprint)\n"
    )
    prints = {
        subprocess.run(
            [sys.executable, "-c", program, str(tmp_path), str(Path(__file__).parents[2])],
            env={"PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2", "3")
    }
    assert len(prints) == 1
    assert (tmp_path / "__pycache__").is_dir()
    assert prints == {f"{printed(written({}))}\n"}


GROWING = {
    "a table that it adds to": "seen[event.n] = 1",
    "a table that it counts in": "seen[event.n] += 1",
    "a table that it takes from": "seen.pop(event.n, None)",
    "a list in a table": "seen['a'].append(1)",
    "a table that a helper adds to": "remember(event.n)",
    "a table that it closes over": "closing(event.n)",
    "a name that it binds again": "rebind()",
    "an attribute that it sets": "namespace.n = 3",
    "an object that counts": "counter.add()",
    "a cached function": "cached(event.n)",
    "a cached property": "counter.twice",
}
GROWN = """
seen = collections.defaultdict(int, {'a': []})
namespace = types.SimpleNamespace(n=1)
total = 0
def remember(n):
    seen[n, 'it'] = n
def gathering():
    kept = []
    def gather(n):
        kept.append(n)
    return gather
closing = gathering()
def rebind():
    global total
    total += 1
class Counter:
    def __init__(self):
        self.n = 0
        self.all = []
    def add(self):
        self.n += 1
        self.all.append(self.n)
    @functools.cached_property
    def twice(self):
        return 2 * self.n
counter = Counter()
@functools.cache
def cached(n):
    return n
"""


@pytest.mark.parametrize("name", GROWING)
def test_what_a_step_changes_as_it_goes_is_nothing(name: str) -> None:
    """A memory or a count that grows while the program runs does not make it another fold."""
    module: Any = imported(written({}, {name: Kind(GROWN, GROWING[name])}))
    before = digest_of(code_of(module.step))
    state = module.Total()
    for number in range(3):
        module.step(state, module.Event(number))
    assert digest_of(code_of(module.step)) == before


def test_what_it_only_reads_is_seen_beside_what_it_changes() -> None:
    """A table under a key of another, or put into it, is read; so is one that shares a name."""
    for use in ("out[table['a']] = 1", "out['a'] = table", "event.table = 1; out.table = table"):
        kind = {"one": Kind("out = {}\ntable = {'a': 7}", f"{use}\n    del out['a']")}
        assert printed(written({}, kind)) != printed(written({"one": 8}, kind))


def test_of_another_module_names_are_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """Which function is called, and not what it does there: that is for ``revision``."""
    step = {
        "one": Kind("import rates\nfrom rates import rate, Rate, RATE7", "rate(1); Rate(); rates.x")
    }

    def with_rates(n: int, name: str = "rate") -> str:
        rates: Any = ModuleType("rates")
        text = f"def rate(x):\n    return x + {n}\nclass Rate:\n    n = {n}\nRATE7 = 1"
        exec(
            compile(
                text.replace("def rate", f"def {name}") + f"\nrate = {name}", "rates.py", "exec"
            ),
            vars(rates),
        )
        monkeypatch.setitem(sys.modules, "rates", rates)
        return printed(written({}, step))

    assert with_rates(1) == with_rates(2) != with_rates(1, name="discount")


def test_decorators_of_other_modules_hide_nothing() -> None:
    """What one of them wraps is looked into, in its own module, with what it was given."""

    def run(function: Any, by: int = 1) -> Any:
        return lambda *given: function(*given) * by  # No functools.wraps.

    decorators: Any = ModuleType("decorators")
    decorators.run = run
    sys.modules["decorators"] = decorators
    kinds = {
        "a helper": Kind(
            "import decorators\ndef inner(x):\n    return x + 7\n"
            "@decorators.run\ndef helper(x):\n    return inner(x)",
            "helper(1)",
        ),
        "its argument": Kind(
            "import decorators\ndef inner(x):\n    return x\nhelper = decorators.run(inner, 7)",
            "helper(1)",
        ),
    }
    for name, kind in kinds.items():
        one = {name: kind}
        assert printed(written({}, one)) != printed(written({name: 8}, one)), name
    for rule in ("return state.add(7)", "return state.add(helped())\ndef helped():\n    return 7"):
        text = (
            written({})
            + f"import decorators\n@decorators.run\ndef step(state, event):\n    {rule}\n"
        )
        assert printed(text) != printed(text.replace("7", "8"))


def test_words_about_code_are_nothing() -> None:
    """Docstrings, comments, lines and annotations of arguments change no state."""
    before = {
        "it": Kind("def helper(x):\n    'Says.'\n    return x\nclass C:\n    'Says.'", "helper(C)")
    }
    after = {
        "it": Kind(
            "# Of it.\n\ndef helper(x: 'int') -> 'int':\n    'Tells.'\n    # Here.\n    return x\n"
            "class C:\n    'Tells.'",
            "helper(C)",
        )
    }
    assert printed(written({}, before)) == printed(written({}, after))


def test_large_and_odd_data_ends() -> None:
    """Circles, deep nesting and what cannot be read in every process."""
    kind = {
        "odd": Kind(
            "import threading, logging\nodd = [{}]\nodd[0]['it'] = odd\ndeep = []\n"
            "for _ in range(5_000):\n    deep = [deep, deep]\n"
            "class Node:\n    pass\nnode = Node()\nnode.up = Node()\nnode.up.down = node\n"
            "lock = threading.Lock()\nlog = logging.getLogger('it')\nlines = iter([1])\n"
            "thing = object()\nchain = print\n"
            "for _ in range(3_000):\n    chain = functools.partial(chain, 1)",
            "odd, deep, node, lock, log, lines, thing, chain",
        )
    }
    assert printed(written({}, kind)) == printed(written({}, kind))


def test_it_is_made_once_a_fold_and_not_an_event(monkeypatch: pytest.MonkeyPatch) -> None:
    """And never for a history that is too short for a snapshot."""
    made: list[object] = []
    told = fingerprint.handlers_facts

    def counted(*given: Any) -> object:
        made.append(given)
        return told(*given)

    monkeypatch.setattr(snapshot, "handlers_facts", counted)
    fold = fold_of(imported(written({}, {})))
    with refold.open("memory:") as store:
        store.append("short-1", [refold.Event("e", {"n": 1})] * 9)
        store.append("long-1", [refold.Event("e", {"n": 1})] * 2_000)
        store.fold("short-1", fold)
        assert not made
        for _ in range(3):
            assert store.fold("long-1", fold).state.n == 7 + 2_000 * 49
        assert len(made) == 1


def projection_of(text: str) -> Projection:
    """A read model of a module's rows and handler."""
    module: Any = imported(text)
    registry = refold.Registry()
    registry.event("e")(module.Event)
    projection = Projection(
        "sums", tables=[Table("sums", module.Total, key="n")], registry=registry
    )
    projection.on(module.Event)(module.step)
    return projection


@pytest.mark.parametrize("name", ["event", "method", *list(KINDS)[::9]])
def test_a_projection_sees_the_same(name: str) -> None:
    """Its handlers, its events and the methods of its rows; none of that is its shape."""
    one = {name: KINDS[name]} if name in KINDS else {}
    before = projection_of(written({}, one)).fingerprint()
    after = projection_of(written({name: 8}, one)).fingerprint()
    assert before.code != after.code
    assert before.shape == after.shape
    assert projection_of(written({}, one)).fingerprint() == before


def test_a_field_that_came_later_changes_no_projection() -> None:
    """One with a default and marked so, in a struct and in a dataclass."""
    added = "n: int = 1\n    more: typing.Annotated[int, ADDED] = 2"
    for head in ("class Event(msgspec.Struct):", "@dataclasses.dataclass\nclass Event:"):
        text = written({}, {"it": Kind("from refold.core.fingerprint import ADDED", "1")})
        text = text.replace("class Event(msgspec.Struct):", head)
        before = projection_of(text).fingerprint()
        assert projection_of(text.replace("n: int = 1", added)).fingerprint() == before
