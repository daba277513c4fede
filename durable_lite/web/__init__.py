"""The static build, which lets a page run jobs in its tab, and a server to try it out.

`build.build` writes a folder for any static host, and `serve.Server` serves one on this machine; both
are behind the command `durable-lite web`. Nothing here is part of what runs in the tab.
"""

from __future__ import annotations
