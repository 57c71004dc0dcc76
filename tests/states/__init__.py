"""Answers of real engines, recorded by record.py into states/; `native` is what the executor returns."""

from __future__ import annotations

import json
from typing import Any

from pman.resources import STATES

HERE = STATES


def native(engine: str, state: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((HERE / engine / f"{state}.json").read_text("utf-8"))["native"]
    return found


def recorded(engine: str) -> list[str]:
    return sorted(file.stem for file in (HERE / engine).glob("*.json"))
