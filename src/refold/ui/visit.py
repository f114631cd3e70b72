"""What a screen is given: the store that is looked at, and what the address asks."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import NamedTuple, TypeVar

from starlette.requests import Request

from refold import Store
from refold.errors import UsageError
from refold.ui.making import KeptResults, LookedAt, Tell
from refold.ui.pages import page
from refold.ui.writing import shown_to

DIGITS_MAX = 18

T = TypeVar("T")


class Visit(NamedTuple):
    """A request for a page of a store; ``rows`` is where its read models are kept, if elsewhere."""

    store: Store
    rows: Store | None
    request: Request

    def text(self, name: str) -> str:
        """A value of the query, without the blanks around it; "" where there is none."""
        return str(self.request.query_params.get(name, "")).strip()

    def number(self, name: str) -> int | None:
        """A whole number of the query; :class:`~refold.errors.UsageError` for anything else."""
        given = self.request.query_params.get(name)
        if given is None:
            return None
        if not given.isascii() or not given.isdigit() or len(given) > DIGITS_MAX:
            raise UsageError(f"{name}={given!r} is no whole number")
        return int(given)

    def place(self, name: str) -> str:
        """A part of the path."""
        return str(self.request.path_params[name])

    @property
    def root(self) -> str:
        """Where the application is mounted, "" at the top."""
        return str(self.request.scope.get("root_path", ""))

    @property
    def db(self) -> str:
        """What ``--db`` is for this store, "" where a command finds it without."""
        return str(getattr(self.request.app.state, "db", ""))

    def made(self, name: Hashable, of: object, make: Callable[[Tell], T]) -> LookedAt[T]:
        """What takes longer than a page may, as far as it is there: :meth:`KeptResults.look`."""
        state = self.request.app.state
        kept: KeptResults = state.kept
        return kept.look(name, of, make, state.patience_s)

    def page(self, template: str, **values: object) -> str:
        """A page whose links lead to where the application is mounted."""
        return rendered(self.request, template, **values)


def rendered(request: Request, template: str, **values: object) -> str:
    """A page of any template; its search box is empty where nothing else is said."""
    beside = {"q": "", "root": request.scope.get("root_path", ""), "write": shown_to(request)}
    return page(template, **{**beside, **values})
