"""`pman render`: what only the engine can tell, and how the documents are shown."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from typing import Any

from pman import executors
from pman.errors import ConfigError, EngineUnreachable
from pman.settings import Settings

PATIENCE = 3
"""Seconds that a dry run waits for an engine."""


def facts(known: Settings) -> tuple[Mapping[str, Any] | None, str]:
    """What the engine tells of itself; else nothing, and why."""
    try:
        return asyncio.run(_asked(known)), ""
    except (EngineUnreachable, ConfigError) as error:
        return None, str(error)


async def _asked(known: Settings) -> Mapping[str, Any]:
    logging.getLogger("pman").addHandler(logging.NullHandler())  # a server's log; here the answer says it all
    patience = min(PATIENCE, known["ENGINE_TIMEOUT"])
    executor = executors.connect(known.engine, {**known.values, "ENGINE_TIMEOUT": patience})
    try:
        return await executor.facts()
    finally:
        await executors.close(executor)


def lines(names_and_texts: Sequence[tuple[str, str]]) -> str:
    """The documents as one text: one alone as it is, several each under its name."""
    if len(names_and_texts) == 1:
        return names_and_texts[0][1]
    return "\n".join(f"# --- {name}\n{text}" for name, text in names_and_texts)
