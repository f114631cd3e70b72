"""docs/reference/events.md is what the event classes say."""

import subprocess
import sys

from tests.house.tree import ROOT

PAGE = ROOT / "docs" / "reference" / "events.md"


def test_the_page_is_current() -> None:
    """Every event type stands on the page with its fields, as the classes define them now.

    In a process of its own, where no test has registered events.
    """
    made = subprocess.run(
        [sys.executable, ROOT / "tools" / "events_reference.py"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert PAGE.read_text() == made, "run: .venv/bin/python tools/events_reference.py >" + str(PAGE)


def test_every_event_type_of_the_package_is_on_the_page() -> None:
    """No module of the package defines event types that the page leaves out."""
    program = (
        "import pkgutil, refold\n"
        "for module in pkgutil.walk_packages(refold.__path__, 'refold.'):\n"
        "    if not module.name.endswith('__main__'): __import__(module.name)\n"
        "from refold.core.registry import default_registry\n"
        "print(*(kind.tag for kind in default_registry.kinds()))\n"
    )
    tags = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    ).stdout.split()
    assert len(tags) > 30
    page = PAGE.read_text()
    assert [tag for tag in tags if f"### {tag}\n" not in page] == []
