"""Live updates over real sockets: nothing is missed or doubled, nobody waits for a slow one."""

from __future__ import annotations

import asyncio
import random
import socket

from durable_lite import Durable, StoreUnavailable
from durable_lite.server import sse, streams
from tests.http.following import counts, follow, opens, says, stored, token_of, waiting, whole


class TestOfOneRun:
    async def test_it_goes_on_after_any_place(self, streaming):
        async with streaming() as (app, server, url):
            run = await app.trigger(counts, 20)
            await run.result("20s")
            events = await app.store.read_events(run.id, 0, 1000)
            last = len(events)
            for after in [*range(last + 2), 10**15]:
                told = await whole(url, f"/api/runs/{run.id}/stream", str(after))
                assert stored(told) == list(range(after + 1, last + 1))
                assert [event.event for event in told[-2:]] == ["run", "end"]
                assert told[-1].data == {"status": "COMPLETED"}
                query = await whole(url, f"/api/runs/{run.id}/stream?after={min(after, 2**53)}")
                assert query == told
            # The header, which a browser sends when it comes again, counts more than the address.
            told = await whole(url, f"/api/runs/{run.id}/stream?after=1", str(last - 1))
            assert stored(told) == [last]
            for nonsense in ("", "x", "-1", "1.5", "\xb2"):
                assert stored(await whole(url, f"/api/runs/{run.id}/stream", nonsense)) == list(
                    range(1, last + 1)
                )

    async def test_far_behind(self, streaming):
        async with streaming() as (app, server, url):
            run = await app.trigger(counts, 700)
            target = f"/api/runs/{run.id}/stream"
            async with follow(url, target) as follower:
                told = await follower.until("end")
            last = len(await app.store.read_events(run.id, 0, 10_000))
            assert stored(told) == list(range(1, last + 1))
            for after in (0, 1, last - 300, last - 257, last - 256, last - 255, last - 1, last):
                assert stored(await whole(url, target, str(after))) == list(range(after + 1, last + 1))

    async def test_many_hear_the_same_as_it_happens(self, streaming):
        async with streaming() as (app, server, url):
            run = await app.trigger(opens, 30)
            target = f"/api/runs/{run.id}/stream"

            async def one(after):
                async with follow(url, target, str(after)) as follower:
                    return await follower.until("end")

            readers = [asyncio.create_task(one(number % 5)) for number in range(50)]
            while len(server.hub._runs) < 1 or next(iter(server.hub._runs.values())).followers < 50:
                await asyncio.sleep(0.005)
            await app.complete_token(await token_of(app, run), 1)
            heard = await asyncio.gather(*readers)
            last = len(await app.store.read_events(run.id, 0, 1000))
            for number, told in enumerate(heard):
                assert stored(told) == list(range(number % 5 + 1, last + 1))
                assert told[-1].data == {"status": "COMPLETED"}

    async def test_cut_off_again_and_again(self, streaming):
        chance = random.Random(5)
        async with streaming() as (app, server, url):
            run = await app.trigger(counts, 400)
            seen, over = [], False
            while not over:
                async with follow(
                    url, f"/api/runs/{run.id}/stream", str(seen[-1] if seen else 0)
                ) as follower:
                    for _ in range(chance.randrange(1, 60)):
                        event = await follower.next()
                        if event.event == "event" and event.id:
                            seen.append(int(event.id))
                        if over := event.event == "end":
                            break
            assert seen == list(range(1, len(await app.store.read_events(run.id, 0, 1000)) + 1))

    async def test_what_is_told_live_has_no_id(self, streaming):
        async with streaming() as (app, server, url):
            run = await app.trigger(opens, 1, delay="1h")
            async with follow(url, f"/api/runs/{run.id}/stream") as follower:
                await follower.until("run")
                await app.cancel(run.id)
                assert (await follower.until("end"))[-1].data == {"status": "CANCELLED"}
            await app.pause_queue("default")  # until somebody follows it
            run = await app.trigger(says)
            async with follow(url, f"/api/runs/{run.id}/stream") as follower:
                await follower.until("run")
                await app.resume_queue("default")
                lines, progress = [], []
                while not (lines and progress):
                    event = await follower.next()
                    if event.event == "event" and event.data["type"] == "run.log":
                        lines.append(event)
                    if event.event == "event" and event.data["type"] == "run.progress":
                        progress.append(event)
            assert (lines[0].id, lines[0].data["seq"]) == (None, None)
            assert lines[0].data["data"]["message"] == "</script>\u2028 line\nbreak"
            assert lines[0].data["data"]["fields"] == {"ratio": "nan"}
            assert progress[0].data["data"]["current"] == 1

    async def test_a_payload_is_told_once(self, streaming):
        async with streaming(worker=False) as (app, server, url):
            run = await app.trigger(counts, 7, debounce_key="d", debounce_delay="1h")
            async with follow(url, f"/api/runs/{run.id}/stream") as follower:
                assert (await follower.until("run"))[-1].data["payload"] == 7
                await app.trigger(counts, 8, debounce_key="d", debounce_delay="1h")
                assert (await follower.until("run"))[-1].data["payload"] == 8
                await app.cancel(run.id)
                last = (await follower.until("run"))[-1].data
                assert (last["status"], last.get("payload")) == ("CANCELLED", None)
            assert (await whole(url, f"/api/runs/{run.id}/stream"))[-2].data["payload"] == 8

    async def test_a_resumed_run_can_be_followed_again(self, streaming):
        async with streaming() as (app, server, url):
            run = await app.trigger("fails")
            target = f"/api/runs/{run.id}/stream"
            first = await whole(url, target)
            assert first[-1].data == {"status": "FAILED"}
            await app.resume(run.id)
            again = await whole(url, target, str(stored(first)[-1]))
            assert again[-1].data == {"status": "FAILED"}
            last = len(await app.store.read_events(run.id, 0, 1000))
            assert stored(first + again) == list(range(1, last + 1))
            assert "run.resumed" in [event.data["type"] for event in again if event.event == "event"]

    async def test_one_that_is_deleted_is_gone(self, streaming):
        async with streaming(worker=False) as (app, server, url):
            run = await app.trigger(counts, 1)
            async with follow(url, f"/api/runs/{run.id}/stream") as follower:
                await follower.until("run")
                store, get_run = app.store, app.store.get_run

                async def ended(run_id):  # between the end and the delete nobody looks
                    row = await get_run(run_id)
                    return None if row is None or row.status == "CANCELLED" else row

                store.get_run = ended
                await app.cancel(run.id)
                told = await follower.until("gone")
                assert await follower.next() is None
            assert told[-1].data == {"run_id": run.id}
            store.get_run = get_run
            await app.delete(run.id)
            async with follow(url, f"/api/runs/{run.id}/stream") as follower:
                assert follower.status == 404

    async def test_its_headers(self, streaming):
        async with streaming(worker=False) as (app, server, url):
            run = await app.trigger(counts, 1)
            async with follow(url, f"/api/runs/{run.id}/stream") as follower:
                for line in ("content-type: text/event-stream", "cache-control: no-store", "x-accel-buffering: no",
                             "content-security-policy: ", "x-content-type-options: nosniff"):  # fmt: skip
                    assert line in follower.headers


class TestConnections:
    async def test_comments_keep_it_alive(self, streaming, monkeypatch):
        monkeypatch.setattr(sse, "KEEP_ALIVE", 0.05)
        async with streaming(worker=False) as (app, server, url):
            run = await app.trigger(counts, 1)
            for target in ("/api/stream", f"/api/runs/{run.id}/stream"):
                async with follow(url, target) as follower:
                    comments = 0
                    while comments < 2:
                        comments += (await follower.next(comments=True)).comment is not None

    async def test_one_that_does_not_read_is_dropped_and_nobody_waits_for_it(self, streaming, monkeypatch):
        monkeypatch.setattr(sse, "KEEP_ALIVE", 0.1)
        async with streaming(worker=False) as (app, server, url):
            large = "x" * 3_900_000  # more than the kernel takes for a socket
            run = await app.trigger("waits", large)
            request = f"GET /api/runs/{run.id}/stream HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()
            host, port = url.removeprefix("http://").split(":")
            loop = asyncio.get_running_loop()
            with socket.socket() as deaf:
                deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
                deaf.setblocking(False)
                async with follow(url, f"/api/runs/{run.id}/stream") as follower:
                    await follower.until("run")
                    [followed] = server.hub._runs.values()
                    monkeypatch.setattr(sse, "_PATIENCE", 0.3)  # from now on little is sent to it
                    await loop.sock_connect(deaf, (host, int(port)))
                    await loop.sock_sendall(deaf, request)
                    while followed.followers < 2:
                        await asyncio.sleep(0.005)
                    while followed.followers > 1:  # until it was dropped
                        assert (await follower.next(comments=True)).comment
                    await app.cancel(run.id)
                    assert (await follower.until("end"))[-1].data == {"status": "CANCELLED"}

    async def test_one_that_reads_slowly_misses_nothing(self, monkeypatch):
        """More than is kept has come while it took what it was sent."""
        monkeypatch.setattr(streams, "_KEPT", 8)
        monkeypatch.setattr(streams, "_BATCH", 4)
        hold, sent = asyncio.Event(), []

        async def slow(data):
            sent.append(data)
            if len(sent) == 1:
                await hold.wait()

        async with Durable("memory:", [opens], suspend_grace=0) as app:
            run = await app.trigger(opens, 40)
            token_id = await token_of(app, run)
            await waiting(app, run)
            after = len(await app.store.read_events(run.id, 0, 1000)) - 6
            telling = asyncio.create_task(streams.Hub(app)._tell_run(run.id, after, False, slow))
            while not sent:
                await asyncio.sleep(0.005)
            assert sent[0].count(b"id: ") == 4, "a part of what is kept"
            await app.complete_token(token_id, 1)
            await run.result("20s")
            await asyncio.sleep(0.2)  # the hub has seen it, too: it looks every 50 ms
            hold.set()
            await telling
            last = len(await app.store.read_events(run.id, 0, 1000))
        seqs = [int(line[4:]) for line in b"".join(sent).decode().splitlines() if line.startswith("id: ")]
        assert seqs == list(range(after + 1, last + 1))

    async def test_who_hangs_up_leaves_nothing(self, streaming):
        async with streaming(worker=False) as (app, server, url):
            run = await app.trigger(counts, 1)
            for _ in range(5):
                async with (
                    follow(url, f"/api/runs/{run.id}/stream") as one,
                    follow(url, "/api/stream") as other,
                ):
                    await one.until("run")
                    await other.next()
            while server.hub._runs or server.hub._lists:
                await asyncio.sleep(0.005)
            assert not server.hub._forget

    async def test_a_server_that_stops_ends_them_at_once(self, streaming):
        async with streaming(worker=False) as (app, server, url):
            run = await app.trigger(counts, 1)
            async with follow(url, f"/api/runs/{run.id}/stream") as one, follow(url, "/api/stream") as other:
                await one.until("run")
                await other.next()
                server.stop_streams()
                assert (await one.next(), await other.next()) == (None, None)
            async with follow(url, "/api/stream") as late:
                assert (await late.next()) is None

    async def test_a_store_that_is_down_for_a_while(self, streaming, monkeypatch):
        monkeypatch.setattr(streams, "_BACKOFF", 0.01)
        async with streaming(worker=False) as (app, server, url):
            run = await app.trigger(counts, 1)
            list_runs, tries = app.store.list_runs, []

            async def down(filter):
                tries.append(1)
                if len(tries) < 4:
                    raise StoreUnavailable("it is locked")
                return await list_runs(filter)

            app.store.list_runs = down
            async with follow(url, "/api/stream") as follower:
                assert (await follower.next()).data["ids"] == [run.id]
