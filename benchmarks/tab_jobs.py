"""What the benchmark of the tab executes there: steps, and the floor in plain JavaScript beside them."""

import asyncio
import time

from pyodide.code import run_js

from durable_lite import Context, job

OUTPUT = {"id": 12345, "name": "x" * 60, "items": [1, 2, 3, 4, 5], "ok": True, "note": "y" * 82}

# The same guarded transaction, with nothing around it: get the run, add the step.
FLOOR = """async (count, durability, text) => {
  const name = "floor-" + Math.random();
  const db = await new Promise((resolve) => {
    const request = indexedDB.open(name, 1);
    request.onupgradeneeded = () => {
      request.result.createObjectStore("runs", { keyPath: "id" });
      request.result.createObjectStore("steps", { keyPath: ["run_id", "seq"] });
    };
    request.onsuccess = () => resolve(request.result);
  });
  const within = (body) => new Promise((resolve) => {
    const t = db.transaction(["runs", "steps"], "readwrite", { durability });
    t.oncomplete = resolve;
    body(t);
  });
  await within((t) => t.objectStore("runs").put({ id: "r", status: "EXECUTING", generation: 1 }));
  const start = performance.now();
  for (let seq = 0; seq < count; seq++) {
    await within((t) => {
      t.objectStore("runs").get("r").onsuccess = ({ target }) => {
        if (target.result.generation !== 1) return;
        t.objectStore("steps").add({ run_id: "r", seq, path: "step-" + seq, output: text });
        t.commit();
      };
    });
  }
  const took = performance.now() - start;
  db.close();
  indexedDB.deleteDatabase(name);
  return took / count;
}"""


async def work(i: int) -> dict:
    return OUTPUT


@job
async def floor(ctx: Context, payload: dict) -> float:
    """Milliseconds of one transaction in plain JavaScript."""
    return await run_js(FLOOR)(payload["count"], payload["durability"], "z" * 200)


@job
async def sequential(ctx: Context, payload: dict) -> float:
    """Milliseconds of one step."""
    start = time.perf_counter()
    for i in range(payload["count"]):
        await ctx.step(f"step-{i}", work, i)
    return (time.perf_counter() - start) * 1000 / payload["count"]


@job
async def marked(ctx: Context, payload: dict) -> float:
    """The moment when its step ran, in milliseconds since the epoch."""
    return await ctx.step("mark", moment)


async def moment() -> float:
    return time.time() * 1000


_executed = 0


async def counted(i: int) -> dict:
    global _executed
    _executed += 1
    return OUTPUT


@job
async def interrupted(ctx: Context, payload: dict) -> float:
    """Waits once its twenty steps are done; replayed, it tells when the first was answered."""
    before, moment = _executed, 0.0
    for i in range(20):
        await ctx.step(f"done-{i}", counted, i)
        moment = moment or time.time() * 1000
    if _executed > before:
        await ctx.step("wait", forever)
    return moment


async def forever() -> None:
    await asyncio.sleep(600)
