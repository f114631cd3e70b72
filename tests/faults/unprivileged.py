"""A call made by a user who may not do everything: permission bits do not hold for root."""

from __future__ import annotations

import gc
import os
import pickle
import traceback
import warnings
from collections.abc import Callable
from typing import Any, NoReturn

NOBODY = 65534


def unprivileged(call: Callable[[], Any]) -> Any:
    """What the call answers, or the error it raises, in a child process that is not root.

    What it needs must be imported before: the child may not read where Python lives.
    """
    gc.collect()  # What tests left broken off would be told to the child as in use.
    reading, writing = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # threads: none of them is used there
        child = os.fork()
    if child == 0:
        os.close(reading)
        _answer(call, writing)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        answer = pipe.read()
    os.waitpid(child, 0)
    return pickle.loads(answer)


def _answer(call: Callable[[], Any], writing: int) -> NoReturn:
    """Send the answer and end, without anything that the test's own process would do at its end."""
    try:
        if os.geteuid() == 0:
            os.setgroups([])
            os.setgid(NOBODY)
            os.setuid(NOBODY)
        answer = pickle.dumps(call())
    except Exception as error:
        answer = _pickled(error)
    with os.fdopen(writing, "wb") as pipe:
        pipe.write(answer)
    os._exit(0)


def _pickled(error: Exception) -> bytes:
    try:
        return pickle.dumps(error)
    except Exception:
        return pickle.dumps(AssertionError("".join(traceback.format_exception(error))))
