"""How a store is opened: its values protected where it is told so, or where they are already."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING

from refold.engine.store import Store
from refold.ports import Backend, Clock
from refold.privacy.stored import has_keys

if TYPE_CHECKING:
    from refold.privacy.privacy import Privacy


def viewed(
    backend: Backend,
    privacy: Privacy | None,
    clock: Clock,
    opened: Callable[[str | os.PathLike[str]], Store],
) -> Backend:
    """The backend itself where it holds nothing that is protected, nor is to; see ``protected``."""
    if privacy is None and not has_keys(backend):
        return backend
    from refold.privacy.powers import protected

    return protected(backend, privacy, clock=clock, opened=opened)
