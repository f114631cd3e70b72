"""A log to import into, on each backend."""

from tests.conversation.importers.conftest import store as store
