"""A module that is loaded again: its functions come under the names that they had."""

from typing import Any


def reloaded(name: str, function: Any) -> Any:
    """A function under the name that it has in its module, whatever it does by now."""
    function.__module__, function.__qualname__ = "shop.events", name
    return function
