"""How soon a run goes on whose tab was frozen, closed, crashed or asleep; what the main thread pays."""

from __future__ import annotations

import asyncio
import json
import time
from functools import partial
from pathlib import Path
from typing import Any

from .floor import Table
from .tab_site import measure_in_tabs

# Short enough that a suspension needn't last; a busy machine still beats in time.
QUICK = {"heartbeatInterval": "250ms", "staleAfter": "1s", "durability": "relaxed"}
CALM = {"heartbeatInterval": "5s", "staleAfter": "30s"}
STALE_AFTER = 2.0  # seconds, where the machine sleeps

# When a page was told of its end; it can't say so itself afterwards.
GONE = """for (const type of ["freeze", "pagehide"]) {
  addEventListener(type, () => localStorage.setItem("gone", Date.now()), { capture: true });
  document.addEventListener(type, () => localStorage.setItem("gone", Date.now()), { capture: true });
}
document.addEventListener("resume", () => localStorage.setItem("back", Date.now()), { capture: true });"""

# Every handler of the page's main thread that our modules have, by what calls it, with its longest time.
HANDLERS = """window.handlers = {};
const timed = (name, handler) => typeof handler !== "function" ? handler : function (...given) {
  const start = performance.now();
  try {
    return handler.apply(this, given);
  } finally {
    window.handlers[name] = Math.max(window.handlers[name] ?? 0, performance.now() - start);
  }
};
for (const [type, names] of [
  [Worker, ["onmessage"]], [BroadcastChannel, ["onmessage"]], [IDBRequest, ["onsuccess", "onerror"]],
  [IDBTransaction, ["oncomplete", "onabort"]], [IDBOpenDBRequest, ["onupgradeneeded"]],
]) {
  for (const name of names) {
    const { get, set } = Object.getOwnPropertyDescriptor(type.prototype, name);
    const told = `${type.name}.${name}`;
    const given = { get, set(handler) { set.call(this, timed(told, handler)); } };
    Object.defineProperty(type.prototype, name, given);
  }
}
const { setTimeout: later } = window;
window.setTimeout = (handler, ...rest) => later(timed("setTimeout", handler), ...rest);
window.long = [];
const seen = new PerformanceObserver((list) => {
  for (const { startTime, duration } of list.getEntries()) window.long.push([startTime, duration]);
});
seen.observe({ type: "longtask", buffered: true });"""


def run(table: Table, rounds: int) -> None:
    measure_in_tabs(partial(_measure, table, 3 * rounds))


async def _measure(table: Table, rounds: int, out: Path, folder: Path) -> None:
    from durable_lite.testing import tabs
    from e2e.durable_site import serve

    with serve(out) as site:
        async with tabs.suspendable_browser(profile=folder / "profile") as browser:
            await browser.context.add_init_script(GONE)
            stage = _Stage(browser.context, site)
            thaws = [await stage.thawed() for _ in range(rounds)]
            table.most("thaw to first replayed step, p50", 100, thaws, "ms", 0)
            for how in ("close", "crash", "freeze"):
                for is_booted, limit in ((True, 150), (False, 1000)):
                    waits = [await stage.taken_over(how, is_booted) for _ in range(rounds)]
                    what = f"take-over after {how}, Python {'' if is_booted else 'not '}booted, p50"
                    table.most(what, limit, waits, "ms", 0)
            limit = (STALE_AFTER + 2) * 1000
            slept = [await stage.taken_over("sleep", True) for _ in range(rounds)]
            table.most("take-over after SIGSTOP, of a staleAfter of 2 s", limit, slept, "ms", 0)
            for shown in (False, True):
                what = "a page shows it" if shown else "a page waits for it"
                seen = [await stage.main_thread(shown) for _ in range(3)]
                longest = [max(handlers.items(), key=lambda one: one[1]) for handlers, _ in seen]
                name, _ = max(longest, key=lambda one: one[1])
                times = [time for _, time in longest]
                table.most(f"longest handler on the main thread while {what} ({name})", 20, times, "ms", 1)
                table.most(
                    f"long tasks meanwhile, while {what}", 0, [len(long) for _, long in seen], "tasks", 0
                )


class _Stage:
    """Pages of one store, each round of its own."""

    def __init__(self, context: Any, site: Any) -> None:
        self.context, self.site, self.rounds = context, site, 0

    def _fresh(self) -> str:
        self.rounds += 1
        return f"indexeddb:suspension-{self.rounds}"

    async def _opened(self, store: str, **options: Any) -> Any:
        from e2e.tab import opened

        return await opened(self.context, self.site, store=store, **(QUICK | options))

    async def _booted(self, page: Any, others: list[Any]) -> None:
        """A run comes that this tab executes, since the others don't ask for the lock."""
        for other in others:
            await other.evaluate("tab.executor.leader.rest(true)")
        await page.evaluate("async () => (await tab.trigger('marked', {})).result()")
        assert await page.evaluate("tab.status.stage") == "ready"
        for other in others:
            await other.evaluate("tab.executor.leader.rest(false)")

    async def _interruptible(self, page: Any) -> str:
        """A run of which 20 steps are done, and the next one waits."""
        from durable_lite.testing import tabs

        made: str = await page.evaluate("async () => (await tab.trigger('interrupted', {})).id")
        ready = "id => tab.run(id).steps().then((steps) => steps.filter((step) => step.output).length)"

        async def is_there() -> bool:
            return bool(await page.evaluate(ready, made) >= 20)

        await tabs.until(is_there, timeout=60, why="twenty steps are done")
        return made

    async def _moment(self, page: Any, run: str) -> float:
        from durable_lite.testing import tabs

        async def output() -> str | None:
            row = await page.evaluate("id => tab.store.get_run(id)", run)
            return row and row["output"]

        return float(json.loads(await tabs.until(output, timeout=60, why="the run ends")))

    async def thawed(self) -> float:
        """Milliseconds from the page's `resume` to the first step that is answered from its checkpoint."""
        from durable_lite.testing import tabs

        store = self._fresh()
        page, other = await self._opened(store), await self._opened(store, worker=False)
        run = await self._interruptible(page)
        await tabs.freeze(page, behind=other)
        await asyncio.sleep(1.5)  # longer than staleAfter
        await tabs.thaw(page)
        moment = await self._moment(other, run)
        back = float(await other.evaluate("localStorage.getItem('back')"))
        await page.close()
        await other.close()
        return moment - back

    async def taken_over(self, how: str, is_booted: bool) -> float:
        """Milliseconds from the end of one tab to the first replayed step in the other."""
        store = self._fresh()
        options: dict[str, Any] = (
            CALM if how != "sleep" else {"staleAfter": STALE_AFTER, "heartbeatInterval": 0.5}
        )
        pages = [await self._opened(store, **options) for _ in range(1 + is_booted)]
        for page in pages:
            await self._booted(page, [other for other in pages if other is not page])
        run = await self._interruptible(pages[0])
        leads = [await page.evaluate("tab.leads") for page in pages]
        victim = pages.pop(leads.index(True))
        heir = pages[0] if pages else await self._opened(store, **options)
        await asyncio.sleep(0.5)
        start = time.time() * 1000
        moment = await self._end(how, victim, heir, run)
        if how in ("close", "freeze"):
            start = float(await heir.evaluate("localStorage.getItem('gone')"))
        await heir.close()
        if how == "freeze":
            await victim.close()
        return moment - start

    async def _end(self, how: str, victim: Any, heir: Any, run: str) -> float:
        """The moment of the heir's first replayed step."""
        from durable_lite.testing import tabs

        if how == "close":
            await victim.close()
        elif how == "crash":
            await tabs.crash(victim)
        elif how == "freeze":
            await tabs.freeze(victim, behind=heir)
        else:
            async with tabs.machine_asleep(victim):
                moment = await self._moment(heir, run)
            await victim.close()
            return moment
        return await self._moment(heir, run)

    async def main_thread(self, shown: bool) -> tuple[dict[str, float], list[list[float]]]:
        """The longest handlers of the page, and its long tasks, while 500 steps are executed."""
        from durable_lite.testing import tabs

        page = await self.context.new_page()
        await page.add_init_script(HANDLERS)
        await page.goto(self.site.url(store=self._fresh()))
        await tabs.until(lambda: page.evaluate("window.ready"), why="the tab is open")
        start = await page.evaluate("performance.now()")
        await page.evaluate(
            """async (shown) => {
              const run = await tab.trigger("sequential", { count: 500 });
              if (shown) {
                await import("./durable-runs.mjs");
                const element = document.createElement("durable-runs");
                document.body.append(Object.assign(element, { tab, selected: run.id }));
              }
              await run.result();
            }""",
            shown,
        )
        long = [one for one in await page.evaluate("window.long") if one[0] >= start]
        handlers = await page.evaluate("window.handlers")
        await page.close()
        return handlers, long
