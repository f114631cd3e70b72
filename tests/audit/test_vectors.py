"""The vectors of github.com/transparency-dev/merkle: what holds, and what must not."""

from __future__ import annotations

import json
from base64 import b64decode
from collections.abc import Callable
from typing import Any

from refold.audit.verifier.heads import SignedHead, Unverified, check_continued, check_leaf
from tests.audit.others import vectors


def cases(kind: str) -> list[dict[str, Any]]:
    """All vectors of a kind, hashes as bytes; without a value where a field is null."""
    found = []
    for file in sorted((vectors() / kind).rglob("*.json")):
        case = json.loads(file.read_text())
        for name in ("root", "root1", "root2", "leafHash"):
            if name in case:
                case[name] = b64decode(case[name] or "")
        case["proof"] = [b64decode(step) for step in case["proof"] or ()]
        found.append({"file": str(file), **case})
    return found


def refuses(check: Callable[..., object], *arguments: object) -> bool:
    """Whether a check refuses."""
    try:
        check(*arguments)
    except Unverified:
        return True
    return False


def head(size: int, root: bytes) -> SignedHead:
    """A head that somebody signed."""
    return SignedHead("log", size, root, "signed")


def test_inclusion_is_judged_as_the_vectors_say() -> None:
    """By the one-file verifier."""
    found = cases("inclusion")
    assert len(found) > 80
    assert {case["wantErr"] for case in found} == {True, False}
    for case in found:
        at = head(case["treeSize"], case["root"])
        arguments = case["leafHash"], case["leafIdx"], case["proof"], at, "here"
        assert refuses(check_leaf, *arguments) == case["wantErr"], case


def test_consistency_is_judged_as_the_vectors_say() -> None:
    """By the one-file verifier."""
    found = cases("consistency")
    assert len(found) > 80
    assert {case["wantErr"] for case in found} == {True, False}
    for case in found:
        old, new = head(case["size1"], case["root1"]), head(case["size2"], case["root2"])
        assert refuses(check_continued, old, new, case["proof"], "here") == case["wantErr"], case
