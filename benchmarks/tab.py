"""The store in a tab: steps a second against plain JavaScript, and how soon a page is of use."""

from __future__ import annotations

import json
import time
from functools import partial
from pathlib import Path
from typing import Any

from .floor import Table, percentile
from .tab_site import measure_in_tabs


def run(table: Table, rounds: int) -> None:
    measure_in_tabs(partial(_measure, table, rounds))


async def _measure(table: Table, rounds: int, out: Path, folder: Path) -> None:
    from durable_lite.testing import tabs
    from e2e.durable_site import serve

    with serve(out) as site:
        async with tabs.suspendable_browser(profile=folder / "profile") as browser:
            context = browser.context

            async def opened(store: str = "bench", **options: Any) -> Any:
                page = await context.new_page()
                await page.goto(site.url(store=f"indexeddb:{store}", **options))
                await tabs.until(lambda: page.evaluate("window.ready"), why="the tab is open")
                return page

            async def result(page: Any, job: str, **payload: Any) -> Any:
                return await page.evaluate(
                    "async ([job, payload]) => (await tab.trigger(job, payload)).result()", [job, payload]
                )

            usable = []
            for _ in range(12):
                page = await context.new_page()
                await page.goto(site.url(store="indexeddb:bench"))
                await tabs.until(lambda page=page: page.evaluate("window.ready"), why="the tab is open")
                usable.append(await page.evaluate("window.usable"))
                await page.close()
            first, warm = usable[0], sorted(usable[2:])
            table.most("page opened to usable, first visit", 200, [first], "ms", 0)
            table.most("page opened to usable, warm, p50", 100, [percentile(warm, 0.5)], "ms", 0)

            for durability, least in (("relaxed", 0.40), ("strict", 0.45)):
                page = await opened(f"steps-{durability}", durability=durability, concurrency=40)
                await result(page, "sequential", count=50)
                ratios, figures, shared = [], [], []
                for _ in range(rounds):
                    before = await result(page, "floor", count=300, durability=durability)
                    ours = await result(page, "sequential", count=300)
                    floor = (before + await result(page, "floor", count=300, durability=durability)) / 2
                    ratios.append(floor / ours)
                    figures.append(ours)
                    start = time.perf_counter()
                    await page.evaluate(
                        """async () => {
                          const runs = [];
                          for (let i = 0; i < 32; i++) {
                            runs.push(await tab.trigger("sequential", { count: 40 }));
                          }
                          await Promise.all(runs.map((run) => run.result()));
                        }"""
                    )
                    each = (time.perf_counter() - start) * 1000 / (32 * 40)
                    shared.append(ours / each)
                table.ratio(f"sequential steps in the tab, {durability}, of plain JavaScript", least, ratios)
                table.most(f"one step, {durability}", 1000, figures, "ms")
                table.ratio(f"32 concurrent runs, {durability}, of sequential", 2, shared)
                await page.close()

            # A pending run, triggered by a page that executes nothing.
            delays, bare = [], []
            site.files |= _bare_pages(out)
            for _ in range(2 + 2 * rounds):
                watcher = await opened("first", worker=False)
                made = await watcher.evaluate("async () => (await tab.trigger('marked', {})).id")
                page = await context.new_page()
                await page.goto(site.url(store="indexeddb:first"))
                ask = partial(_output, watcher, made)
                found = await tabs.until(ask, why="the run ends", timeout=30)
                delays.append(found - await page.evaluate("performance.timeOrigin"))
                await page.close()
                await watcher.close()
                # In a page, and so a process, of its own: within one, Pyodide is compiled once.
                page = await context.new_page()
                await page.goto(f"{site.base}/bare.html")
                bare.append(await tabs.until(partial(page.evaluate, "window.booted"), why="it boots"))
                await page.close()
            delays, bare = delays[2:], bare[2:]
            table.most("page opened to first step, warm profile", 1000, delays, "ms", 0)
            shares = [ours - theirs for ours, theirs in zip(delays, bare, strict=True)]
            table.most("  of it over bare Pyodide", 250, shares, "ms", 0)


def _bare_pages(out: Path) -> dict[str, bytes]:
    """A page that loads Pyodide in a worker, from the same files, and does nothing else."""
    built = json.loads((out / "durable-lite.json").read_bytes())
    options = {
        "indexURL": f"/{built['pyodide']['url']}",
        "stdLibURL": f"/{built['stdlib']['url']}",
        "lockFileContents": {"info": built["lock"]["info"], "packages": {}},
        "packageBaseUrl": "/",
        "fullStdLib": False,
    }
    worker = (
        f'import {{ loadPyodide }} from "/{built["pyodide"]["url"]}pyodide.mjs";\n'
        f"const options = {json.dumps(options)};\n"
        'for (const name of ["indexURL", "stdLibURL", "packageBaseUrl"]) '
        "options[name] = new URL(options[name], location.href).href;\n"
        "await loadPyodide(options);\npostMessage(0);\n"
    )
    page = (
        'const worker = new Worker("/bare-worker.mjs", { type: "module" });\n'
        "worker.onmessage = () => (window.booted = performance.now());\n"
    )
    html = '<!doctype html><link rel="icon" href="data:,"><script type="module" src="/bare.mjs"></script>'
    return {"/bare.html": html.encode(), "/bare.mjs": page.encode(), "/bare-worker.mjs": worker.encode()}


async def _output(page: Any, run: str) -> float | None:
    row = await page.evaluate("id => tab.store.get_run(id)", run)
    return json.loads(row["output"]) if row and row["output"] else None
