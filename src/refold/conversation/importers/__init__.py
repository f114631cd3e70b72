"""Importers: conversations from elsewhere into a log, a module a format, one driver for all.

Another format is an :class:`Importer` of its own: given to :func:`import_files`, or named by an
entry point of the group ``refold.importers``, which makes it a command of ``refold import`` too.
"""

from refold.conversation.importers.base import Importer
from refold.conversation.importers.driver import ImportReport, import_files

__all__ = ["ImportReport", "Importer", "import_files"]
