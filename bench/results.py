"""The figures of a run, and the conditions under which they were taken; as JSON and back."""

from __future__ import annotations

import json
import os
import platform
import sys
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bench.load import Cell
from bench.statistics import Paired, Spread


@dataclass(frozen=True, slots=True)
class Loaded:
    """One load, on pman and on the floor."""

    jobs: str
    clients: int
    pman: Cell
    floor: Cell
    cpu: float
    """Seconds of processor time of pman for 1,000 polls."""

    engine_cpu: float | None
    """The same of the engine, where it is a process of this machine."""

    floor_cpu: float | None
    """Of the engine for 1,000 polls of the floor."""


@dataclass(frozen=True, slots=True)
class Clustered:
    """One load on pman before a cluster."""

    jobs: str
    clients: int
    pman: Cell
    cpu: float
    """Seconds of processor time of pman for 1,000 polls."""

    requests: float
    """What the API server was asked for 1,000 polls, but for logs."""

    logs: float
    """Logs that it was asked for, for 1,000 polls."""


@dataclass(slots=True)
class Results:
    conditions: dict[str, Any] = field(default_factory=dict)
    starts: dict[str, Spread] = field(default_factory=dict)
    submits: dict[str, Paired] = field(default_factory=dict)
    polls: dict[str, Paired] = field(default_factory=dict)
    loads: list[Loaded] = field(default_factory=list)
    memory: dict[str, float] = field(default_factory=dict)
    """MiB of RSS, at each of these moments."""

    cluster_polls: dict[str, Paired] = field(default_factory=dict)
    cluster_loads: list[Clustered] = field(default_factory=list)
    skipped: dict[str, str] = field(default_factory=dict)
    """Engines that were not measured, and why."""


def from_json(text: str) -> Results:
    """What an earlier run wrote."""
    data = json.loads(text)
    return Results(
        conditions=data["conditions"],
        starts={path: Spread(**found) for path, found in data["starts"].items()},
        submits={kind: _paired(found) for kind, found in data["submits"].items()},
        polls={kind: _paired(found) for kind, found in data["polls"].items()},
        loads=[
            Loaded(**{**found, "pman": Cell(**found["pman"]), "floor": Cell(**found["floor"])})
            for found in data["loads"]
        ],
        memory=data["memory"],
        cluster_polls={kind: _paired(found) for kind, found in data["cluster_polls"].items()},
        cluster_loads=[
            Clustered(**{**found, "pman": Cell(**found["pman"])}) for found in data["cluster_loads"]
        ],
        skipped=data["skipped"],
    )


def _paired(data: dict[str, Any]) -> Paired:
    return Paired(**{**data, "pman": Spread(**data["pman"]), "floor": Spread(**data["floor"])})


def conditions(image: str) -> dict[str, Any]:
    """Under which the figures were taken."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    models = [line.partition(": ")[2] for line in lines if line.startswith("model name")]
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "processors": f"{os.cpu_count()} x {models[0] if models else platform.machine()}",
        "load average": f"{os.getloadavg()[0]:.1f}",
        "image": image,
        "python": platform.python_version(),
        "command": "python -m bench" + " --quick" * ("--quick" in sys.argv),
    }
