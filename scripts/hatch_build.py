"""Puts the ES modules of `web/` into the wheel, where `durable_lite.web.modules` looks for them."""

import sys
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class ModulesHook(BuildHookInterface):
    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if version == "editable":  # the repository is there
            return
        sys.path.insert(0, self.root)
        try:
            from durable_lite.web.modules import ASSETS, dashboard_in, modules_in
        finally:
            sys.path.remove(self.root)
        if not Path(self.root, "web/types").is_dir():
            self.app.display_warning(
                "no web/types: the wheel has no declarations for TypeScript (make types)"
            )
        web = Path(self.root, "web")
        dashboard = dashboard_in(web)
        if not dashboard:
            self.app.display_warning(
                "no web/dashboard/vendor: the wheel has no dashboard (scripts/vendor.py)"
            )
        for name, path in (modules_in(web) | dashboard).items():
            build_data["force_include"][str(path)] = f"{ASSETS}/{name}"
