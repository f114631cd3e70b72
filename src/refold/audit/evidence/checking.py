"""Files for strangers, checked by the program that strangers check them with."""

from __future__ import annotations

import io
from collections.abc import Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import NamedTuple

from refold.audit.verifier.heads import Unverified, WrongUse, signed_head, trusted_key
from refold.audit.verifier.program import verify
from refold.audit.verifier.proofs import VerifierOptions
from refold.errors import UsageError


class CheckedFile(NamedTuple):
    """Whether a file is verified, what was said of it in all, and of its parts."""

    is_verified: bool
    said: str
    details: Sequence[str]


def check_file(file: Path, *, keys: Sequence[str], against: Sequence[str] = ()) -> CheckedFile:
    """Verify a checkpoint, a proof, an export or a bundle of evidence.

    The first of ``keys`` is the log's verifying key, the others are witnesses' that must have
    signed; each is its text, or the name of a file. ``against`` names files of older checkpoints,
    for an export. Raises :class:`~refold.errors.UsageError` for what can be no such call.
    """
    printed = io.TextIOWrapper(io.BytesIO(), "utf-8", newline="\n")
    try:
        trusted = [trusted_key(key) for key in keys]
        with file.open("rb") as opened, redirect_stdout(printed):
            heads = [signed_head(Path(one).read_text(), trusted[:1], one) for one in against]
            said = verify(opened, VerifierOptions(trusted, heads, show=False), str(file))
            is_verified = True
    except Unverified as finding:
        is_verified, said = False, str(finding)
    except (WrongUse, UnicodeDecodeError) as error:
        raise UsageError(str(error), file=str(file)) from error
    except OSError as error:
        why = f"{error.filename or file} cannot be read: {error.strerror}"
        raise UsageError(why, file=str(file)) from error
    printed.seek(0)
    return CheckedFile(is_verified, said, [line.strip() for line in printed])
