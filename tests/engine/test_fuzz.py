"""Whatever an application passes on from strangers: it is refused by name, with nothing stored, or it runs."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from durable_lite import Context, Durable, DurableError, job
from durable_lite.codec import encode
from durable_lite.ports_system import InlineOffload
from durable_lite.stores.memory import MemoryStore
from durable_lite.testing import SeededEntropy, VirtualClock
from tests import harness

anything = st.text(st.characters(exclude_categories=[]), max_size=30)
scalars = st.none() | st.booleans() | st.integers() | st.floats() | anything | st.binary(max_size=9)
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(anything, inner, max_size=4)
        | st.dictionaries(st.integers(), inner, max_size=2)
        | st.tuples(inner, inner)
        | st.sets(anything, max_size=3)
    ),
    max_leaves=12,
)
NAMES = [
    "idempotency_key", "idempotency_ttl", "scope", "delay", "deadline", "priority", "queue", "max_duration",
    "tags", "concurrency_key", "on_busy", "ttl", "debounce_key", "debounce_delay", "debounce_mode",
    "debounce_max", "nonsense",
]  # fmt: skip
likely = st.sampled_from(
    ["1h", "queue", "skip", "reject", "global", "leading", "trailing", 5, 0.5, "key", ["a", 1]]
)
options = st.dictionaries(st.sampled_from(NAMES), likely | values, max_size=3)


@job
async def says(ctx: Context, payload: Any) -> Any:
    said = await ctx.step("say", returns, payload)
    ctx.log.info(repr(said))
    return said


async def returns(value: Any) -> Any:
    return value


async def with_app(test: Any) -> None:
    store, clock = MemoryStore(), VirtualClock()
    durable = Durable(store, [says], clock=clock, entropy=SeededEntropy(0), offload=InlineOffload())
    async with durable as app:
        await test(app, store, clock)
        await clock.settle()


@settings(max_examples=400)
@example(payload="\\ud800", given={})
@example(payload=10**4000, given={})
@example(payload=None, given={"tags": [[]]})
@example(payload=None, given={"debounce_key": "k", "debounce_delay": "1h", "idempotency_key": "k"})
@given(payload=values, given=options)
def test_any_trigger(payload, given):
    async def test(app: Durable, store: MemoryStore, clock: VirtualClock) -> None:
        try:
            run = await app.trigger(says, payload, **given)
        except DurableError:
            assert not store._runs
            return
        json.dumps([row._asdict() for row in store._runs.values()])
        if given.keys() <= {"tags", "priority", "queue", "idempotency_key"}:
            returned = await clock.run(run.result())
            assert encode(returned, key="") == encode(payload, key="")

    harness.run(with_app(test), timeout=60)


@settings(max_examples=200)
@given(name=anything, payload=values, id=st.none() | anything | scalars)
def test_any_event(name, payload, id):
    async def test(app: Durable, store: MemoryStore, clock: VirtualClock) -> None:
        try:
            sent = await app.send_event(name, payload, id=id)
        except DurableError:
            assert not store._sent
            return
        assert sent.fresh
        assert not (await app.send_event(name, payload, id=id)).fresh or id is None

    harness.run(with_app(test), timeout=60)


@settings(max_examples=200)
@given(id=anything, value=values)
def test_any_token(id, value):
    async def test(app: Durable, store: MemoryStore, clock: VirtualClock) -> None:
        with pytest.raises(DurableError):
            await app.complete_token(id, value)

    harness.run(with_app(test), timeout=60)
