"""Which pages the site of `make docs` has, and in which order: hooks of MkDocs (mkdocs.yml).

Pages are the Markdown files of the project, each at its place. Their order is that of
`docs/index.md`. To them comes a page for each public module, made of its docstrings.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from pymdownx.slugs import slugify

from tools.site.reference import page

ROOT: Final = Path(__file__).resolve().parents[2]
INDEX: Final = "docs/index.md"
FOLDERS: Final = ("docs", "examples", "tools/site")
SUFFIXES: Final = (".md", ".png", ".css", ".js", ".svg", ".py", ".toml")
OF_THE_PROJECT: Final = {
    "Changes": "CHANGELOG.md",
    "Architecture": "ARCHITECTURE.md",
    "Contributing": "CONTRIBUTING.md",
    "Style": "STYLE.md",
}
_SECTION: Final = re.compile(r"^## (.+)$", re.MULTILINE)
_ENTRY: Final = re.compile(r"^(?:-|\d+\.) \[(.+?)\]\((.+?)\)", re.MULTILINE)


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Headings have the anchors that a code host gives them."""
    config.mdx_configs["toc"]["slugify"] = slugify(case="lower")
    return config


def on_files(files: Files, *, config: MkDocsConfig) -> Files:
    """The files of the project that are pages or pictures, and the reference."""
    named = [File(name, str(ROOT), config.site_dir, False) for name in paths()]
    made = [File.generated(config, page_of(module), content=page(module)) for module in modules()]
    config.nav = navigation()
    of_the_theme = [file for file in files if file.src_dir != config.docs_dir]
    return Files([*named, *made, *of_the_theme])


def paths() -> list[str]:
    """What the site is made of, from the root of the project."""
    tops = ["README.md", "LICENSE", *OF_THE_PROJECT.values()]
    found = (path for folder in FOLDERS for path in (ROOT / folder).rglob("*"))
    return tops + sorted(str(p.relative_to(ROOT)) for p in found if p.suffix in SUFFIXES)


def modules() -> list[str]:
    """The public modules: those that the overview in docs/reference/python.md has a section of."""
    return _SECTION.findall((ROOT / "docs" / "reference" / "python.md").read_text())


def page_of(module: str) -> str:
    """Where the page of a module is."""
    return f"docs/reference/api/{module}.md"


def navigation() -> list[Any]:
    """The sections of docs/index.md, with the modules after what is looked up."""
    _, *parts = _SECTION.split((ROOT / INDEX).read_text())
    sections: dict[str, list[Any]] = {
        name: list(entries(text)) for name, text in zip(parts[::2], parts[1::2], strict=True)
    }
    sections["Look it up"].append({"Python, module by module": list(map(page_of, modules()))})
    project = [{title: name} for title, name in OF_THE_PROJECT.items()]
    return [
        {"refold": ["README.md", {"All pages": INDEX}]},
        *({name: pages} for name, pages in sections.items()),
        {"The project": project},
    ]


def entries(text: str) -> Iterator[dict[str, str]]:
    """The pages that a section names, each with its title."""
    for title, link in _ENTRY.findall(text):
        path = ((ROOT / INDEX).parent / link).resolve().relative_to(ROOT)
        if str(path) not in OF_THE_PROJECT.values():
            yield {title.replace("`", ""): str(path)}
