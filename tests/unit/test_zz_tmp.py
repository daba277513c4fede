import asyncio, time, cProfile, pstats, io
from collections import Counter
from durable_lite.testing import crash_points, VirtualClock
from durable_lite.testing import clock as c
from tests.unit.test_crashpoints import two_steps, outcome
async def test_t():
    two = two_steps(Counter())
    n=Counter()
    o=c.VirtualClock.settle
    async def settle(self):
        n["settle"]+=1; await o(self)
    c.VirtualClock.settle=settle
    f=c.VirtualClock._fire
    def fire(self):
        n["fire"]+=1; f(self)
    c.VirtualClock._fire=fire
    lives=[]
    async def sc(world):
        t=time.perf_counter(); b=dict(n)
        try:
            return await outcome(world, two)
        finally:
            lives.append((world.died, round(time.perf_counter()-t,3), n["settle"]-b.get("settle",0), world.clock.monotonic()))
    p=cProfile.Profile(); p.enable()
    r=await crash_points(sc)
    p.disable()
    print("\nLIVES", r.calls); 
    for l in lives: print("LIFE", l)
    s=io.StringIO(); pstats.Stats(p,stream=s).sort_stats("tottime").print_stats(12); print(s.getvalue())
    assert 0
