"""What a user gets: the built wheel, in an environment that holds nothing else."""

import os
import subprocess
from pathlib import Path

import pytest

from tests.house.tree import BIN, ROOT

# `pip install refold` stays small enough for a function's image.
INSTALLED_BYTES_MAX = 50_000_000
UV = str(BIN / "uv")


def run(*command: str, folder: Path, **environment: str) -> str:
    """What a command prints; the test fails with its stderr when the command does."""
    inherited = {
        name: value
        for name, value in os.environ.items()
        if name not in {"PYTHONPATH", "VIRTUAL_ENV"} and not name.startswith("REFOLD_")
    }
    own = {"UV_CACHE_DIR": str(ROOT / ".cache" / "uv"), "UV_PYTHON_DOWNLOADS": "never"}
    done = subprocess.run(
        command,
        cwd=folder,
        env=inherited | own | environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from the tree by the locked builder."""
    out = tmp_path_factory.mktemp("dist")
    python = str(BIN / "python")
    build = [UV, "build", "--wheel", "--no-build-isolation", "--python", python, "-o", str(out)]
    run(*build, folder=ROOT)
    (built,) = out.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment with the wheel and its dependencies as locked, and nothing else.

    The lock names each file, so what setup has fetched is enough and no index is asked.
    """
    environment = tmp_path_factory.mktemp("clean") / "env"
    python = str(environment / "bin" / "python")
    run(UV, "venv", "--python", str(BIN / "python"), str(environment), folder=ROOT)
    sync = [UV, "sync", "--frozen", "--no-default-groups", "--no-install-project"]
    run(*sync, folder=ROOT, UV_PROJECT_ENVIRONMENT=str(environment))
    run(UV, "pip", "install", "--no-deps", "--python", python, str(wheel), folder=ROOT)
    return environment


def stated_version() -> str:
    """The version as the source states it."""
    text = (ROOT / "src" / "refold" / "_version.py").read_text()
    return text.partition('__version__ = "')[2].partition('"')[0]


def test_the_wheel_asks_for_what_it_gets(installed: Path) -> None:
    """The locked versions satisfy every requirement that the wheel states."""
    run(UV, "pip", "check", "--python", str(installed / "bin" / "python"), folder=installed)


def test_the_installed_command_knows_its_version(installed: Path) -> None:
    """`refold --version` of the installed wheel prints the version of the source."""
    printed = run(str(installed / "bin" / "refold"), "--version", folder=installed)
    assert stated_version() in printed.split()


def test_the_installed_module_is_the_same_program(installed: Path) -> None:
    """`python -m refold --version` prints what `refold --version` does."""
    python = str(installed / "bin" / "python")
    printed = run(python, "-m", "refold", "--version", folder=installed)
    assert printed == run(str(installed / "bin" / "refold"), "--version", folder=installed)


def test_the_wheel_brings_its_types_and_its_data(wheel: Path, installed: Path) -> None:
    """Every file of the package in the source is in the installed package too."""
    (package,) = installed.glob("lib/python*/site-packages/refold")
    source = ROOT / "src" / "refold"
    expected = {
        path.relative_to(source)
        for path in source.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert expected - {path.relative_to(package) for path in package.rglob("*")} == set()


@pytest.mark.parametrize("extra", ["langgraph", "openai-agents", "claude-agent-sdk", "pydantic-ai"])
def test_what_an_extra_brings_is_asked_for_by_its_name(installed: Path, extra: str) -> None:
    """Without its framework an adapter says what to install."""
    python, module = str(installed / "bin" / "python"), f"refold.{extra.replace('-', '_')}"
    tried = f"try:\n import {module}\nexcept ModuleNotFoundError as e:\n print(e)"
    assert f"pip install 'refold[{extra}]'" in run(python, "-c", tried, folder=installed)


def test_the_base_install_is_small(installed: Path) -> None:
    """Without extras the installed packages take at most 50 MB."""
    (packages,) = installed.glob("lib/python*/site-packages")
    sizes = [path.stat().st_size for path in packages.rglob("*") if path.is_file()]
    assert sum(sizes) <= INSTALLED_BYTES_MAX
