"""A zip that depends on nothing but its members: no dates, no order, nothing deflated.

Brotli can't shrink what is deflated already, and shrinks a stored archive better than deflate does.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping

__all__ = ["members_of", "stored"]

_EPOCH = (1980, 1, 1, 0, 0, 0)  # a zip knows no earlier time


def stored(members: Mapping[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name in sorted(members):
            info = zipfile.ZipInfo(name, _EPOCH)
            info.create_system, info.external_attr = 3, 0o644 << 16  # Unix, wherever it is made
            archive.writestr(info, members[name])
    return buffer.getvalue()


def members_of(data: bytes) -> dict[str, bytes]:
    """The files in a zip, without its folders."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return {name: archive.read(name) for name in archive.namelist() if not name.endswith("/")}
