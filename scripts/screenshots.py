"""Pictures of the demo at its main moments, in light and dark, wide and narrow: `.cache/screenshots`.

`python scripts/screenshots.py`; with `--readme` the pictures of the documentation are made anew, too, one of
them of a run whose server was killed. It fails if anything is wider than the window.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

from playwright.async_api import FloatRect, Page

from durable_lite.client import RemoteDurable
from durable_lite.testing import tabs
from durable_lite.web.serve import Server
from examples.invoices import database, jobs
from web.demo.serve import make

ROOT = Path(__file__).resolve().parents[1]
PICTURES = ROOT / ".cache" / "screenshots"
SCHEMES, WIDTHS = ("light", "dark"), (1280, 390)


class Camera:
    """Takes pictures of a page; `wide` says which are wider than their window."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.wide: list[str] = []

    async def look(self, scheme: str, width: int) -> None:
        session = await self.page.context.new_cdp_session(self.page)
        feature = {"name": "prefers-color-scheme", "value": scheme}
        await session.send("Emulation.setEmulatedMedia", {"features": [feature]})
        size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600}
        await session.send("Emulation.setDeviceMetricsOverride", size)
        await asyncio.sleep(0.4)  # transitions

    async def take(self, moment: str) -> None:
        for scheme in SCHEMES:
            for width in WIDTHS:
                await self.look(scheme, width)
                if await self.page.evaluate("document.documentElement.scrollWidth > innerWidth"):
                    self.wide.append(f"{moment} at {width}")
                path = PICTURES / f"{moment}-{scheme}-{width}.png"
                await self.page.screenshot(path=path, full_page=True)
        await self.look("light", 1280)


async def shown(page: Page, expression: str, why: str) -> None:
    await tabs.until(lambda: page.evaluate(expression), timeout=240, why=why)


async def demo(url: str, readme: bool) -> list[str]:
    async with tabs.suspendable_browser() as browser:
        page = await browser.context.new_page()
        camera = Camera(page)
        await page.goto(f"{url}demo/")
        await shown(page, "document.documentElement.dataset.ready === ''", "it is open")
        await camera.take("1-start")
        await page.select_option("#pause", "0s")
        await page.click("#start")
        await shown(page, "document.getElementById('bar').value > 0.12", "it is under way")
        await camera.take("2-middle")
        other = await browser.context.new_page()
        await tabs.freeze(page, behind=other)
        await asyncio.sleep(7)
        await tabs.thaw(page)
        await shown(page, "document.querySelectorAll('#pages [data-is=kept]').length > 0", "it has resumed")
        await shown(page, "document.querySelectorAll('#pages [data-is=done]').length > 5", "it goes on")
        if readme:
            top = "document.querySelector('#try').closest('section').getBoundingClientRect().top + scrollY"
            clip = {"x": 0, "y": 0, "width": 1265, "height": await page.evaluate(top)}
            await page.screenshot(path=ROOT / "docs/images/demo.png", clip=clip, full_page=True)
        await camera.take("3-resumed")
        await page.reload()
        await shown(page, "document.documentElement.dataset.ready === ''", "it is open again")
        await shown(page, "document.querySelectorAll('#pages [data-is]').length > 0", "it knows its run")
        await camera.take("4-reloaded")
        await shown(page, "document.getElementById('state').textContent === 'Done'", "it is done")
        await page.click("#download")
        await shown(page, "document.getElementById('checked').textContent", "the file is checked")
        await camera.take("5-done")
        return camera.wide


@contextlib.contextmanager
def serving(folder: str, port: int = 0) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """`durable-lite serve` with the example's jobs, and where it is; killed at the end."""
    command = [
        str(Path(sys.executable).with_name("durable-lite")),
        "serve",
        str(ROOT / "examples/invoices/jobs.py"),
    ]
    command += ["--db", f"{folder}/durable.db", "--port", str(port)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    try:
        said = next(line for line in process.stderr if "dashboard at " in line)
        threading.Thread(target=process.stderr.read, daemon=True).start()
        yield process, said.split("dashboard at ")[1].split()[0]
    finally:
        process.kill()
        process.wait()


async def killed_and_resumed(path: Path) -> None:
    """The dashboard's page of a run whose server was killed, and started again."""
    with tempfile.TemporaryDirectory() as folder:
        database.generate(f"{folder}/invoices.db", 3000)
        export = jobs.Export(
            database.ORGANISATION, f"{folder}/invoices.db", f"{folder}/out", f"{folder}/mail", 500, "300ms"
        )
        with serving(folder) as (process, url):
            async with RemoteDurable(url) as app:
                run = await app.trigger("export_invoices", asdict(export), tags=["acme", "monthly"])
                async for event in run.events():
                    if event.type == "step.completed" and event.data["path"] == "page-3":
                        break
                assert not (await run.refresh()).finished_at
                process.kill()
        await asyncio.sleep(1)  # to be seen
        with serving(folder, int(url.rstrip("/").rpartition(":")[2])) as (_, url):
            async with RemoteDurable(url) as app, tabs.suspendable_browser() as browser:
                await (await app.get_run(run.id)).result(timeout="1m")
                page = await browser.context.new_page()
                await page.goto(f"{url}web/dashboard/index.html?server=../..&title=Invoices#/runs/{run.id}")
                await Camera(page).look("light", 1100)
                await page.locator(".steps").wait_for()
                card = await page.locator(".card").first.bounding_box()
                assert card is not None
                height = card["y"] + card["height"] + 14
                clip: FloatRect = {"x": 0, "y": 0, "width": 1100, "height": height}
                await page.screenshot(path=path, clip=clip, full_page=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--readme", action="store_true", help="also make docs/images/*.png")
    given = parser.parse_args()
    PICTURES.mkdir(parents=True, exist_ok=True)
    site = ROOT / ".cache" / "demo-site"
    make(site)
    server = Server(site, "127.0.0.1", 0, csp=True, told=lambda line: None)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    wide = asyncio.run(demo(server.url, given.readme))
    if given.readme:
        asyncio.run(killed_and_resumed(ROOT / "docs/images/dashboard.png"))
    for one in wide:
        print(f"wider than the window: {one}")
    print(f"{len(list(PICTURES.glob('*.png')))} pictures in {PICTURES}")
    return 1 if wide else 0


if __name__ == "__main__":
    raise SystemExit(main())
