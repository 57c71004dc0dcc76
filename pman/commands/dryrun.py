"""`pman render`: what a dry run needs to know where nothing is configured and no engine answers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from dotenv import dotenv_values

from pman import executors
from pman import settings as configuration
from pman.errors import ConfigError, EngineUnreachable
from pman.settings import Settings
from pman.translation import ASSUMED_FACTS, Translation

PATIENCE = 3
"""Seconds that a dry run waits for an engine."""

STAND_INS = {
    "STOREBASE": ASSUMED_FACTS["storebase"],
    "VOLUME_NAME": "storebase",
    "CROMWELL_URL": "http://cromwell:8000",
    "TIMELIMIT_MINUTES": "60",
    "SLURMRESTD_URL": "http://slurmrestd:6820",
}
"""For what an engine cannot do without, and what a reviewer of documents need not have."""

Tell = Callable[[str], None]


def settings(environ: Mapping[str, str], dotenv: Path | None, tell: Tell) -> Settings:
    """As a server's, with stand-ins for what is missing, each told of. Raises ConfigError for the rest."""
    engines = executors.names()
    file = dotenv_values(dotenv) if dotenv and dotenv.is_file() else {}
    given = {name: text for name, text in {**file, **environ}.items() if text}
    try:
        return configuration.load(given, engines)
    except ConfigError as error:
        missing = [fault.path for fault in error.faults if fault.path in STAND_INS.keys() - given.keys()]
        assumed = {name: STAND_INS[name] for name in missing}
        try:
            found = configuration.load({**given, **assumed}, engines)
        except ConfigError:
            raise error from None
    for name, value in assumed.items():
        tell(f"{name} is not set; assuming {value}")
    return found


def facts(translation: Translation, tell: Tell) -> Mapping[str, Any]:
    """What the engine tells of itself; else what stands for it, which is told of where it matters."""
    assumed = translation.assumed_facts()
    try:
        return asyncio.run(_asked(translation.settings))
    except (EngineUnreachable, ConfigError) as error:
        known = translation.settings["STOREBASE"] or not translation.needs_storebase
        if known and isinstance(error, EngineUnreachable):
            return assumed
        tell(f"{error}; assuming that the storebase is at {assumed['storebase']}")
        return assumed


async def _asked(known: Settings) -> Mapping[str, Any]:
    patience = min(PATIENCE, known["ENGINE_TIMEOUT"])
    executor = executors.connect(known.engine, {**known.values, "ENGINE_TIMEOUT": patience})
    try:
        return await executor.facts()
    finally:
        await executor.close()


def lines(names_and_texts: Sequence[tuple[str, str]]) -> str:
    """The documents as one text: one alone as it is, several each under its name."""
    if len(names_and_texts) == 1:
        return names_and_texts[0][1]
    return "\n".join(f"# --- {name}\n{text}" for name, text in names_and_texts)
