"""Waiting until a projection has come as far as the log."""

from __future__ import annotations

import time
from typing import Final

from refold.engine.checks import check_given
from refold.errors import NotFound, Unavailable, UsageError, is_number, refuse_unless, shown
from refold.ports import Backend, ProgressKeeper

_LOOK_FIRST_S: Final = 0.001
_LOOK_LAST_S: Final = 0.05


def wait_for(backend: Backend, projection: str, position: int, *, timeout_s: float) -> int:
    """Return when a projection stands at a position or beyond; where it stands then.

    See :meth:`refold.Store.wait_for`.
    """
    if not isinstance(backend, ProgressKeeper):
        raise UsageError("this kind of store keeps no projections")
    refuse_unless(isinstance(projection, str), "the name of a projection", projection=projection)
    check_given(position=position)
    refuse_unless(is_number(timeout_s), "a number of seconds, from 0", timeout_s=timeout_s)
    deadline, look_s = time.monotonic() + min(timeout_s, 1e9), _LOOK_FIRST_S
    while (reached := _position_of(backend, projection)) < position:
        left_s = deadline - time.monotonic()
        if left_s <= 0:
            why = f"projection {projection!r} stands at {reached}, not yet at {shown(position)}, "
            why += f"after {timeout_s} s: does `refold projections run` run?"
            raise Unavailable(why, code="timeout", projection=projection, position=reached)
        time.sleep(min(look_s, left_s))
        look_s = min(look_s * 2, _LOOK_LAST_S)
    return reached


def _position_of(keeper: ProgressKeeper, projection: str) -> int:
    position = keeper.progress(projection)
    if position is None:
        raise NotFound(f"projection {projection!r} was never started here", projection=projection)
    return position
