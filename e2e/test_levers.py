"""Each lever of durable_lite.testing.tabs does to a real Chromium what it says, and says so if it can't."""

import asyncio
import os
import sys
import time

import pytest
from playwright.async_api import Error, Page, async_playwright

from durable_lite.testing import tabs
from durable_lite.testing.tabs import chromium, lifecycle, pulse
from durable_lite.testing.tabs.processes import state
from e2e.site import serve

pytestmark = pytest.mark.timeout(90)

TICKS = """push => {
  const channel = new BroadcastChannel("ticks");
  channel.onmessage = event => push(event.data);
  return () => channel.close();
}"""
HOLD_LOCK = (
    "new Promise(held => navigator.locks.request('lock', () => { held(); return new Promise(() => {}); }))"
)
LOCKS = "navigator.locks.query().then(state => state.held.map(lock => lock.name))"
IN_TURN = "navigator.locks.request('lock', () => 'mine')"

GAPS = """() => {
  let last = performance.now();
  window.gap = 0;  // milliseconds
  setInterval(() => { gap = Math.max(gap, performance.now() - last); last = performance.now(); }, 20);
}"""

# On the key "count": put(value) resolves with "", or the name of the error that the transaction ended with.
DATABASE = """
const open = () => new Promise((done, failed) => {
  const opening = indexedDB.open("kept");
  opening.onupgradeneeded = () => opening.result.createObjectStore("kept");
  opening.onsuccess = () => done(opening.result);
  opening.onerror = () => failed(opening.error);
});
const heard = [];
const put = async value => {
  const transaction = (await open()).transaction("kept", "readwrite");
  const request = transaction.objectStore("kept").put(value, "count");
  request.onerror = () => heard.push("request.onerror");
  return new Promise(done => {
    transaction.oncomplete = () => done("");
    transaction.onabort = () => done(transaction.error.name);
  });
};
const get = async () => {
  const request = (await open()).transaction("kept").objectStore("kept").get("count");
  return new Promise(done => { request.onsuccess = () => done(request.result ?? null); });
};
"""

# A transaction is open for two thirds of the time.
MOSTLY_WRITING = """
const turn = async () => {
  const database = await open();
  const transaction = database.transaction("kept", "readwrite");
  const end = performance.now() + 60;
  const again = () => {
    if (performance.now() < end) transaction.objectStore("kept").put(1, "busy").onsuccess = again;
  };
  again();
  transaction.oncomplete = () => { database.close(); setTimeout(turn, 30); };
};
turn();
"""


@pytest.fixture
def site():
    with serve() as site:
        yield site


async def opened(context, site, name="ticking.html") -> Page:
    page = await context.new_page()
    await page.goto(site.url(name))
    if name.startswith("ticking"):
        await tabs.until(lambda: page.evaluate("window.ready"), why="the page's worker")
    return page


async def silent(seen: tabs.Watch, seconds: float = 0.5) -> bool:
    """Whether nothing is told for so long; what was under way may still arrive."""
    await asyncio.sleep(0.1)
    before = len(seen.values)
    await asyncio.sleep(seconds)
    return len(seen.values) == before


class TestLifecycle:
    async def test_a_hidden_page_is_told_and_its_worker_goes_on(self, suspendable_context, site):
        async with suspendable_context() as context:
            observer, page = await opened(context, site, "plain.html"), await opened(context, site)
            await tabs.hide(page)
            assert await page.evaluate("events") == ["pageshow", "hidden"]
            assert not await tabs.frozen(page)
            async with tabs.watch(observer, TICKS) as ticks:
                first = await ticks.next(why="a tick of the worker")
                assert (await ticks.next())["tick"] == first["tick"] + 1
            await tabs.show(page)
            assert await page.evaluate("events") == ["pageshow", "hidden", "visible"]

    async def test_a_frozen_page_and_its_worker_stop_and_go_on(self, suspendable_context, site):
        async with suspendable_context() as context:
            observer, page = await opened(context, site, "plain.html"), await opened(context, site)
            async with tabs.watch(observer, TICKS) as ticks:
                await ticks.next(why="a tick of the worker")
                await tabs.freeze(page)
                assert await page.evaluate("1 + 1") == 2  # which proves nothing
                page_ticks = await page.evaluate("ticks")
                assert await silent(ticks)
                last = ticks.values[-1]["tick"]
                assert await page.evaluate("ticks") == page_ticks
                assert await tabs.frozen(page)

                await tabs.thaw(page)
                assert not await tabs.frozen(page)
                await ticks.next(lambda told: told["tick"] == last + 1, why="the tick after the last")
                await tabs.until(lambda: page.evaluate(f"ticks > {page_ticks}"))
            seen = ["pageshow", "hidden", "freeze", "resume", "visible"]
            assert await page.evaluate("events") == seen

            await tabs.freeze(page)
            await tabs.thaw(page, to_front=False)
            assert await page.evaluate("events") == [*seen, "hidden", "freeze", "resume"]

    async def test_two_pages_are_frozen_at_once(self, suspendable_context, site):
        async with suspendable_context() as context:
            one, other = await opened(context, site), await opened(context, site)
            await tabs.freeze(one)
            await tabs.freeze(other)
            assert await tabs.frozen(one)
            await tabs.show(other)  # thaws it
            assert not await tabs.frozen(other)
            assert await tabs.frozen(one)

    async def test_a_worker_that_computes_is_frozen_in_mid_loop(self, suspendable_context, site):
        async with suspendable_context() as context:
            observer, page = (
                await opened(context, site, "plain.html"),
                await opened(context, site, "plain.html"),
            )
            await page.evaluate("""() => {
                const code = `const channel = new BroadcastChannel("ticks");
                  for (let tick = 0;; tick += 1) {
                    channel.postMessage({ tick });
                    const end = performance.now() + 20;
                    while (performance.now() < end);
                  }`;
                window.worker = new Worker(URL.createObjectURL(new Blob([code])));
            }""")
            async with tabs.watch(observer, TICKS) as ticks:
                await ticks.next(why="the worker's loop")
                await tabs.freeze(page)
                assert await silent(ticks)
                await tabs.thaw(page)
                await ticks.next(lambda told: told["tick"] > 0, why="the worker's loop goes on")
            await page.evaluate("worker.terminate()")

    async def test_freeze_refuses_where_focus_is_emulated(self, site, monkeypatch):
        """Playwright's own launch: `setWebLifecycleState` is answered there and does nothing."""
        monkeypatch.setattr(lifecycle, "_PATIENCE", 1.0)
        async with async_playwright() as playwright:
            binary = chromium.find(playwright.chromium.executable_path)
            browser = await playwright.chromium.launch(executable_path=binary)
            for opener in (await browser.new_context(), browser):
                page = await opened(opener, site)
                with pytest.raises(tabs.LeverFailed, match="focus emulation"):
                    await tabs.freeze(page)
            await browser.close()


class TestPolicy:
    @pytest.mark.timeout(120)
    async def test_chromium_freezes_hidden_tabs_but_one_whose_main_thread_holds_a_lock(
        self, suspendable_context, site
    ):
        async with suspendable_context(policy_freeze=True) as context:
            page, holder = await opened(context, site), await opened(context, site)
            await holder.evaluate(HOLD_LOCK)
            await tabs.hide(holder)
            # None is frozen that Chromium takes to be loading; on a busy machine that lasts up to a minute.
            await tabs.until(lambda: tabs.frozen(page), timeout=75, why="Chromium's own freeze")
            assert await page.evaluate("events") == ["pageshow", "hidden", "freeze"]
            await asyncio.sleep(2)  # nothing will happen: long beyond the second after which the other froze
            assert await holder.evaluate("events") == ["pageshow", "hidden"]
            assert not await tabs.frozen(holder)

    async def test_arguments_keep_their_features(self, tmp_path):
        command = chromium.command(
            "chromium",
            tmp_path,
            args=["--enable-features=A,B", "--disable-features=C", "--lang=de"],
            policy_freeze=True,
        )
        features = [argument for argument in command if argument.startswith("--enable-features")]
        [disabled] = [argument for argument in command if argument.startswith("--disable-features")]
        assert disabled.endswith(",C")
        assert len(features) == 1
        assert features[0].startswith("--enable-features=A,B,InfiniteTabsFreezing:")
        assert "--lang=de" in command


class TestProcesses:
    async def test_a_sleeping_machine_tells_nobody_and_keeps_its_locks(self, suspendable_context, site):
        async with suspendable_context() as context:
            observer, page = await opened(context, site, "plain.html"), await opened(context, site)
            await page.evaluate(HOLD_LOCK)
            await page.evaluate(GAPS)
            async with tabs.watch(observer, TICKS) as ticks:
                await ticks.next(why="a tick of the worker")
                async with tabs.machine_asleep(page):
                    assert await silent(ticks)
                    assert await observer.evaluate(LOCKS) == ["lock"]
                    last = ticks.values[-1]["tick"]
                await ticks.next(lambda told: told["tick"] > last, why="a tick after the sleep")
            assert await page.evaluate("events") == ["pageshow"]
            assert await observer.evaluate(LOCKS) == ["lock"]
            began = time.monotonic()
            await tabs.sleep_machine(page, 1.5)
            gap = await tabs.until(lambda: page.evaluate("gap > 1500 && gap"), why="the gap")
            assert gap < 1000 * (time.monotonic() - began) + 3000  # which may be more, on a busy machine

    async def test_the_process_of_a_page_is_found_among_busy_ones(
        self, suspendable_context, site, monkeypatch
    ):
        async with suspendable_context() as context:
            pages = [await opened(context, site, "plain.html") for _ in range(3)]
            await pages[2].evaluate(
                "setInterval(() => { const end = Date.now() + 15; while (Date.now() < end); }, 50)"
            )
            pids = [await tabs.renderer_pid(page) for page in pages]
            assert len(set(pids)) == 3
            assert pids[0] == await tabs.renderer_pid(pages[0])

            with monkeypatch.context() as patch:
                patch.setattr(sys, "platform", "darwin")
                with pytest.raises(tabs.LeverFailed, match="needs Linux"):
                    await tabs.kill_renderer(pages[0])

    @pytest.mark.parametrize("lever", [tabs.crash, tabs.kill_renderer])
    async def test_a_dead_renderer_says_nothing_and_its_lock_passes_on(
        self, suspendable_context, site, lever
    ):
        async with suspendable_context() as context:
            observer, page = await opened(context, site, "plain.html"), await opened(context, site)
            await page.evaluate(HOLD_LOCK)
            async with tabs.watch(observer, TICKS) as ticks:
                await ticks.next(why="a tick of the worker")
                await lever(page)
                assert await silent(ticks)
                assert await asyncio.wait_for(observer.evaluate(IN_TURN), 5) == "mine"
            with pytest.raises(Error, match="crashed"):
                await page.evaluate("1")
            again = await opened(context, site)
            assert await again.evaluate("events") == ["pageshow"]

    async def test_stopped_is_not_frozen(self, suspendable_context, site, monkeypatch):
        async with suspendable_context() as context:
            page = await opened(context, site)
            async with tabs.machine_asleep(page):
                monkeypatch.setattr(pulse, "_PATIENCE", 1.0)
                with pytest.raises(tabs.LeverFailed, match="No answer"):
                    await tabs.frozen(page)

    async def test_who_is_stopped_keeps_no_other_page_from_writing(self, suspendable_context, site):
        async with suspendable_context() as context:
            observer, page = await opened(context, site, "plain.html"), await opened(context, site)
            await page.evaluate(f"() => {{ {DATABASE} {MOSTLY_WRITING} }}")
            for _ in range(3):
                async with tabs.machine_asleep(page):
                    written = observer.evaluate(f"(async () => {{ {DATABASE} return put(7); }})()")
                    assert await asyncio.wait_for(written, 5) == ""

    async def test_a_machine_sleeps_though_another_page_has_crashed(self, suspendable_context, site):
        async with suspendable_context() as context:
            crashed, page = await opened(context, site), await opened(context, site)
            await tabs.crash(crashed)
            await tabs.sleep_machine(page, 0.1)
            assert await page.evaluate("1") == 1


class TestBrowser:
    async def test_what_was_stored_outlives_closed_and_killed_browsers(self, suspendable_browser, site):
        async with suspendable_browser() as browser:
            page = await opened(browser.context, site)
            await page.evaluate("localStorage.setItem('count', 40)")
            page = await opened(await browser.reopen(), site)
            assert await page.evaluate("localStorage.getItem('count')") == "40"

            assert await page.evaluate(f"(async () => {{ {DATABASE} return put(41); }})()") == ""
            pid = browser.pid
            await browser.kill()
            assert state(pid) in (None, "Z")
            with pytest.raises(RuntimeError, match="not running"):
                _ = browser.context

            context = await browser.reopen()
            assert browser.pid != pid
            assert [page.url for page in context.pages] == ["about:blank"]
            page = await opened(context, site)
            assert await page.evaluate(f"(async () => {{ {DATABASE} return get(); }})()") == 41
            assert await page.evaluate("localStorage.getItem('count')") == "40"
            assert site.hits["/ticking.html"] == 3

    async def test_a_browser_that_does_not_start_says_why(self, tmp_path, monkeypatch):
        monkeypatch.setenv(chromium.ENVIRONMENT, "false")
        with pytest.raises(RuntimeError, match="ended with 1"):
            async with tabs.suspendable_browser(tmp_path):
                pass
        monkeypatch.setenv(chromium.ENVIRONMENT, "no-such-browser")
        with pytest.raises(FileNotFoundError, match="names no-such-browser"):
            async with tabs.suspendable_browser(tmp_path):
                pass

    @pytest.mark.skipif(sys.platform != "linux", reason="elsewhere it stays")
    async def test_a_killed_test_leaves_no_browser(self, tmp_path):
        program = (
            "import asyncio, sys; from durable_lite.testing import tabs\n"
            "async def main():\n"
            "    async with tabs.suspendable_browser(sys.argv[1]) as browser:\n"
            "        print(browser.pid, flush=True); await asyncio.sleep(60)\n"
            "asyncio.run(main())"
        )
        command = [sys.executable, "-c", program, str(tmp_path)]
        test = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
        pid = int(await test.stdout.readline())
        assert state(pid) not in (None, "Z")
        test.kill()
        await test.wait()
        await tabs.until(lambda: state(pid) in (None, "Z"), why="the end of the browser")


class TestStorage:
    async def test_beyond_the_quota_a_transaction_aborts(self, suspendable_context, site):
        large = f"""(async () => {{
          {DATABASE}
          const value = new Uint8Array(3e6);
          for (let at = 0; at < 3e6; at += 65536) crypto.getRandomValues(value.subarray(at, at + 65536));
          return [await put(value), heard];
        }})()"""
        async with suspendable_context() as context:
            page = await opened(context, site, "plain.html")
            small = f"(async () => {{ {DATABASE} return put(1); }})()"
            assert await page.evaluate(small) == ""  # Chromium now knows of much room
            async with tabs.limit_quota(page, 1_000_000):
                assert await page.evaluate(large) == ["QuotaExceededError", []]
                assert await page.evaluate(small) == ""
            assert await page.evaluate(large) == ["", []]
            async with tabs.limit_quota(page, 0):
                assert await page.evaluate(small) == "QuotaExceededError"
            assert await page.evaluate(small) == ""
            names = "indexedDB.databases().then(found => found.map(database => database.name))"
            assert await page.evaluate(names) == ["kept"]

    async def test_discarded_storage_is_gone_and_connections_close(self, suspendable_context, site):
        async with suspendable_context() as context:
            page = await opened(context, site, "plain.html")
            await page.evaluate(f"""(async () => {{
                {DATABASE}
                await put(1);
                localStorage.setItem("count", 1);
                sessionStorage.setItem("count", 1);
                await caches.open("cache");
                window.database = await open();
                window.closing = new Promise(done => {{ database.onclose = () => done("closed"); }});
            }})()""")
            await tabs.discard_storage(page)
            assert await asyncio.wait_for(page.evaluate("closing"), 5) == "closed"
            assert await page.evaluate("[localStorage.length, sessionStorage.length]") == [0, 0]
            assert await page.evaluate("Promise.all([indexedDB.databases(), caches.keys()])") == [[], []]
            with pytest.raises(tabs.LeverFailed, match="no origin"):
                await tabs.discard_storage(context.pages[0])


class TestHistory:
    @pytest.mark.parametrize("away", ["about:blank", "plain.html"])
    async def test_a_page_comes_back_out_of_the_cache(self, suspendable_context, site, away):
        async with suspendable_context() as context:
            observer, page = await opened(context, site, "plain.html"), await opened(context, site)
            await page.bring_to_front()
            async with tabs.watch(observer, TICKS) as ticks:
                await ticks.next(why="a tick of the worker")
                await tabs.leave(page, away if ":" in away else site.url(away))
                assert await silent(ticks)
                await tabs.come_back(page)
                await ticks.next(why="a tick of the same worker")
            assert site.hits["/ticking.html"] == 1
            assert await page.evaluate("events") == [
                *("pageshow", "pagehide persisted", "hidden", "freeze"),
                *("resume", "visible", "pageshow persisted"),
            ]

    async def test_a_page_that_is_loaded_anew_did_not_come_back(self, suspendable_context, site):
        async with suspendable_context(args=["--disable-features=BackForwardCache"]) as context:
            page = await opened(context, site)
            await tabs.leave(page)
            with pytest.raises(tabs.LeverFailed, match="loaded anew"):
                await tabs.come_back(page)


class TestWaiting:
    async def test_until_says_what_it_waited_for(self):
        answers = iter([0, None, "done"])
        assert await tabs.until(lambda: next(answers)) == "done"
        with pytest.raises(TimeoutError, match="the end: not within"):
            await tabs.until(lambda: 0, timeout=0.1, why="the end")

        async def never():
            await asyncio.sleep(60)

        with pytest.raises(TimeoutError, match="no answer yet"):
            await tabs.until(never, timeout=0.1)

    async def test_watch_hears_what_a_page_tells_until_its_end(self, suspendable_context, site):
        source = """(push, name) => {
          addEventListener(name, event => push(event.detail));
          return () => { window.ended = true; };
        }"""
        tell = "value => { dispatchEvent(new CustomEvent('told', { detail: value })); }"
        async with suspendable_context() as context:
            page = await opened(context, site, "plain.html")
            async with tabs.watch(page, source, "told") as seen:
                for value in (1, 2, 3):
                    await page.evaluate(tell, value)
                assert await seen.next(lambda value: value == 2) == 2
                assert await seen.next() == 3
                assert seen.values == [1, 2, 3]
                with pytest.raises(TimeoutError, match="a fourth: not within"):
                    await seen.next(timeout=0.1, why="a fourth")
            assert await page.evaluate("ended") is True


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="no users")
def test_only_root_goes_without_the_sandbox(tmp_path, monkeypatch):
    for user, expected in ((0, True), (1000, False)):
        monkeypatch.setattr(os, "geteuid", lambda user=user: user)
        assert ("--no-sandbox" in chromium.command("chromium", tmp_path)) is expected
