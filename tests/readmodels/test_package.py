"""`refold.readmodels`: what it exports, and when it loads what."""

import subprocess
import sys
from decimal import Decimal

import refold.readmodels as readmodels
from refold.conversation import ModelResponse, ToolCall, ToolResult
from refold.projections.projection import by_name
from refold.readmodels.spending import COSTS, CostRow
from refold.testing import given


def test_it_exports_the_read_models_and_the_list_of_them() -> None:
    """`built_in` gives all, and each is an attribute by its name."""
    assert readmodels.__all__ == ["Wanted", "built_in", "find"]
    names = {one.name: one for one in readmodels.built_in()}
    listed = ["conversations", "tool_usage", "costs", "customers", "search", "branches"]
    assert list(names) == listed
    assert names == {name: getattr(readmodels, name) for name in names}


def test_they_can_be_kept_together() -> None:
    """No two of them have a table or view of the same name."""
    assert len(by_name(readmodels.built_in())) == 6


def test_they_can_be_tested_as_sentences() -> None:
    """`refold.testing` takes them as it takes anybody's projections."""
    call = ToolCall(call_id="c1", name="find")
    given(readmodels.tool_usage, call, ToolResult(call_id="c1", latency_ms=9)).then_selected(
        "SELECT tool, calls, errors, p99_ms FROM tool_usage", [("find", 1, 0, 9.0)]
    )
    price = ModelResponse(model="m", cost=Decimal("0.10"))
    given(readmodels.costs, price, price).then_rows(
        COSTS, [CostRow("1970-01-01", "", "m", "USD", answers=2, cost=Decimal("0.20"))]
    )


def test_the_package_loads_nothing_before_it_is_asked_for() -> None:
    """Whoever names it pays for a read model when they use one."""
    program = (
        "import sys, refold.readmodels\n"
        "early = [name for name in sys.modules if name.startswith('refold.readmodels.')]\n"
        "refold.readmodels.costs\n"
        "late = [name for name in sys.modules if name.endswith('readmodels.listing')]\n"
        "print(early, late)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("[] []\n", "")
