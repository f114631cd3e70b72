"""The tree of branches that a stream stands in."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from refold import Store
from refold.projections import Projector
from refold.readmodels.forks import branches

BRANCHES_MAX: Final = 100
"""So many branches of a tree are told."""
DEPTH_MAX: Final = 20
_PARENT: Final = "SELECT parent FROM branches WHERE stream = ?"
_CHILDREN: Final = """SELECT stream, version, changed FROM branches
WHERE parent = ? ORDER BY version, stream LIMIT ?"""


class BranchNode(NamedTuple):
    """A stream, the last version that it shares with its ``parent``, and the branches of it.

    ``changed`` is what was changed in it, in a word or two.
    """

    stream: str
    parent: str | None
    after: int
    changed: str | None
    branches: Sequence[BranchNode]


def tree_of(store: Store, stream: str, *, rows: Store | None = None) -> BranchNode | None:
    """The tree that a stream stands in, replays among it, as far as it is known; None: in none.

    From the root on, or from 20 levels above.
    """
    projector = Projector(store, [branches], rows=rows)
    if projector.status()[0].state != "current":
        return None
    root = stream
    for _ in range(DEPTH_MAX):
        found = projector.query(_PARENT, (root,))
        if not found:
            break
        root = str(found[0][0])
    tree = _grown(projector, BranchNode(root, None, -1, None, ()), [BRANCHES_MAX], DEPTH_MAX * 2)
    return tree if tree.branches else None


def _grown(projector: Projector, node: BranchNode, left: list[int], depth: int) -> BranchNode:
    """A node with its branches; ``left`` is how many the tree may have yet."""

    def grown() -> Iterator[BranchNode]:
        found = projector.query(_CHILDREN, (node.stream, left[0]))
        left[0] -= len(found)
        for stream, version, changed in found:
            made = BranchNode(stream, node.stream, version, changed, ())
            yield _grown(projector, made, left, depth - 1)

    return node._replace(branches=tuple(grown()) if depth and left[0] > 0 else ())
