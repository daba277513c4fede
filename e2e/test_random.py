"""Tabs that are disturbed at random; scripts/soak_tabs.py does the same for longer."""

import random
from pathlib import Path

import pytest

from durable_lite.web.build import Plan, build
from e2e.chaos import Chaos
from e2e.durable_site import serve


@pytest.mark.timeout(240)
async def test_ten_rounds(suspendable_context, tmp_path):
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    build(Plan(tmp_path / "site", jobs=(Path(__file__).parent / "jobs" / "counted.py",), brotli=False))
    with serve(tmp_path / "site") as site:
        async with suspendable_context() as context:
            chaos = Chaos(context, site, random.Random(seed))
            await chaos.open()
            for number in range(10):
                await chaos.round(number)
