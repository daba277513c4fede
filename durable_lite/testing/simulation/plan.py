"""A simulation as data: its runs, its workers, and what befalls them. By a seed, or cut down from one."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from random import Random
from typing import Any

from .programs import Program, random_program

__all__ = ["CHAOS", "Deed", "Plan"]

CHAOS = 12.0  # seconds: what befalls, befalls in these


@dataclass
class Deed:
    """Somebody does something at some time: `kind` names a method of `World`."""

    at: float
    kind: str
    who: int = 0
    value: Any = None


@dataclass
class Plan:
    seed: int
    workers: list[dict[str, Any]] = field(default_factory=list)
    deeds: list[Deed] = field(default_factory=list)
    bad_weather: bool = True
    schedules: bool = False
    connections: bool = False  # its jobs require one, which workers have at times

    @classmethod
    def random(cls, seed: int) -> Plan:
        random = Random(seed)
        plan = cls(seed, bad_weather=random.random() < 0.8)
        for _ in range(random.randint(2, 3)):
            plan.workers.append(
                {
                    "concurrency": random.choice([1, 2, 10]),
                    "warm_runs": random.choice([0, 100]),
                    "always_replay": random.random() < 0.2,
                    "skew": random.choice([0.0, 0.0, random.uniform(-3, 3)]),
                }
            )
        for number in range(random.randint(2, 3)):
            plan.deeds.append(Deed(random.uniform(0, CHAOS / 3), "trigger", number, _run(random)))
        for _ in range(random.randint(0, 6)):
            kind = random.choice(["kill", "kill", "freeze", "freeze", "release", "skew"])
            value = random.choice([0.1, 1.0, 6.0, 12.0]) if kind != "skew" else random.uniform(-5, 5)
            plan.deeds.append(Deed(random.uniform(0, CHAOS), kind, random.randrange(9), value))
        for _ in range(random.randint(0, 8)):
            kind = random.choice(
                ["send", "complete", "complete", "complete", "cancel", "resume", "pause", "fork"]
            )
            plan.deeds.append(Deed(random.uniform(0, CHAOS), kind, random.randrange(9), random.randrange(9)))
        plan.schedules = random.random() < 0.25
        plan.connections = random.random() < 0.15
        if plan.connections:
            for _ in range(random.randint(1, 4)):
                deed = Deed(random.uniform(0, CHAOS), "connect", random.randrange(9), random.random() < 0.7)
                plan.deeds.append(deed)
        plan.deeds.sort(key=lambda deed: deed.at)
        return plan

    def text(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def of(cls, text: str) -> Plan:
        found = json.loads(text)
        return cls(**found | {"deeds": [Deed(**deed) for deed in found["deeds"]]})


def _run(random: Random) -> dict[str, Any]:
    """What is triggered, and how."""
    program: Program = random_program(random)
    options: dict[str, Any] = {}
    if (chance := random.random()) < 0.75:
        options["queue"] = "narrow" if chance < 0.4 else "steady"
    if random.random() < 0.3:
        options["concurrency_key"] = random.choice("ab")
    if random.random() < 0.3:
        options["priority"] = random.randint(-1, 1)
    if random.random() < 0.2:
        options["delay"] = random.choice([1, 5])
    if random.random() < 0.1:
        options["max_duration"] = random.choice([3, 15])
    return {"program": program, "options": options}
