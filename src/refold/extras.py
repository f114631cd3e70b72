"""What to do where an extra is not installed."""

from __future__ import annotations

import json
from importlib.metadata import PackageNotFoundError, distribution
from urllib.parse import unquote, urlsplit


def needs(what: str, extra: str) -> str:
    """A sentence that says what is missing, and how to install the extra that has it.

    Where refold came from a path, that names the path: by its name alone another refold, or none,
    would be found. The path stands in the record that the installer keeps
    (https://packaging.python.org/en/latest/specifications/direct-url/).
    """
    said, path = f"{what}: pip install 'refold[{extra}]'", _installed_from()
    return said if path is None else f"{said}; of this refold: pip install '{path}[{extra}]'"


def _installed_from() -> str | None:
    """The file or folder that refold was installed from; None for an index."""
    try:
        record = json.loads(distribution("refold").read_text("direct_url.json") or "{}")
    except (PackageNotFoundError, ValueError):
        return None
    url = urlsplit(str(record.get("url", "")))
    return unquote(url.path) if url.scheme == "file" else None
