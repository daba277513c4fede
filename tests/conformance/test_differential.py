"""Any sequence of verbs: the store under test answers as the plain one in memory, and holds the same.

Hypothesis draws small numbers; each step makes of them one concrete call, with an eye on what the plain
store holds, so that most calls are such as a worker would make and some are not.
"""

from __future__ import annotations

import json
from typing import Any, NamedTuple

from hypothesis import given, note, settings
from hypothesis import strategies as st

from durable_lite.errors import DurableError
from durable_lite.moving import gather
from durable_lite.records import Beat, Moved, RunRow
from durable_lite.status import FINAL, RESUMABLE, UNFINISHED, Status
from durable_lite.stores.memory import MemoryStore
from tests.conformance.build import NOW, SETTLED, event, log, new_run, settlement, step
from tests.conformance.state import ALL, everything

JOBS = ["x", "y"]
PATHS = ["a", "b", "a/c", "d"]


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
    """Turns draws into calls."""

    def __init__(self, plain: MemoryStore) -> None:
        self.plain = plain
        self.now = NOW
        self.ids: list[str] = []
        self.documents: list[Moved] = []

    async def call(self, draw: Draw) -> Call | None:
        self.now += draw.wait
        return await getattr(self, draw.verb)(draw)

    async def pick(self, draw: Draw, statuses: frozenset[Status]) -> RunRow | None:
        """A run, or a row that says what to ask for in vain."""
        rows = [row for id in self.ids if (row := await self.plain.get_run(id))]
        fitting = [row for row in rows if row.status in statuses]
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
        first = max(0, len(self.ids) - 1) if draw.wild else len(self.ids)  # the last one once more
        batch = []
        for n in range(first, first + 1 + draw.a % 3):
            id = f"{n * 37 % 100:02}"  # in no order
            key, ttl = [(None, None), (None, None), ("k", None), ("k", 3.0), ("l", 0.5)][(draw.b + n) % 5]
            batch.append(
                new_run(
                    id, job=JOBS[(draw.who + n) % 2], priority=draw.b % 3, created_at=self.now,
                    ready_at=self.now + [0, 0, 2.0][(draw.a + n) % 3], tags=json.dumps(PATHS[: draw.b % 3]),
                    idempotency_key=key, idempotency_expires_at=ttl and self.now + ttl,
                    deadline=self.now + 5 if draw.b % 2 else None,
                )
            )  # fmt: skip
            if id not in self.ids:
                self.ids.append(id)
        return Call("create_runs", (batch,))

    async def claim(self, draw: Draw) -> Call:
        jobs = [["x", "y"], ["x", "y"], ["y"], ["z", "x"]][draw.a % 4]
        return Call("claim_runs", ("vw"[draw.b % 2], jobs, 1 + draw.who % 3, self.now, "lease"))

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
        seq = await self.next_seq(row.id)
        done = settlement(
            to, seq, at=self.now, attempt=row.attempt + draw.a % 2, executed=row.executed + draw.a,
            ready_at=self.now + draw.a if to == Status.WAITING else None,
            progress=f'"{seq}"' if draw.a % 3 else None, logs=(log(draw.a % 3, row.id,
            message=f"settled {seq}"),) if draw.b % 2 else (),
        )  # fmt: skip
        return Call("settle", (row.id, self.generation(draw, row), done))

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
            await elsewhere.settle(id, 1, settlement(Status.WAITING, 5, ready_at=self.now + draw.a % 3))
        return await gather(elsewhere, await elsewhere.move_run(id, self.now))

    async def delete(self, draw: Draw) -> Call | None:
        row = await self.pick(draw, FINAL)
        return row and Call("delete_run", (row.id,))

    async def purge(self, draw: Draw) -> Call:
        return Call("purge", (self.now - draw.a, ALL))  # which go first is open


OFTEN = ["create", "claim", "claim", "save", "save", "save", "settle", "settle", "beat", "mark_stale"]
draws = st.builds(
    Draw,
    verb=st.sampled_from([*OFTEN, "resume", "cancel", "resume", "delete", "purge", "move", "take", "take"]),
    who=st.integers(0, 5),
    wild=st.sampled_from([False] * 3 + [True]),
    a=st.integers(0, 11),
    b=st.integers(0, 11),
    wait=st.sampled_from([0.0, 0.0, 1.0, 2.0]),
    again=st.sampled_from([False] * 3 + [True]),
)


async def answer(store, call: Call) -> Any:
    try:
        found = await getattr(store, call.verb)(*call.arguments)
    except DurableError as error:
        return type(error)
    return sorted(found) if call.verb == "mark_stale" else found


@settings(max_examples=settings.default.max_examples * 3 // 10)
@given(script=st.lists(draws, min_size=15, max_size=45))
async def test_any_sequence_of_verbs(store, script):
    plain = MemoryStore()
    await plain.open()
    scripted = Script(plain)
    script = [Draw("create", 0, False, 2, 0, 0.0, False), *script]
    for draw in script:
        if not (call := await scripted.call(draw)):
            continue
        note(repr(call))
        for _ in range(1 + draw.again):
            expected = await answer(plain, call)
            assert await answer(store, call) == expected
            assert await everything(store, *scripted.ids) == await everything(plain, *scripted.ids)
