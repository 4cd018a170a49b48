"""The documentation: links lead somewhere, every page is in the site, every package in the map."""

import contextlib
import itertools
import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from typer.main import get_command

from brmrs.config.load import load
from brmrs.errors import UserError
from flows.cli.app import app

ROOT = Path(__file__).parents[1]
MADE = {"index.md", "contributing.md", "changelog.md"}  # by docs/hooks.py
FENCE = re.compile(r"^(```+).*?^\1\s*$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#+ +(.+?) *$", re.MULTILINE)


def pages() -> list[Path]:
    listed = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "*.md"]
    done = subprocess.run(listed, cwd=ROOT, capture_output=True, text=True, check=False)
    found = [ROOT / name for name in done.stdout.splitlines()]
    if not found:  # no git, as in an unpacked source archive
        found = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")]
    return sorted(path for path in found if path.is_file())


def slug(heading: str) -> str:
    """The anchor of a heading, as GitHub makes it."""
    plain = re.sub(r"[`*]|\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower()
    return re.sub(r"[^\w\- ]", "", plain).replace(" ", "-")


def broken(page: Path) -> Iterator[str]:
    for target in LINK.findall(FENCE.sub("", page.read_text(encoding="utf-8"))):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        file = (page.parent / name).resolve() if name else page
        if not file.is_relative_to(ROOT) or not file.exists():
            yield target
        elif anchor and file.suffix == ".md":
            headings = HEADING.findall(FENCE.sub("", file.read_text(encoding="utf-8")))
            if anchor not in map(slug, headings):
                yield target


@pytest.mark.parametrize("page", pages(), ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(page: Path) -> None:
    assert list(broken(page)) == []


def test_a_broken_link_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(f"{__name__}.ROOT", tmp_path)
    page = tmp_path / "page.md"
    page.write_text(
        "# One `two`\n[a](#one-two) [b](gone.md) [c](#gone) [d](page.md#one-two) [e](../x.md)\n"
        "```\n[in code](gone.md)\n```\n"
    )
    assert list(broken(page)) == ["gone.md", "#gone", "../x.md"]


def test_every_page_is_in_the_navigation_once() -> None:
    listed: list[str] = []
    todo = list(yaml.safe_load((ROOT / "mkdocs.yml").read_text())["nav"])
    while todo:
        entry = todo.pop()
        if isinstance(entry, dict):
            (value,) = entry.values()
            todo += value if isinstance(value, list) else [value]
        else:
            listed.append(entry)
    docs = ROOT / "docs"
    there = {path.relative_to(docs).as_posix() for path in pages() if path.is_relative_to(docs)}
    assert sorted(listed) == sorted(there | MADE)


def test_the_map_has_every_package() -> None:
    text = (ROOT / "docs" / "layout.md").read_text()
    for package in ("brmrs", "tasks", "flows"):
        for init in (ROOT / package).rglob("__init__.py"):
            assert re.search(rf"^ *{init.parent.name}/ ", text, re.MULTILINE), init.parent


def test_every_command_is_on_its_page() -> None:
    text = (ROOT / "docs" / "commands.md").read_text()
    names = {command.name for command in get_command(app).commands.values()}  # type: ignore[attr-defined]
    assert names
    assert {name for name in names if f"`brmrs {name}" not in text} == set()


def commands() -> Iterator[tuple[Path, list[str]]]:
    """Every `brmrs` command in the pages that is given settings, in words; not those of the log."""
    for page in pages():
        if "lab" in page.parts or page.name == "CHANGELOG.md":
            continue
        text = page.read_text(encoding="utf-8").replace("\\\n", " ")
        for line in re.findall(r"brmrs (?:run|plan|benchmark|tune|retrain) [^`\n]*", text):
            with contextlib.suppress(ValueError):  # a quote that the prose closes
                yield page, shlex.split(line.partition(" # ")[0].partition(" && ")[0])


def test_the_settings_in_the_pages_exist() -> None:
    checked, faults = 0, []
    for page, given in commands():
        pairs = list(itertools.pairwise(given))
        files = [ROOT / value for option, value in pairs if option == "-c"]
        overrides = [value for option, value in pairs if option == "--set"]
        if not files or not all(file.is_file() for file in files) or "..." in given:
            continue
        checked += 1
        try:
            load(files[0], tuple(overrides), tuple(files[1:]))
        except UserError as error:
            faults.append(f"{page.relative_to(ROOT)}: {shlex.join(given)}: {error}")
    assert not faults
    assert checked > 10
