"""Any sequence of verbs: the store under test answers as the plain one in memory, and holds the same."""

from __future__ import annotations

from hypothesis import given, note, settings

from durable_lite.stores.memory import MemoryStore
from tests.conformance.script import Draw, Script, answer, scripts
from tests.conformance.state import everything

OFTEN = ["create", "claim", "claim", "save", "save", "save", "settle", "settle", "beat", "mark_stale"]
SELDOM = ["resume", "cancel", "resume", "delete", "purge", "move", "take", "take"]
WAITS = ["spawn", "promise", "part", "part", "finish", "end", "look"]
QUEUED = ["create", "enqueue", "enqueue", "enqueue", "limit", "pause", "spawn", "part", "end", *["claim"] * 4]
QUEUED += ["settle", "settle", "mark_stale"]
FEW = settings.default.max_examples * 3 // 10


@settings(max_examples=FEW)
@given(script=scripts(*OFTEN, *SELDOM, "spawn", "promise", "finish", min_size=15, max_size=45))
async def test_any_sequence_of_verbs(store, script):
    await as_the_plain_store(store, script)


@settings(max_examples=FEW // 2)
@given(
    script=scripts(*WAITS, *WAITS, *["claim"] * 4, "settle", "cancel", *SELDOM[:6], min_size=25, max_size=50)
)
async def test_any_sequence_of_waits(store, script):
    """Of a few families; what they do besides is tested above."""
    begin = [
        Draw(verb, 1, False, 4, 1, 0.0, False) for verb in ("claim", "spawn", "claim", "promise", "part")
    ]
    await as_the_plain_store(store, [*begin, *script])


@settings(max_examples=FEW // 2)
@given(script=scripts(*QUEUED, *SELDOM, min_size=20, max_size=50))
async def test_any_sequence_of_verbs_on_queues(store, script):
    begin = [Draw("limit", who, False, n, 3 * n, 0.0, False) for n, who in enumerate((0, 2))]
    await as_the_plain_store(store, [*begin, *script], queues=True)


async def as_the_plain_store(store, script: list[Draw], *, queues: bool = False) -> None:
    plain = MemoryStore()
    await plain.open()
    scripted = Script(plain, queues=queues)
    for draw in [Draw("create", 0, False, 2, 0, 0.0, False), *script]:
        if not (call := await scripted.call(draw)):
            continue
        note(repr(call))
        for _ in range(1 + draw.again):
            expected = await answer(plain, call)
            assert await answer(store, call) == expected
            assert await everything(store, *scripted.ids) == await everything(plain, *scripted.ids)
