"""Tabs that are disturbed at random; scripts/soak_tabs.py does the same for longer."""

import random

import pytest

from e2e.chaos import Chaos
from e2e.durable_site import serve


@pytest.mark.timeout(240)
async def test_ten_rounds(suspendable_context, built):
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    with serve(built) as site:
        async with suspendable_context() as context:
            chaos = Chaos(context, site, random.Random(seed))
            await chaos.open()
            for number in range(10):
                await chaos.round(number)
