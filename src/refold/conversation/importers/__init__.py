"""Importers: conversations from elsewhere into a log, a module a format, one driver for all."""

from refold.conversation.importers.driver import FORMATS, import_files
from refold.conversation.importers.shapes import (
    Fork,
    Found,
    Importer,
    ImportReport,
    Options,
    Problem,
    Progress,
)

__all__ = [
    "FORMATS",
    "Fork",
    "Found",
    "ImportReport",
    "Importer",
    "Options",
    "Problem",
    "Progress",
    "import_files",
]
