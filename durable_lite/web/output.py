"""The folder of a build: nothing of others is touched, and the last build works until the next is whole.

Files that the manifest names have other names when they have other bytes, so they are put beside the
old ones; the manifest comes after them, and what it no longer names goes last.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path

from ..errors import InvalidOption
from .manifest import NAME, File, read_manifest

__all__ = ["Output"]

_PARTS = ".durable-lite-parts"  # files on their way: an interrupted build leaves it, the next removes it
BR = ".br"


class Output:
    """A folder that a build may write to. Raises InvalidOption if it is somebody else's."""

    def __init__(self, folder: Path, *, force: bool = False) -> None:
        self.folder, self._force = folder, force
        if folder.exists() and not folder.is_dir():
            raise InvalidOption("--out", f"{folder} is a file")
        self.old = read_manifest(folder)
        mine = self.old is not None or force
        if not mine and folder.is_dir() and any(path.name != _PARTS for path in folder.iterdir()):
            raise InvalidOption(
                "--out", f"{folder} isn't empty, and no build has made it; name another, or say --force"
            )
        if not folder.absolute().parent.is_dir():
            raise InvalidOption("--out", f"{folder.parent}: there is no such folder")

    def check(self, urls: Iterable[str]) -> None:
        """Raises InvalidOption if somebody else's file has a name that the build needs."""
        mine = {NAME, *self._written()}
        for url in urls:
            path = self.folder / url
            if not self._force and url not in mine and path.exists():
                raise InvalidOption("--out", f"{path}: no build has written it; move it, or say --force")

    def read(self, url: str) -> bytes | None:
        """The bytes of a file that an earlier build wrote."""
        if self.old is None or url.removesuffix(BR) not in self.old.files:
            return None
        try:
            return (self.folder / url).read_bytes()
        except OSError:
            return None

    def made(self, key: str) -> bytes | None:
        """What an earlier build made from the same, if nobody has changed it since."""
        for url, entry in self.old.files.items() if self.old is not None else ():
            if entry.get("made_from") == key:
                data = self.read(url)
                if data is not None and hashlib.sha256(data).hexdigest() == entry.get("sha256"):
                    return data
        return None

    def write(
        self, files: Mapping[str, File], brotli: Mapping[str, bytes], manifest: Mapping[str, bytes]
    ) -> int:
        """Put everything in place and remove what is no longer part of it; how many files are new."""
        wanted: dict[str, bytes] = {url: file.data for url, file in files.items()}
        wanted |= {url + BR: data for url, data in brotli.items()}
        changed = {url: data for url, data in (wanted | dict(manifest)).items() if not self._has(url, data)}
        old = self._written()
        try:
            self.folder.mkdir(exist_ok=True)
            self._put(changed, last=list(manifest))
            self._remove(old - set(wanted) - set(manifest))
        except OSError as error:
            raise InvalidOption("--out", f"{error.filename or self.folder}: {error.strerror}") from None
        return len(changed)

    def _put(self, changed: Mapping[str, bytes], last: list[str]) -> None:
        parts = self.folder / _PARTS
        shutil.rmtree(parts, ignore_errors=True)
        if not changed:
            return
        parts.mkdir()
        try:
            # A full disk shows here, while nothing has been replaced yet.
            for number, data in enumerate(changed.values()):
                (parts / str(number)).write_bytes(data)
            numbered = {url: parts / str(number) for number, url in enumerate(changed)}
            for url in sorted(numbered, key=lambda url: (url in last, url.endswith(BR), url)):
                target = self.folder / url
                target.parent.mkdir(parents=True, exist_ok=True)
                os.replace(numbered[url], target)
        finally:
            shutil.rmtree(parts, ignore_errors=True)

    def _remove(self, urls: Iterable[str]) -> None:
        for url in urls:
            path = self.folder / url
            path.unlink(missing_ok=True)
            for above in path.relative_to(self.folder).parents[:-1]:
                with contextlib.suppress(OSError):  # somebody's file is in it
                    (self.folder / above).rmdir()

    def _has(self, url: str, data: bytes) -> bool:
        path = self.folder / url
        try:
            return path.stat().st_size == len(data) and path.read_bytes() == data
        except OSError:
            return False

    def _written(self) -> set[str]:
        """What earlier builds wrote here, without the manifest."""
        if self.old is None:
            return set()
        siblings = {url + BR for url, entry in self.old.files.items() if "brotli" in entry}
        return {*self.old.files, *siblings, NAME + BR}
