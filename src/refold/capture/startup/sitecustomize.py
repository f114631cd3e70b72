"""Begins the capture in a Python process of ``refold run``.

Python imports a module of this name as it starts; the folder is on the path of no other process.
A ``sitecustomize`` of the user's own is run as it would have been.
"""

import os
import sys
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

if "REFOLD_RUN_URL" in os.environ:
    here = str(Path(__file__).parent)
    sys.path[:] = [each for each in sys.path if each != here]
    try:
        import_module("refold.capture.run").attach()
    except Exception as error:
        print(f"refold run: {sys.executable} records nothing: {error}", file=sys.stderr)
    this = sys.modules.pop("sitecustomize")
    if find_spec("sitecustomize") is not None:
        import_module("sitecustomize")
    sys.modules.setdefault("sitecustomize", this)
