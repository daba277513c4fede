"""The dashboard over a tab's store of 1,000 and of 100,000 runs: how soon its views are there."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from .floor import Table, percentile
from .tab_site import measure_in_tabs

_FEW, _MANY = 1000, 100_000
# From a change of the address until what it asks for is there, in ms.
_SHOWN = """([hash, selector, text]) => new Promise((resolve) => {
    const { shadowRoot } = document.querySelector("durable-dashboard");
    const began = performance.now();
    location.hash = hash;
    const look = () => {
        const found = shadowRoot.querySelector(selector);
        if (found?.textContent.includes(text)) resolve(performance.now() - began);
        else requestAnimationFrame(look);
    };
    requestAnimationFrame(look);
})"""


def run(table: Table, rounds: int) -> None:
    measure_in_tabs(partial(_measure, table, rounds))


async def _measure(table: Table, rounds: int, out: Path, folder: Path) -> None:
    from durable_lite.testing import tabs
    from e2e.dashboard import filled, shown
    from e2e.durable_site import serve

    found: dict[str, dict[int, list[float]]] = {}
    with serve(out) as site:
        for count in (_FEW, _MANY):
            async with tabs.suspendable_browser(profile=folder / f"profile-{count}") as browser:
                page = await browser.context.new_page()
                await filled(page, site, f"rows.fill(store, {count})")
                newest = f"many{count - 1:022}"
                await shown(page, site)
                await page.locator(".row[id]").first.wait_for()
                views: list[tuple[str, list[Any]]] = [
                    ("a run's page", [f"#/runs/{newest}", "h2", "job_"]),
                    ("the list", ["#/runs", ".row[id]", "job_"]),
                    ("by job", ["#/runs?job=job_3", ".row[id]", "job_3"]),
                    ("by status", ["#/runs?status=PENDING", ".row[id]", "pending"]),
                ]
                for name, given in views * (1 + 5 * rounds):
                    took = await page.evaluate(_SHOWN, given)
                    found.setdefault(name, {}).setdefault(count, []).append(took)
                await page.close()
    for name, took in found.items():
        few, many = (percentile(sorted(took[count][1:]), 0.5) for count in (_FEW, _MANY))
        table.most(f"dashboard, {name}: {_MANY:,} runs ({many:.0f} ms) over {_FEW:,}", 1.5, [many / few], "x")
