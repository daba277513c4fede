"""The files that the server gives to browsers: dashboard, modules, our wheel, and Pyodide where it is."""

from __future__ import annotations

import hashlib
import mimetypes
import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, RedirectResponse, Response
from starlette.routing import Route

from ..errors import InvalidOption
from ..web.modules import dashboard_files, page_modules
from ..web.pyodide import find
from ..web.serve import TYPES
from ..web.wheel import make_wheel, members

__all__ = ["assets"]

_TEXT = "no-cache"  # asked for again each time, and answered by the tag that it has


def assets() -> list[Route]:
    """`/` leads to the dashboard; `/web/…` are modules and our wheel, `/pyodide/…` Pyodide's files."""
    return [
        Route("/", _home),
        Route("/web/{path:path}", _module),
        Route("/pyodide/{path:path}", _of_pyodide),
    ]


async def _home(request: Request) -> Response:
    return RedirectResponse(f"{request.scope.get('root_path', '')}/web/dashboard/index.html?server=../..")


async def _module(request: Request) -> Response:
    name = request.path_params["path"]
    data = _modules().get(name)
    if data is None:
        raise HTTPException(404)
    headers = _headers(data)
    return _unchanged(request, headers) or Response(data, headers=headers, media_type=_kind(name))


async def _of_pyodide(request: Request) -> Response:
    folder, name = _pyodide(), request.path_params["path"]
    if folder is None or not _is_name(name) or not (folder / name).is_file():
        raise HTTPException(404)
    return _file(request, folder / name)


_is_name = re.compile(r"[A-Za-z0-9_@+-][A-Za-z0-9_@+.-]{0,199}").fullmatch


def _file(request: Request, path: Path) -> Response:
    told = path.stat()
    headers = _headers(f"{path}-{told.st_size}-{told.st_mtime_ns}".encode())
    return _unchanged(request, headers) or FileResponse(path, headers=headers, media_type=_kind(path.name))


def _headers(content: bytes) -> dict[str, str]:
    return {"etag": f'"{hashlib.sha256(content).hexdigest()[:20]}"', "cache-control": _TEXT}


def _unchanged(request: Request, headers: dict[str, str]) -> Response | None:
    """The answer to a browser that has it already."""
    known = [one.strip().removeprefix("W/") for one in request.headers.get("if-none-match", "").split(",")]
    return Response(status_code=304, headers=headers) if headers["etag"] in known else None


def _kind(name: str) -> str:
    suffix = Path(name).suffix.lower()
    return TYPES.get(suffix) or mimetypes.guess_type(name)[0] or "application/octet-stream"


@cache
def _modules() -> Mapping[str, bytes]:
    """What may be asked for, by its path, joined as in a static build."""
    wheel = make_wheel(members())
    return page_modules() | dashboard_files() | {f"wheels/{wheel.filename}": wheel.data}


@cache
def _pyodide() -> Path | None:
    try:
        return find(start=Path(__file__).parent).folder
    except InvalidOption:
        return None
