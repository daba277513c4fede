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
from ..web.modules import dashboard_in, modules_folder, modules_in
from ..web.pyodide import find
from ..web.serve import TYPES

__all__ = ["assets"]

_TEXT = "no-cache"  # asked for again each time, and answered by the tag that it has


def assets() -> list[Route]:
    """`/` leads to the dashboard; `/web/…` are modules, `/pyodide/…` Pyodide's files."""
    return [
        Route("/", _home),
        Route("/web/{path:path}", _module),
        Route("/pyodide/{path:path}", _of_pyodide),
    ]


async def _home(request: Request) -> Response:
    return RedirectResponse(f"{request.scope.get('root_path', '')}/web/dashboard/index.html")


async def _module(request: Request) -> Response:
    path = _modules().get(request.path_params["path"])
    if path is None:
        raise HTTPException(404)
    return _file(request, path)


async def _of_pyodide(request: Request) -> Response:
    folder, name = _pyodide(), request.path_params["path"]
    if folder is None or not _is_name(name) or not (folder / name).is_file():
        raise HTTPException(404)
    return _file(request, folder / name)


_is_name = re.compile(r"[A-Za-z0-9_@+-][A-Za-z0-9_@+.-]{0,199}").fullmatch


def _file(request: Request, path: Path) -> Response:
    told = path.stat()
    tag = f'"{hashlib.sha256(f"{path}-{told.st_size}-{told.st_mtime_ns}".encode()).hexdigest()[:20]}"'
    headers = {"etag": tag, "cache-control": _TEXT}
    if tag in [one.strip().removeprefix("W/") for one in request.headers.get("if-none-match", "").split(",")]:
        return Response(status_code=304, headers=headers)
    kind = TYPES.get(path.suffix.lower()) or mimetypes.guess_type(path.name)[0] or "application/octet-stream"
    return FileResponse(path, headers=headers, media_type=kind)


@cache
def _modules() -> Mapping[str, Path]:
    """What may be asked for, by its path: whatever else is in the folder isn't there."""
    folder = modules_folder()
    return {} if folder is None else modules_in(folder) | dashboard_in(folder)


@cache
def _pyodide() -> Path | None:
    try:
        return find(start=Path(__file__).parent).folder
    except InvalidOption:
        return None
