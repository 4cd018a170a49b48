"""Hooks of mkdocs: pages that are made from files outside docs/, and the API reference.

README.md becomes the front page; CONTRIBUTING.md and CHANGELOG.md become pages. Each package of
the library gets a page made from its docstrings. Links from a page to a source file become text.
"""

import posixpath
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[1]
PAGES = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
}
LINK = re.compile(r"(!?\[)([^\]]*)\]\(([^)#\s]+)((?:#[^)\s]*)?)\)")


def packages() -> list[str]:
    """Every package and top-level module of the library."""
    found = [path.parent for path in (ROOT / "brmrs").glob("*/__init__.py")]
    modules = [path.with_suffix("") for path in (ROOT / "brmrs").glob("[a-z]*.py")]
    return sorted(f"brmrs.{path.name}" for path in (*found, *modules))


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Add the reference to the navigation."""
    pages = [{name: f"reference/{name}.md"} for name in packages()]
    config.nav.insert(-1, {"API reference": pages})
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the generated pages."""
    for source, page in PAGES.items():
        text = (ROOT / source).read_text(encoding="utf-8")
        files.append(File.generated(config, page, content=text))
    for name in packages():
        files.append(File.generated(config, f"reference/{name}.md", content=f"::: {name}\n"))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Point links, which are those of the repository, at the pages of the site.

    Of a link to a file that is no page, such as a module, only the text remains.
    """
    del config, files
    here = page.file.src_uri
    folder = posixpath.dirname(here)
    base = "" if here in PAGES.values() else posixpath.join("docs", folder)

    def moved(found: re.Match[str]) -> str:
        opening, text, target, rest = found.groups()
        if "://" in target:
            return found.group(0)
        path = posixpath.normpath(posixpath.join(base, target))
        inside = PAGES.get(path, path.removeprefix("docs/"))
        if inside == path and (ROOT / path).exists():
            return text
        return f"{opening}{text}]({posixpath.relpath(inside, folder or '.')}{rest})"

    return LINK.sub(moved, markdown)
