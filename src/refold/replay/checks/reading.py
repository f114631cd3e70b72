"""A check by what a user writes: one that is built in, a function in a file, one that is installed.

``NAME`` or ``NAME=SETTING`` of :data:`~refold.replay.checks.built_in.BUILT_IN`; ``policy.py:rule``
or ``package.module:rule``, a function of the state and the history; or the name under which a
package has one (entry points of the group ``refold.metrics``).
"""

from __future__ import annotations

from collections.abc import Callable
from difflib import get_close_matches
from importlib import import_module, util
from importlib.metadata import entry_points
from inspect import getdoc
from pathlib import Path
from typing import Any, Final

from refold.errors import UsageError
from refold.replay.checks.built_in import BUILT_IN
from refold.replay.checks.seen import NamedCheck
from refold.replay.metrics import Metric

GROUP: Final = "refold.metrics"
"""The entry points that are metrics: each a function of the state and the history."""
OWN: Final = "check:"


def read_check(text: str) -> NamedCheck:
    """The check that a text names.

    A function gets the state that the conversation has come to and its events, and gives True,
    False or a number, or None where it does not apply. What it ``says`` is the first line of its
    docstring. It may have attributes: ``direction`` ("higher", "lower" or None; by default higher)
    and ``unit``. Raises :class:`UsageError` where there is none, it cannot be loaded, or its
    setting is wrong.
    """
    name, equals, setting = text.partition("=")
    if (own := BUILT_IN.get(name)) is not None:
        said = setting if equals else own.default
        if said is None:
            raise UsageError(f"{name} needs a setting: {name}={own.setting}", check=name)
        given = _loaded(f"the check {text}", lambda: own.read(said))
        metric = Metric(OWN + text, f"{own.says}: {said}".rstrip(": "), "higher", "share", 0, 1)
        return NamedCheck(metric, lambda seen: own.measure(seen, given))
    if ":" in text:
        return _of(f"{OWN}{text.rpartition(':')[2]}", named_object(text, f"the check {text}"))
    installed = {point.name: point for point in entry_points(group=GROUP)}
    if text in installed:
        return _of(text, _loaded(f"the check {text}", installed[text].load))
    near = get_close_matches(name, [*BUILT_IN, *installed], 1)
    hint = f": did you mean {near[0]}?" if near else f": {', '.join(BUILT_IN)}"
    raise UsageError(f"there is no check {text!r}{hint}", check=text)


def _of(name: str, function: Any) -> NamedCheck:
    if not callable(function):
        raise UsageError(f"{name} is not a function of the state and the history", check=name)
    says = (getdoc(function) or name).partition("\n")[0].rstrip(".")
    unit: Any = getattr(function, "unit", "share")
    ends = (0.0, 1.0) if unit == "share" else (None, None)
    metric = Metric(name, says, getattr(function, "direction", "higher"), unit, *ends)
    return NamedCheck(metric, lambda seen: function(seen.state, seen.history))


def named_object(text: str, what: str) -> Any:
    """What ``FILE.py:NAME`` or ``package.module:NAME`` names; ``what`` it is, for the error.

    Raises :class:`UsageError` where it cannot be had.
    """
    place, _, attribute = text.rpartition(":")
    if not (place and attribute):
        raise UsageError(f"{what}: give FILE.py:NAME or package.module:NAME", argument=what)
    module = _loaded(
        what, lambda: _of_file(place) if place.endswith(".py") else import_module(place)
    )
    return _loaded(what, lambda: getattr(module, attribute))


def _of_file(place: str) -> Any:
    spec = util.spec_from_file_location(Path(place).stem, place)
    if spec is None or spec.loader is None or not Path(place).is_file():
        raise FileNotFoundError(f"there is no file {place}")
    module = util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _loaded(what: str, load: Callable[[], Any]) -> Any:
    try:
        return load()
    except Exception as error:
        raise UsageError(
            f"{what} cannot be had: {type(error).__name__}: {error}", argument=what
        ) from error
