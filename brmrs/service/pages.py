"""The files of the page."""

from pathlib import Path

from fastapi import APIRouter, Response
from fastapi.responses import FileResponse

from brmrs.service.problem import Problem

FOLDER = Path(__file__).parent / "page"
START = "index.html"
KINDS = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".woff2": "font/woff2",
}
CACHE = {"cache-control": "no-cache"}  # asks each time, and gets 304 while nothing changed

router = APIRouter(include_in_schema=False)


@router.get("/")
async def start() -> Response:
    """The page."""
    return _file(START)


@router.get("/page/{path:path}")
async def page(path: str) -> Response:
    """A file of the page."""
    return _file(path)


def _file(path: str) -> Response:
    if path not in _names():
        raise Problem(404, "no such file of the page")
    return FileResponse(FOLDER / path, headers=CACHE, media_type=KINDS[Path(path).suffix])


def _names() -> set[str]:
    """The files that the page consists of: only these are given out."""
    return {
        file.relative_to(FOLDER).as_posix()
        for file in FOLDER.rglob("*")
        if file.is_file() and file.suffix in KINDS
    }
