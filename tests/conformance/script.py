"""Random sequences of verbs, such as workers and users may call, out of the small numbers that Hypothesis draws.

Each draw becomes one concrete call, with an eye on what the store holds that the script is for, so that
most calls are such as a worker would make and some are not.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, NamedTuple

from hypothesis import strategies as st

from durable_lite.errors import DurableError
from durable_lite.moving import gather
from durable_lite.records import Beat, Moved, NewRun, QueueRow, RunRow, TokenFilter, TokenRow, Wakes
from durable_lite.status import FINAL, RESUMABLE, UNFINISHED, Status
from durable_lite.store import Store
from durable_lite.stores.memory import MemoryStore
from tests.conformance.build import NOW, SETTLED, event, log, new_run, settlement, step, token, wait
from tests.conformance.state import ALL

JOBS = ["x", "y"]
PATHS = ["a", "b", "a/c", "d"]
QUEUES = ["q", "loose", "default"]
PERIOD = 4.0


class Draw(NamedTuple):
    verb: str
    who: int  # which run, of those that the verb is for
    wild: bool  # of all runs ever, and one that never was; another generation, another heartbeat
    a: int
    b: int
    wait: float
    again: bool  # the caller doesn't know the outcome and repeats the call


class Call(NamedTuple):
    verb: str
    arguments: tuple[Any, ...]


class Script:
    """Turns draws into calls; `queues`: of runs in queues, with keys of all kinds, that may come too late."""

    def __init__(self, plain: Store, *, queues: bool = False) -> None:
        self.plain, self.queues = plain, queues
        self.now = NOW
        self.ids: list[str] = []
        self.documents: list[Moved] = []
        self.promised = 0

    async def call(self, draw: Draw) -> Call | None:
        self.now += draw.wait
        return await getattr(self, draw.verb)(draw)

    async def pick(
        self, draw: Draw, statuses: frozenset[Status], fits: Callable[[RunRow], bool] = lambda row: True
    ) -> RunRow | None:
        """A run, or a row that says what to ask for in vain."""
        rows = [row for id in self.ids if (row := await self.plain.get_run(id))]
        fitting = [row for row in rows if row.status in statuses and fits(row)]
        if draw.wild or not fitting:
            id = [*self.ids, "never there"][draw.who % (len(self.ids) + 1)]
            row = await self.plain.get_run(id)
            return row or (rows[0]._replace(id=id) if rows else None)
        return fitting[draw.who % len(fitting)]

    def generation(self, draw: Draw, row: RunRow) -> int:
        return row.generation + (draw.a % 3 - 1 if draw.wild else 0)

    async def next_seq(self, id: str) -> int:
        return len(await self.plain.read_events(id, 0, ALL)) + 1

    async def create(self, draw: Draw) -> Call:
        return Call("create_runs", (self.batch(draw),))

    def batch(self, draw: Draw, **fields: Any) -> list[NewRun]:
        first = max(0, len(self.ids) - 1) if draw.wild else len(self.ids)  # the last one once more
        batch = []
        for n in range(first, first + 1 + draw.a % 3):
            id = f"{n * 37 % 100:02}"  # in no order
            key, ttl = [(None, None), (None, None), ("k", None), ("k", 3.0), ("l", 0.5)][(draw.b + n) % 5]
            new = new_run(
                id, job=JOBS[(draw.who + n) % 2], priority=draw.b % 3, created_at=self.now,
                ready_at=self.now + [0, 0, 2.0][(draw.a + n) % 3], tags=json.dumps(PATHS[: draw.b % 3]),
                idempotency_key=key, idempotency_expires_at=ttl and self.now + ttl,
                deadline=self.now + 5 if draw.b % 2 else None, **fields,
            )  # fmt: skip
            batch.append(self.admitted(draw, new, n) if self.queues else new)
            if id not in self.ids:
                self.ids.append(id)
        return batch

    def admitted(self, draw: Draw, new: NewRun, n: int) -> NewRun:
        key = [None, "k", "k", "l"][(draw.a + n) % 4]
        debounced = (draw.who + draw.a) % 6 if draw.b % 3 == 0 else 0
        return new._replace(
            queue=QUEUES[(draw.a + draw.b + n) % 3], concurrency_key=key,
            on_busy=["queue", "queue", "queue", "skip", "reject"][(draw.who + draw.b) % 5] if key else "queue",
            expires_at=new.ready_at + 1 + draw.who if draw.a % 4 == 1 else None,
            debounce_key=[None, "d", "d", None, "d", None][debounced],
            debounce_mode="leading" if debounced == 4 else "trailing",
            debounce_until=self.now + 3 if debounced in (2, 4) else None,
            ready_at=self.now + 1 if debounced in (1, 2) else new.ready_at, payload=f'"{new.id}"',
        )  # fmt: skip

    async def enqueue(self, draw: Draw) -> Call:
        """Another of a key and a queue that have some already, which is due."""
        id = f"{len(self.ids) * 37 % 100:02}"
        self.ids.append(id)
        new = new_run(
            id, job=JOBS[draw.who % 2], queue=QUEUES[draw.b % 2], priority=draw.a % 3, created_at=self.now,
            ready_at=self.now, concurrency_key=[None, "k", "k", "l"][draw.b % 4],
        )  # fmt: skip
        return Call("create_runs", ([new],))

    async def limit(self, draw: Draw) -> Call:
        rate = [None, None, 1, 2][draw.b % 4]
        scope = "execution" if QUEUES[draw.a % 3] == "loose" else "run"
        row = QueueRow(
            QUEUES[draw.a % 3], [1, 1, 2, None][draw.who % 4], rate, PERIOD if rate else None, scope
        )
        return Call("set_queues", ([row], self.now))

    async def pause(self, draw: Draw) -> Call:
        return Call("pause_queue", (QUEUES[draw.a % 3], draw.b % 3 == 0, self.now))

    async def claim(self, draw: Draw) -> Call:
        jobs = [["x", "y"], ["x", "y"], ["y"], ["z", "x"]][draw.a % 4]
        now = self.now - 1.5 * draw.wild  # while it waited for the store, others came and went
        return Call("claim_runs", ("vw"[draw.b % 2], jobs, 1 + draw.who % 3, now, "lease"))

    async def beat(self, draw: Draw) -> Call | None:
        beats = []
        for who in range(draw.who, draw.who + 1 + draw.b % 2):
            if row := await self.pick(draw._replace(who=who), frozenset({Status.EXECUTING})):
                n = draw.a + who
                lines = tuple(
                    log(k % 3, row.id, path=PATHS[n % 2], message=f"{n} {k}") for k in range(draw.b % 5)
                )
                buffered = [(None, None), (f'"{n}"', None), (None, f'{{"n": {n}}}')][n % 3]
                beats.append(Beat(row.id, self.generation(draw, row), float(n), *buffered, lines))
        unique = {beat.run_id: beat for beat in beats}
        return Call("beat", ("w", list(unique.values()), self.now)) if unique else None

    async def mark_stale(self, draw: Draw) -> Call | None:
        leases = sorted(await self.plain.leases())[draw.who % 2 :]
        if draw.wild:
            leases = [
                lease._replace(
                    heartbeat_at=lease.heartbeat_at - draw.a % 2, generation=lease.generation - draw.b % 2
                )
                for lease in leases
            ]
        reason = ["heartbeat", "worker gone", "suspended"][draw.a % 3]
        return Call("mark_stale", (leases, reason, self.now)) if leases else None

    async def settle(self, draw: Draw) -> Call | None:
        if not (row := await self.pick(draw, frozenset({Status.EXECUTING}))):
            return None
        to = [*sorted(SETTLED), *[Status.WAITING, Status.PENDING] * 3][draw.b % 11]
        return await self.settled(draw, row, to, ready_at=self.now + draw.a if to == Status.WAITING else None)

    async def settled(self, draw: Draw, row: RunRow, to: Status, **fields: Any) -> Call:
        seq = await self.next_seq(row.id)
        done = settlement(
            to, at=self.now, attempt=row.attempt + draw.a % 2, executed=row.executed + draw.a,
            progress=f'"{seq}"' if draw.a % 3 else None, logs=(log(draw.a % 3, row.id,
            message=f"settled {seq}"),) if draw.b % 2 else (), **fields,
        )  # fmt: skip
        return Call("settle", (row.id, self.generation(draw, row), done))

    async def part(self, draw: Draw) -> Call | None:
        """Wait for all that there is, or for what is still to come; with or without a deadline."""
        rows, made = await self.plain.get_runs(self.ids), await self.tokens()
        late = draw.b % 2 > 0
        made = [each for each in made if not late or each.state == "pending"]
        awaited = [row for row in rows if row.awaited and not (late and row.status in FINAL)]
        some = {each.run_id for each in made} | {row.parent_id for row in awaited}
        if not (row := await self.pick(draw, frozenset({Status.EXECUTING}), lambda row: row.id in some)):
            return None
        children = [child.id for child in awaited if child.parent_id == row.id]
        if draw.wild and draw.b % 4 == 0:
            children.append("never there")
        tokens = [each.id for each in made if each.run_id == row.id]
        wakes = Wakes(tuple(tokens), tuple(children), draw.who % 3 > 0)
        ready_at = [None, self.now + 2 * draw.a][draw.a % 2]
        return await self.settled(draw, row, Status.WAITING, ready_at=ready_at, wakes=wakes)

    async def end(self, draw: Draw) -> Call | None:
        """A child ends, most often as it should."""
        row = await self.pick(draw, frozenset({Status.EXECUTING}), lambda row: row.awaited == 1)
        to = Status.COMPLETED if draw.b % 4 else sorted(SETTLED)[draw.a % len(SETTLED)]
        return row and await self.settled(draw, row, to)

    async def tokens(self, run_id: str | None = None) -> list[TokenRow]:
        return await self.plain.list_tokens(TokenFilter(run_id=run_id, limit=ALL))

    async def save(self, draw: Draw) -> Call | None:
        """A step, a wait, or a step's failure; what is completed stays so."""
        if not (row := await self.pick(draw, frozenset({Status.EXECUTING}))):
            return None
        path = PATHS[draw.a % len(PATHS)]
        old = {found.path: found for found in await self.plain.load_steps(row.id)}.get(path)
        seq, generation = await self.next_seq(row.id), self.generation(draw, row)
        if old and old.seq:
            return Call("save_step", (row.id, generation, old))
        if draw.b % 3 == 0:
            failed = step(path, None, row.id, failures=seq, generation=generation, started_at=self.now)
            return Call("save_failure", (row.id, generation, failed, event(seq, at=self.now)))
        if draw.b % 3 == 1:
            wait = step(
                path, None, row.id, kind="sleep", state="waiting", wake_at=self.now + 1, started_at=self.now
            )
            return Call("save_step", (row.id, generation, wait))
        done = step(path, seq, row.id, generation=generation, started_at=self.now, finished_at=self.now + 0.5)
        return Call("save_step", (row.id, generation, done))

    async def promise(self, draw: Draw) -> Call | None:
        if not (row := await self.pick(draw, frozenset({Status.EXECUTING}))):
            return None
        self.promised += 1
        id, deadline = f"t{self.promised * 37 % 100:02}", self.now + [0.5, 2.0, 5.0, 100.0][draw.b % 4]
        made = token(id, row.id, created_at=self.now, deadline=deadline)
        waits = wait(f"t{draw.a % 3}", row.id, ref=id, started_at=self.now, wake_at=deadline)
        return Call("create_token", (row.id, self.generation(draw, row), waits, made))

    async def finish(self, draw: Draw) -> Call | None:
        """A pending one, more often than not."""
        made = await self.tokens()
        made = [each for each in made if draw.a % 3 == 0 or each.state == "pending"] or made
        id = made[draw.who % len(made)].id if made and draw.a < 11 else "never there"
        output, error = [('"done"', None), (None, '{"type": "E"}')][draw.b % 2]
        return Call("finish_token", (id, ["completed", "failed"][draw.b % 2], output, error, self.now))

    async def look(self, draw: Draw) -> Call:
        ids = [made.id for made in (await self.tokens())[draw.a :: 1 + draw.b % 3]]
        return Call("read_tokens", (["never there", *reversed(ids)], self.now))

    async def spawn(self, draw: Draw) -> Call | None:
        """Runs that are waited for, or that are only started and so make a completed step."""
        if not (row := await self.pick(draw, frozenset({Status.EXECUTING}))):
            return None
        generation, awaited = self.generation(draw, row), int(draw.b % 3 > 0)
        seq = None if awaited else await self.next_seq(row.id)
        made = step(
            f"children {seq}", seq, row.id, kind="trigger", started_at=self.now, generation=generation
        )
        runs = self.batch(draw._replace(who=draw.a), parent_id=row.id, awaited=awaited)
        if self.queues and draw.b % 2:
            runs = [new._replace(concurrency_key=row.concurrency_key, on_busy="queue") for new in runs]
        return Call("create_children", (row.id, generation, made, runs))

    async def cancel(self, draw: Draw) -> Call | None:
        row = await self.pick(draw, UNFINISHED)
        return row and Call("cancel_run", (row.id, self.now))

    async def resume(self, draw: Draw) -> Call | None:
        row = await self.pick(draw, RESUMABLE)
        return row and Call("resume_run", (row.id, self.now))

    async def move(self, draw: Draw) -> Call | None:
        row = await self.pick(draw, UNFINISHED)
        return row and Call("move_run", (row.id, self.now))

    async def take(self, draw: Draw) -> Call | None:
        """What has moved out comes back, or what did so long ago; and strangers come."""
        picked = await self.pick(draw, frozenset({Status.MOVED}))
        row = picked and await self.plain.get_run(picked.id)
        if row and row.status == Status.MOVED:
            self.documents.append(await gather(self.plain, row))
        if draw.b % 4 == 0:
            self.documents.append(await self.stranger(draw))
        if not self.documents:
            return None
        moved = self.documents[draw.who % len(self.documents) if draw.wild else -1]
        return Call("import_run", (moved, self.now))

    async def stranger(self, draw: Draw) -> Moved:
        """A run of another store, whose id or key may be one of ours."""
        elsewhere, id = MemoryStore(), f"{len(self.ids) * 37 % 100:02}"
        if draw.a % 3 or not self.ids:
            self.ids.append(id)
        else:
            id = self.ids[draw.who % len(self.ids)]
        key = ["k", None][draw.a % 2]
        new = new_run(id, job=JOBS[draw.b % 2], created_at=self.now, idempotency_key=key, tags='["a", "b"]')
        await elsewhere.create_runs([new])
        if draw.b % 8:
            await elsewhere.claim_runs("z", JOBS, 1, self.now, "lease")
            await elsewhere.save_step(id, 1, step("a", 3, id))
            await elsewhere.save_failure(id, 1, step("b", None, id), event(4))
            await elsewhere.beat("z", [Beat(id, 1, 2.0, '"p"', '{"m": 1}', (log(0, id),))], self.now)
        if draw.b % 2:
            await elsewhere.settle(id, 1, settlement(Status.WAITING, ready_at=self.now + draw.a % 3))
        return await gather(elsewhere, await elsewhere.move_run(id, self.now))

    async def delete(self, draw: Draw) -> Call | None:
        row = await self.pick(draw, FINAL)
        return row and Call("delete_run", (row.id,))

    async def purge(self, draw: Draw) -> Call:
        return Call("purge", (self.now - draw.a, ALL))  # which go first is open


def scripts(*verbs: str, **sizes: int) -> st.SearchStrategy[list[Draw]]:
    draws = st.builds(
        Draw,
        verb=st.sampled_from(verbs),
        who=st.integers(0, 5),
        wild=st.sampled_from([False] * 3 + [True]),
        a=st.integers(0, 11),
        b=st.integers(0, 11),
        wait=st.sampled_from([0.0, 0.0, 1.0, 2.0]),
        again=st.sampled_from([False] * 3 + [True]),
    )
    return st.lists(draws, **sizes)


async def answer(store: Store, call: Call) -> Any:
    try:
        found = await getattr(store, call.verb)(*call.arguments)
    except DurableError as error:
        return type(error)
    return sorted(found) if call.verb == "mark_stale" else found
