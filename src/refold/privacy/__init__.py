"""Personal data: protected where it is stored, redacted, erased, held and retained by policy.

A value that is declared personal stands in the log as an envelope: encrypted under a key of its
subject, with a commitment that proves what it was. docs/how-to/protect-personal-data.md::

    privacy = Privacy(keyring=load_keyring("agents.keyring"), fields=CONVERSATION)
    with refold.open("agents.db", privacy=privacy) as store:
        ...
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from refold.privacy.access import reading_as
    from refold.privacy.detecting import Detect
    from refold.privacy.envelope import is_withheld
    from refold.privacy.fields import CONVERSATION
    from refold.privacy.keyring import load_keyring, new_keyring, save_keyring
    from refold.privacy.privacy import Privacy

# Imported when first asked for: the parts of a proof need one module of them alone.
_NAMES = {
    "access": ["reading_as"],
    "detecting": ["Detect"],
    "envelope": ["is_withheld"],
    "fields": ["CONVERSATION"],
    "keyring": ["load_keyring", "new_keyring", "save_keyring"],
    "privacy": ["Privacy"],
}
_MODULE_OF = {name: module for module, names in _NAMES.items() for name in names}

__all__ = [
    "CONVERSATION",
    "Detect",
    "Privacy",
    "is_withheld",
    "load_keyring",
    "new_keyring",
    "reading_as",
    "save_keyring",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module 'refold.privacy' has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(f"refold.privacy.{_MODULE_OF[name]}"), name)
    return value
